"""Content vectors of words, against scikit-learn and against sums written out."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from ilk.bundle import Bundle
from ilk.content import GENRES, ContentField, ContentModel, normalized
from ilk.errors import InvalidRequest
from indexer.interactions import Interactions, Items
from indexer.settings import BuildSettings
from indexer.training.content import vectorize
from indexer.training.inference import factors_from_content, factors_of_untrained

quick = settings(deadline=None, max_examples=200)


def model_of(*fields: ContentField, projection: np.ndarray | None = None) -> ContentModel:
    """Return a model whose terms' idf are 1, 1.5, 2..."""
    n_terms = sum(len(field.terms) for field in fields)
    dim = n_terms if projection is None else projection.shape[1]
    idf = (1 + 0.5 * np.arange(n_terms)).astype(np.float32)
    to_factors = np.arange((dim + 1) * 2, dtype=np.float32).reshape(dim + 1, 2)
    return ContentModel(fields, idf, projection, to_factors)


def items_of(genres: list[tuple[str, ...]]) -> Items:
    ids = [str(n) for n in range(len(genres))]
    return Items(ids, ids, np.zeros(len(ids), dtype=np.int16), genres, {})


def test_every_sample_films_vector_is_scikit_learns_row(
    bundle: Bundle, sample: Interactions
) -> None:
    genres_of = dict(zip(sample.items.item_ids, sample.items.genres, strict=True))
    genres = [genres_of[item_id] for item_id in bundle.items.vocabulary.ids.to_list()]
    vectorizer = TfidfVectorizer(
        tokenizer=lambda t: t.split("|"), token_pattern=None, lowercase=False
    )
    expected = vectorizer.fit_transform("|".join(names) for names in genres).toarray()
    model = bundle.content_model
    assert list(model.genres) == vectorizer.get_feature_names_out().tolist()
    for row, names in enumerate(genres):
        of_names = model.of_genres(names, "filter")
        np.testing.assert_allclose(of_names, expected[row], atol=1e-6)
        np.testing.assert_allclose(bundle.items.content[row], expected[row], atol=1e-6)


def test_the_weights_are_term_frequency_times_smoothed_inverse_document_frequency() -> None:
    genres = [("Drama",), ("Drama", "War"), ("Film-Noir", "Drama"), ()]
    content = vectorize(items_of(genres), BuildSettings())
    in_films = Counter(name for names in genres for name in names)
    assert content.fields == (ContentField(GENRES, ("Drama", "Film-Noir", "War")),)
    for row, names in enumerate(genres):
        idf = {n: math.log((1 + len(genres)) / (1 + in_films[n])) + 1 for n in names}
        length = math.hypot(*idf.values()) or 1
        expected = [idf.get(term, 0) / length for term in content.fields[0].terms]
        assert content.vectors[row].tolist() == pytest.approx(expected, abs=1e-6)


def test_items_of_which_nothing_is_known_have_vectors_without_entries() -> None:
    content = vectorize(items_of([(), ()]), BuildSettings())
    assert content.vectors.shape == (2, 0)
    assert content.fields == (ContentField(GENRES, ()),)


@pytest.mark.parametrize("projected", [False, True])
def test_fields_count_by_their_weights_whatever_their_terms_idf(projected: bool) -> None:
    fields = (ContentField(GENRES, ("War", "Drama")), ContentField("tags", ("dark", "slow"), 0.5))
    projection = np.random.default_rng(1).standard_normal((4, 3)).astype(np.float32)
    model = model_of(*fields, projection=projection if projected else None)
    genres, tags = np.array([1, 1.5]) / math.hypot(1, 1.5), np.array([0, 1])
    expected = np.concatenate((genres, 0.5 * tags))
    expected = expected @ projection if projected else expected
    expected /= np.linalg.norm(expected)
    assert model.dim == len(expected)
    found = model.of_text("war drama slow")
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "genres"),
    [
        ("sci fi", ["Sci-Fi"]),
        ("SCI-FI", ["Sci-Fi"]),
        ("scifi", ["Sci-Fi"]),
        ("film noir", ["Film-Noir"]),
        ("FILM-NOIR", ["Film-Noir"]),
        ("Film,Noir", ["Film-Noir"]),
        ("cómédy", ["Comedy"]),
        ("a dark film noir, with war and western", ["Film-Noir", "War", "Western"]),
        ("war war war", ["War"]),
        ("Drama|Romance", ["Drama", "Romance"]),
        ("children crime/mystery;horror", ["Children", "Crime", "Mystery", "Horror"]),
        ("ｗａｒ", ["War"]),  # noqa: RUF001  (full-width letters are what is tested)
    ],
)
def test_text_means_the_genres_it_names(text: str, genres: list[str], bundle: Bundle) -> None:
    model = bundle.content_model
    assert np.array_equal(model.of_text(text), model.of_genres(genres, "genres"))


def test_a_phrase_is_found_whole_and_a_words_part_is_not(bundle: Bundle) -> None:
    model = bundle.content_model
    for text in ("warfare", "noir", "fi", "dramatic"):
        with pytest.raises(InvalidRequest, match="holds no word"):
            model.of_text(text)


@pytest.mark.parametrize("text", ["zither", "...", "🎬"])
def test_text_without_a_known_word_is_refused_and_the_genres_named(
    text: str, bundle: Bundle
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        bundle.content_model.of_text(text)
    assert refused.value.field == "text"
    assert all(genre in refused.value.problem for genre in bundle.content_model.genres)


@pytest.mark.parametrize("names", [["Zither"], ["War", "Zither"], ["Zither", "Xylophone"]])
def test_an_unknown_genre_is_named_with_those_that_are_known(
    names: list[str], bundle: Bundle
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        bundle.content_model.of_genres(names, "profile.favorite_genres")
    assert refused.value.field == "profile.favorite_genres"
    assert "'Zither'" in refused.value.problem
    assert all(genre in refused.value.problem for genre in bundle.content_model.genres)


def test_a_genre_named_twice_counts_once_and_no_genre_is_no_direction() -> None:
    model = model_of(ContentField(GENRES, ("War", "Drama")))
    assert np.array_equal(model.of_genres(["war", "WAR"], "g"), model.of_genres(["War"], "g"))
    assert model.of_genres([], "g").tolist() == [0, 0]


def test_a_genre_asked_for_by_its_exact_name_is_that_one_though_another_reads_alike() -> None:
    model = model_of(ContentField(GENRES, ("Sci-Fi", "SciFi")))
    assert model.genre_codes(["Sci-Fi"], "g") == [0]
    assert model.genre_codes(["SciFi"], "g") == [1]


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        ("Sci-Fi", "scifi"),
        ("Straße", "strasse"),
        ("Ärzte & Co.", "arzteco"),
        ("(no genres listed)", "nogenreslisted"),
        ("???", "???"),
        ("戦争", "戦争"),
        # Casefolding comes before NFKD, which turns mathematical letters into plain capitals.
        pytest.param("𝐖𝐚𝐫", "war"),  # noqa: RUF001
    ],
)
def test_a_term_is_read_without_case_accents_and_punctuation(term: str, expected: str) -> None:
    assert normalized(term) == expected


@quick
@given(st.text(st.characters(max_codepoint=0x24F), min_size=1, max_size=8))
def test_reading_a_term_twice_changes_nothing_and_case_never_matters(term: str) -> None:
    once = normalized(term)
    assert once
    assert normalized(once) == once
    assert normalized(term.upper()) == normalized(term.upper().lower())


def test_factors_from_content_are_the_ridge_regression_with_an_intercept() -> None:
    rng = np.random.default_rng(2)
    content = rng.random((30, 4)).astype(np.float32)
    content[5] = 0
    factors = rng.standard_normal((30, 3)).astype(np.float32)
    trained = np.arange(30) < 25
    found = factors_from_content(content, factors, trained)
    known = [row for row in range(25) if row != 5]
    x = content[known].astype(np.float64)
    design = np.hstack((x, np.ones((len(x), 1))))
    penalty = np.diag([1.0] * 4 + [0.0])
    expected = np.linalg.solve(design.T @ design + penalty, design.T @ factors[known])
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_factors_of_the_untrained_follow_content_and_year_by_ridge_regression() -> None:
    rng = np.random.default_rng(3)
    n = 60
    content = rng.random((n, 3)).astype(np.float32)
    years = rng.choice([0, 1950, 1960, 1980, 1990, 2000], n).astype(np.int16)
    factors = rng.standard_normal((n, 2)).astype(np.float32)
    trained = np.arange(n) < 50
    content[55] = 0
    found, inferred = factors_of_untrained(content, years, factors, trained)
    assert np.flatnonzero(inferred).tolist() == [50, 51, 52, 53, 54, 56, 57, 58, 59]
    np.testing.assert_array_equal(found[~inferred], factors[~inferred])

    of_trained = years[:50][years[:50] > 0]
    ends = sorted(set(np.quantile(of_trained, np.arange(10) / 9).tolist()))
    design = np.ones((n, 3 + len(ends) + 1))
    design[:, :3] = content
    for row, year in enumerate(years.tolist()):
        for column in range(len(ends)):
            peak = np.eye(len(ends))[column]
            design[row, 3 + column] = np.interp(year, ends, peak) if year else 0
    penalty = np.diag([1.0] * (3 + len(ends)) + [0.0])
    x, y = design[:50], factors[:50].astype(np.float64)
    expected = design @ np.linalg.solve(x.T @ x + penalty, x.T @ y)
    np.testing.assert_allclose(found[inferred], expected[inferred], atol=1e-4)


@pytest.mark.parametrize("year", [0, 1999])
def test_where_years_tell_nothing_content_alone_is_asked(year: int) -> None:
    rng = np.random.default_rng(4)
    content = rng.random((20, 3)).astype(np.float32)
    factors = rng.standard_normal((20, 2)).astype(np.float32)
    trained, years = np.arange(20) < 15, np.full(20, year, dtype=np.int16)
    found, _ = factors_of_untrained(content, years, factors, trained)
    by_content = factors_from_content(content, factors, trained)
    np.testing.assert_allclose(
        found[15:], content[15:] @ by_content[:-1] + by_content[-1], atol=1e-5
    )


def test_nothing_is_inferred_where_nothing_was_learnt_or_nothing_is_known() -> None:
    content, factors = np.eye(3, dtype=np.float32), np.ones((3, 2), dtype=np.float32)
    assert not factors_from_content(content, factors, np.zeros(3, dtype=np.bool_)).any()
    model = model_of(ContentField(GENRES, ("War", "Drama")))
    assert model.infer_factors(np.zeros(2, dtype=np.float32)).tolist() == [0, 0]
    assert model.infer_factors(np.array([1, 0], dtype=np.float32)).tolist() == [0 + 4, 1 + 5]
