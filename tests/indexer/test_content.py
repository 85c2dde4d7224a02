import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from ilk.content import ContentModel
from ilk.errors import DataError
from indexer.interactions import Items
from indexer.settings import BuildSettings
from indexer.training.content import vectorize

GENRES = [("Sci-Fi",), ("Sci-Fi", "Horror"), ("Comedy",), ("Comedy",), ()]
TAGS = ["time travel\nrobots", "Time Travel\naliens", "robots\nfunny", "funny", ""]
PLOTS = ["A robot travels", "The robot returns", "a wedding", "another wedding", ""]


def items(**texts: list[str]) -> Items:
    ids = [f"i{row}" for row in range(len(GENRES))]
    return Items(ids, ids, np.zeros(len(ids), dtype=np.int16), list(GENRES), texts)


def test_items_without_texts_have_genres_only() -> None:
    content = vectorize(items(), BuildSettings())
    assert [field.name for field in content.fields] == ["genres"]
    assert content.projection is None


def test_more_genres_than_a_field_has_terms_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indexer.training.content._MAX_TERMS", 3)
    assert len(vectorize(items(), BuildSettings()).fields[0].terms) == 3
    monkeypatch.setattr("indexer.training.content._MAX_TERMS", 2)
    with pytest.raises(DataError, match="the items: have 3 genres; at most 2"):
        vectorize(items(), BuildSettings())


def test_a_text_weight_of_zero_leaves_texts_out() -> None:
    content = vectorize(items(tags=TAGS), BuildSettings(text_weight=0))
    assert [field.name for field in content.fields] == ["genres"]


def test_tags_are_whole_terms_in_any_case_and_plots_are_words() -> None:
    content = vectorize(items(tags=TAGS, plot=PLOTS), BuildSettings())
    terms = {field.name: field.terms for field in content.fields}
    # Of one item alone nothing can be learnt: "aliens" is no term.
    assert terms["tags"] == ("funny", "robots", "time travel")
    assert terms["plot"] == ("robot", "wedding")


def test_a_tag_is_the_same_with_accents_and_without() -> None:
    content = vectorize(items(tags=["Café", "cafe", "", "", ""]), BuildSettings(text_coverage=0))
    assert content.fields[1].terms == ("cafe",)


def test_vectors_are_weighted_fields_side_by_side_at_length_one() -> None:
    content = vectorize(items(tags=TAGS), BuildSettings(text_weight=0.5))
    genres = TfidfVectorizer(analyzer=lambda names: names).fit_transform(GENRES).toarray()
    tags = TfidfVectorizer(analyzer=lambda names: names, min_df=2)
    of_tags = tags.fit_transform([text.lower().splitlines() for text in TAGS]).toarray()
    expected = np.hstack((genres, 0.5 * of_tags))
    lengths = np.linalg.norm(expected, axis=1, keepdims=True)
    expected = np.divide(expected, lengths, out=np.zeros_like(expected), where=lengths > 0)
    np.testing.assert_allclose(content.vectors, expected, atol=1e-6)


@pytest.mark.parametrize("text_dims", [2, 64])
def test_weights_and_projection_make_the_vectors(text_dims: int) -> None:
    content = vectorize(items(tags=TAGS, plot=PLOTS), BuildSettings(text_dims=text_dims))
    assert (content.projection is not None) == (text_dims == 2)
    made = content.weights.toarray()
    if content.projection is not None:
        assert content.projection.shape == (len(content.idf), 3 + text_dims)
        made = made @ content.projection
    np.testing.assert_allclose(made, content.vectors, atol=1e-6)
    lengths = np.linalg.norm(content.vectors, axis=1)
    np.testing.assert_allclose(lengths, [1, 1, 1, 1, 0], atol=1e-6)


def test_texts_of_fewer_items_than_dimensions_are_reduced_to_what_there_is() -> None:
    plots = [" ".join(f"word{at}" for at in range(start, 50)) for start in (0, 0, 10, 20, 30)]
    content = vectorize(items(plot=plots), BuildSettings(text_dims=32))
    assert content.projection is not None
    assert content.vectors.shape == (5, 3 + 5)
    remade = content.weights @ content.projection
    np.testing.assert_allclose(remade, content.vectors, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(content.vectors, axis=1), 1, atol=1e-6)


def test_films_of_the_same_genres_and_no_text_stay_exactly_alike_when_texts_are_reduced() -> None:
    alike = items(tags=[*TAGS[:2], "", "", ""], plot=[*PLOTS[:2], "", "", ""])
    content = vectorize(alike, BuildSettings(text_dims=1, text_coverage=0))
    assert np.array_equal(content.vectors[2], content.vectors[3])


def test_a_query_for_an_items_terms_is_that_items_vector() -> None:
    content = vectorize(items(tags=TAGS), BuildSettings(text_dims=2))
    nothing = np.zeros((content.vectors.shape[1] + 1, 4), dtype=np.float32)
    model = ContentModel(content.fields, content.idf, content.projection, nothing)
    np.testing.assert_allclose(
        model.of_text("sci-fi TIME TRAVEL robots"), content.vectors[0], atol=1e-6
    )


def test_a_text_that_few_items_have_is_left_out() -> None:
    few = items(tags=["robots", "robots", "", "", ""])
    shares = {0.4: ["genres", "tags"], 0.5: ["genres"]}
    for coverage, fields in shares.items():
        content = vectorize(few, BuildSettings(text_coverage=coverage))
        assert [field.name for field in content.fields] == fields
