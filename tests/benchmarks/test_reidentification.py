"""The replay finds users where nothing hinders it, and seldom where they are told in crowds."""

import pytest

from benchmarks.reidentification import Figures, Plan, draw, measure, table
from ilk.bundle import Bundle

PLAN = Plan(n_known=8, n_tries=1, n_patient=5)


@pytest.fixture(scope="module")
def figures(bundle: Bundle) -> dict[str, Figures]:
    return measure(bundle, PLAN, seed=1)


def test_eight_films_lead_to_a_user(figures: dict[str, Figures]) -> None:
    plain, crowds = figures["none"], figures["crowds of 30"]
    assert plain.kept == plain.likeness == plain.answered == 1
    assert plain.first > 0.2
    assert crowds.first <= 0.05 < plain.first / 4
    assert crowds.answered > 0.9


def test_pseudonyms_hide_who_and_not_whom(figures: dict[str, Figures]) -> None:
    assert figures["pseudonyms"] == figures["none"]


def test_larger_crowds_hide_more_and_tell_less(figures: dict[str, Figures]) -> None:
    small, large = figures["crowds of 10"], figures["crowds of 30"]
    assert large.first < small.first
    assert large.kept < small.kept
    assert 0 < large.likeness < small.likeness <= 1


def test_all_protections_at_once_hide_at_least_as_much(figures: dict[str, Figures]) -> None:
    assert figures["pseudonyms, crowds of 30, steps of 0.1"].first <= 0.05


@pytest.mark.parametrize("liked", [False, True])
def test_films_are_drawn_from_what_a_user_rated(bundle: Bundle, liked: bool) -> None:
    tries = draw(bundle, Plan(n_known=5, n_tries=2, liked=liked), seed=3)
    assert tries == draw(bundle, Plan(n_known=5, n_tries=2, liked=liked), seed=3)
    assert tries != draw(bundle, Plan(n_known=5, n_tries=2, liked=liked), seed=4)
    for tried in tries[:50]:
        row = bundle.users.vocabulary.row_of(tried.user_id)
        rated = set(bundle.ratings_by_user.others_of(row).tolist())
        known = {bundle.items.vocabulary.row_of(r.item_id) for r in tried.ratings}
        assert len(known) == 5
        assert known <= rated


def test_the_table_names_its_seed(figures: dict[str, Figures]) -> None:
    lines = table(figures, PLAN, seed=1)
    assert lines[0].startswith("seed 1: 8 films")
    assert len(lines) == 2 + len(figures)
