"""Names of titles, and which have most in common with a text, against sets of letters."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ilk import titles
from ilk.errors import BundleCorrupt
from ilk.titles import TitleNames, normalized, spellings

quick = settings(deadline=None, max_examples=100)
WORDS = [
    "moon",
    "Orbit",
    "sugar",
    "Tax",
    "Aunt's",
    "salt",
    "Letters",
    "ferry",
    "渡し船",
    "8½",
    "reel",
]


def invented(n_titles: int) -> list[str]:
    """Return titles of one to five words, some of them alike."""
    rng = random.Random(7)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = [*WORDS, *("".join(rng.choices(letters, k=rng.randint(1, 9))) for _ in range(400))]
    return [" ".join(rng.choices(words, k=rng.randint(1, 5))) for _ in range(n_titles)]


def grams(name: str) -> set[str]:
    """Return three letters in a row of each word and the spaces around it."""
    padded = [f" {word} " for word in name.split()]
    return {word[at : at + 3] for word in padded for at in range(len(word) - 2)}


def alike(name: str, wanted: str) -> float:
    ours, theirs = grams(wanted), grams(name)
    n_shared = len(ours & theirs)
    if not n_shared:
        return 0.0
    share = 2 * n_shared / (len(ours) + len(theirs))
    share = max(share, 0.6 * n_shared / min(len(ours), len(theirs)) + 0.4 * share)
    return max(share, 0.9) if n_shared == len(ours) else share


@quick
@given(st.lists(st.text(max_size=30), min_size=1, max_size=20))
def test_every_name_of_every_title_is_there_with_its_grams(given_titles: list[str]) -> None:
    held = TitleNames.of(given_titles)
    spelled = [(row, name) for row, title in enumerate(given_titles) for name in spellings(title)]
    assert held.names.to_list() == [name for _, name in spelled]
    assert held.rows.tolist() == [row for row, _ in spelled]
    # Grams are told apart by numbers that two of a million may share.
    assert held.n_grams.tolist() == pytest.approx([len(grams(n)) for _, n in spelled], abs=1)
    assert len(held.holders) == held.indptr[-1] == held.n_grams.sum()


@pytest.mark.parametrize("text", ["moon", "sugr tax", "taxsugar", "orbit of the moon", "8½", "q"])
def test_what_has_most_in_common_is_found(text: str) -> None:
    held, wanted = TitleNames.of(invented(3000)), normalized(text)
    found = held.like(wanted, 100).tolist()
    shares = [alike(name, wanted) for name in held.names.to_list()]
    assert found == sorted(set(found))
    assert len(found) == min(100, sum(share > 0 for share in shares))
    best = sorted(range(len(shares)), key=lambda at: (-round(shares[at], 5), at))
    assert found == sorted(best[: len(found)])


def test_few_names_are_all_compared_and_strange_ones_have_nothing_in_common() -> None:
    held = TitleNames.of(["Moon", "Sugar Tax"])
    assert held.like("qqq", 2).tolist() == [0, 1]
    assert held.like("qqq", 1).tolist() == []
    for without_letters in ([], ["!!!"] * 9):
        assert TitleNames.of(without_letters).like("moon", 5).tolist() == []


def test_grams_that_nearly_all_names_hold_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    held = TitleNames.of([f"moon {word}" for word in ("ferry", "salt", "reel", "tax")] * 10)
    monkeypatch.setattr(titles, "_MOST_MET", 25)
    found = held.like("moon ferry", 10).tolist()
    assert {held.names[at] for at in found} == {"moon ferry"}


@pytest.mark.parametrize("part", ["rows", "n_grams", "indptr"])
def test_arrays_that_do_not_fit_each_other_are_refused(part: str) -> None:
    held = TitleNames.of(["Moon", "Sugar Tax"])
    with pytest.raises(BundleCorrupt):
        replace(held, **{part: getattr(held, part)[:-1]})
