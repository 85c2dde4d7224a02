"""What people type and which titles they mean."""

import random
import time
import unicodedata
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ilk.bundle import Bundle
from ilk.titles import TitleNames, normalized, spellings
from ilk.v1 import similarity_pb2 as pb
from server.bundles.titles import TitleSearch

if TYPE_CHECKING:
    from ilk import SimilarityClient
    from tests.server.conftest import Ask

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
TYPED = {
    "Amélie": ["Amélie", "amelie", "AMÉLIE", "Ame\u0301lie", "Amelei", "Amélie (2001)"],
    "Toy Story": ["Toy Story", "toy story", "story toy", "TOY-STORY", "toy stroy", "Toy  Story!"],
    "The Matrix": ["The Matrix", "matrix", "Matrix, The", "the matrx", "Matrix The"],
    "Spirited Away": ["spirited away", "away spirited", "spirted awey", "Spirited Away"],
    "WALL·E": ["wall-e", "WALL·E", "wall e", "walle"],
    "Schindler's List": ["schindlers list", "Schindler\u2019s List", "list schindler's"],
    "La Jetée": ["la jetee", "jetée"],
    "Nausicaä of the Valley of the Wind": ["nausicaa"],
    "The Good, the Bad and the Ugly": ["good bad ugly", "the good the bad and the ugly"],
    "8½": ["8½", "8 1/2"],
    "Harry Potter and the Deathly Hallows: Part 1": ["harry potter and deathly hallows part 1"],
    "Back to the Future Part II": ["back to the future ii"],
    "Alien³": ["Alien³", "alien3", "alien 3"],
}
CASES = [(text, title) for title, texts in TYPED.items() for text in texts]


@pytest.mark.parametrize(("text", "title"), CASES)
def test_what_people_type_finds_the_title_first(
    client: "SimilarityClient", text: str, title: str
) -> None:
    best = client.search_titles(text)[0]
    assert best.item.title == title
    assert 0.6 <= best.score <= 1


@pytest.mark.parametrize("text", ["!!!", "\x00", "qqqqqqqqqqqq", "\U0001f600"], ids=ascii)
def test_what_is_no_title_finds_nothing(client: "SimilarityClient", text: str) -> None:
    assert client.search_titles(text) == []


def test_matches_are_whole_items_best_first_and_as_many_as_wanted(
    client: "SimilarityClient",
) -> None:
    matches = client.search_titles("star wars", 3)
    scores = [match.score for match in matches]
    assert len(matches) == 3
    assert scores == sorted(scores, reverse=True)
    known = client.get_items(match.item.id for match in matches)
    assert [match.item for match in matches] == list(known.values())


def test_ten_matches_are_the_default_and_the_bundle_is_named(ask: "Ask", bundle: Bundle) -> None:
    answer = ask("SearchTitles", pb.SearchTitlesRequest(text="the").SerializeToString())
    response = pb.SearchTitlesResponse.FromString(answer.body)
    assert len(response.matches) == 10
    assert response.bundle_version == bundle.version


@pytest.fixture(scope="module")
def titles(bundle: Bundle) -> list[str]:
    return bundle.catalogue.titles.to_list()


@pytest.fixture(scope="module")
def index(titles: list[str]) -> TitleSearch:
    return TitleSearch(TitleNames.of(titles))


def without_accents(title: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFD", title) if not unicodedata.combining(c))


@pytest.mark.parametrize("spell", [str.upper, str.lower, without_accents])
def test_every_title_is_itself_in_any_case_and_without_accents(
    titles: list[str], index: TitleSearch, spell: Callable[[str], str]
) -> None:
    for title in titles:
        ((row, score),) = index.search(spell(title), 1)
        # A remake shares its name with another film.
        assert (normalized(titles[row]), score) == (normalized(title), 1)


def test_every_title_is_found_by_its_words_in_another_order(
    titles: list[str], index: TitleSearch
) -> None:
    rng = random.Random(0)
    for title in titles:
        words = title.split()
        found = index.search(" ".join(rng.sample(words, len(words))), 1)
        assert [normalized(titles[row]) for row, _ in found] == [normalized(title)]


def test_nearly_every_long_title_is_found_despite_one_wrong_letter(
    titles: list[str], index: TitleSearch
) -> None:
    rng = random.Random(0)
    long = [title for title in titles if len(title) >= 8]
    lost = []
    for title in long:
        at = rng.randrange(len(title))
        found = index.search(title[:at] + "q" + title[at + 1 :], 3)
        if title not in [titles[row] for row, _ in found]:
            lost.append(title)
    assert len(lost) <= 0.02 * len(long), lost


@unhurried
@given(text=st.text(max_size=256), n_matches=st.integers(1, 20))
def test_no_text_breaks_the_search(text: str, n_matches: int) -> None:
    index = TitleSearch(TitleNames.of(["Amélie", "", "8½", "(1984)", "+", "Amélie"]))
    found = index.search(text, n_matches)
    scores = [score for _, score in found]
    assert len(found) <= min(n_matches, 6)
    assert scores == sorted(scores, reverse=True)
    assert all(0.6 <= score <= 1 for score in scores)
    assert len({row for row, _ in found}) == len(found)


def test_the_better_known_of_equal_titles_comes_first() -> None:
    found = TitleSearch(TitleNames.of(["Scarface", "Heat", "Scarface"])).search("scarface", 5)
    assert found == [(0, 1.0), (2, 1.0)]


@pytest.mark.parametrize("text", ["Psycho (1998)", "psycho 1998", "Psycho, 1998."])
def test_of_equal_titles_the_one_of_the_year_that_was_typed_comes_first(text: str) -> None:
    years = np.array([1960, 1960, 1998, 1998], dtype=np.int16)
    index = TitleSearch(TitleNames.of(["Psycho", "Psycho II", "Psycho", "Heat"]), years)
    assert [row for row, _ in index.search(text, 2)] == [2, 0]
    assert [row for row, _ in index.search("psycho", 2)] == [0, 2]


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Terminator 2", "Terminator 2: Judgment Day"),
        ("home alone 2", "Home Alone 2: Lost in New York"),
        ("men in black 2", "Men in Black 2"),
        ("the terminator", "The Terminator"),
        ("terminator the film", "The Terminator"),
    ],
)
def test_a_title_that_lacks_a_word_comes_after_those_that_hold_all(text: str, title: str) -> None:
    shorter = ["The Terminator", "Home Alone", "Men in Black"]
    longer = ["Terminator 2: Judgment Day", "Home Alone 2: Lost in New York", "Men in Black 2"]
    titles = [*shorter, *longer]
    assert titles[TitleSearch(TitleNames.of(titles)).search(text, 1)[0][0]] == title


@pytest.mark.parametrize("title", ["300", "9", "1984", "2012", "1917 (2019)", "21 (Twenty-One)"])
def test_a_title_may_be_a_number(title: str) -> None:
    number = title.split()[0]
    index = TitleSearch(TitleNames.of([f"{number} Jump Street", f"District {number}", title]))
    assert index.search(number, 1) == [(2, 1.0)]


def test_a_year_in_brackets_is_no_name() -> None:
    assert spellings("Heat (1995)") == ["heat"]
    assert spellings("Blade Runner (1982) (Final Cut)") == [
        "blade runner 1982 final cut",
        "blade runner",
        "final cut",
    ]


def test_a_title_is_found_by_its_name_in_brackets() -> None:
    title = "Amelie (Fabuleux destin d'Amélie Poulain, Le)"
    assert "amelie" in spellings(title)
    index = TitleSearch(TitleNames.of(["Heat", title]))
    for text in ("amelie", "Le Fabuleux destin d'Amélie Poulain"):
        assert index.search(text, 1) == [(1, 1.0)]


@unhurried
@given(title=st.text())
def test_normalized_titles_are_words_alone(title: str) -> None:
    plain = normalized(title)
    assert plain == " ".join(plain.split())
    assert not any(unicodedata.combining(c) for c in plain)


@pytest.mark.parametrize("end", ["", " (1999)", " (x"])
def test_a_title_of_any_length_is_read_in_one_go(end: str) -> None:
    # Were it read anew from every word, this would take minutes.
    began_s = time.process_time()
    names = spellings("so long " * 25_000 + end)
    assert time.process_time() - began_s < 5
    assert names[0].startswith("so long so long")


def test_comparing_with_those_that_have_most_in_common_finds_what_comparing_with_all_does(
    titles: list[str], index: TitleSearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, typed = random.Random(3), []
    for title in titles:
        at, words = rng.randrange(len(title)), title.split()
        typed += [title[:at] + title[at + 1 :], title.replace(" ", ""), words[-1]]
        typed.append(" ".join(rng.sample(words, len(words))))
    monkeypatch.setattr("server.bundles.titles.MOST_COMPARED", 1 << 30)
    of_all = [index.search(text, 3) for text in typed]
    monkeypatch.setattr("server.bundles.titles.MOST_COMPARED", len(titles) // 4)
    of_few = [index.search(text, 3) for text in typed]
    best = [few[:1] == many[:1] for few, many in zip(of_few, of_all, strict=True)]
    assert sum(best) >= 0.99 * len(typed)
    clear = [[m for m in many if m[1] >= 0.75] for many in of_all]
    found = [few[: len(many)] == many for few, many in zip(of_few, clear, strict=True)]
    assert sum(found) >= 0.99 * len(typed)
