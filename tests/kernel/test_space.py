"""One space: exact scores against the blend, and the effort chosen against a table made by hand."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from ilk import space as space_module
from ilk.ann import Index, IndexKind, IndexSpec
from ilk.space import SPACE_KEYS, Space, SpaceKey, likeness_vectors
from ilk.types import MeasuredRecall, Target
from ilk.vectors import blend, concatenate, unit_rows

KEY = SpaceKey(Target.ITEMS, by_likeness=True)
N_LISTS = 8
Matrix = npt.NDArray[np.float32]
# Recall at 10 by effort and blend; at 100 it is the same unless a cell holds both.
TABLE: dict[int, dict[float, float | tuple[float, float]]] = {
    1: {0.0: 0.95, 0.5: 0.5, 1.0: 0.99},
    2: {0.0: 0.97, 0.5: (0.99, 0.9), 1.0: 0.99},
    4: {0.0: 0.99, 0.5: 0.97, 1.0: 0.98},
}


@pytest.fixture(scope="module")
def parts() -> tuple[Matrix, Matrix]:
    rng = np.random.default_rng(8)
    factors = rng.standard_normal((60, 5), dtype=np.float32)
    return factors, unit_rows(rng.random((60, 3), dtype=np.float32))


def space_of(parts: tuple[Matrix, Matrix], kind: IndexKind) -> Space:
    rows = []
    for effort in reversed(TABLE):
        for weight, cell in TABLE[effort].items():
            at_10, at_100 = cell if isinstance(cell, tuple) else (cell, cell)
            rows.append(MeasuredRecall(KEY.name, "", effort, weight, at_10, at_100))
    index = Index.build(concatenate(*parts), IndexSpec(kind, N_LISTS), seed=1)
    return Space(KEY, *parts, index, tuple(rows))


@pytest.mark.parametrize(
    ("content_weight", "target", "effort"),
    [
        (0.0, 0.95, 1),
        (0.0, 0.96, 2),
        (1.0, 0.99, 1),
        # Recall at 100 misses where that at 10 would do.
        (0.5, 0.95, 4),
        (0.5, 0.9, 2),
        # Between two blends: good at both neighbors, not at one of them.
        (0.25, 0.5, 1),
        (0.25, 0.9, 2),
        (0.25, 0.96, 4),
        (0.75, 0.96, 4),
        # Between 0.9 and 1 nothing was measured, and more goes wrong than at either.
        (0.9, 0.9, 2),
        (0.901, 0.9, N_LISTS),
        (0.999, 0.9, N_LISTS),
        # Nothing measured is good enough at both: every row is compared.
        (0.25, 0.98, N_LISTS),
        (0.5, 1.0, N_LISTS),
        # 2 is better than 4 here: the cheapest that holds is taken, not the first that fails skipped.
        (1.0, 0.985, 1),
    ],
)
def test_the_cheapest_effort_that_holds_at_both_neighboring_blends_is_taken(
    content_weight: float, target: float, effort: int, parts: tuple[Matrix, Matrix]
) -> None:
    assert space_of(parts, IndexKind.IVF).effort(content_weight, target) == effort


def test_for_ten_neighbors_recall_at_ten_decides(parts: tuple[Matrix, Matrix]) -> None:
    space = space_of(parts, IndexKind.IVF)
    assert [space.effort(0.5, 0.95, n) for n in (1, 10, 11, 100)] == [2, 2, 4, 4]


def test_the_well_known_and_others_are_each_promised_what_such_find(
    parts: tuple[Matrix, Matrix],
) -> None:
    space = space_of(parts, IndexKind.IVF)
    rows = tuple(
        replace(
            row, well_known_at_10=1.0 if row.effort > 1 else None, others_at_10=row.recall_at_10
        )
        for row in space.recall
    )
    told = Space(KEY, space.factors, space.content, space.index, rows)
    for weight, target, n_wanted in ((0.5, 0.95, 10), (0.25, 0.96, 10), (0.5, 0.95, 11)):
        others = told.effort(weight, target, n_wanted, well_known=False)
        assert others == told.effort(weight, target, n_wanted)
        assert others == space.effort(weight, target, n_wanted, well_known=True)
        well_known = told.effort(weight, target, n_wanted, well_known=True)
        assert well_known == (2 if n_wanted == 10 else others)
    # Of effort that was measured of nobody known, what all find is promised.
    assert told.effort(0.0, 0.95, 10, well_known=True) == 1


def test_a_graph_that_never_reached_the_target_promises_nothing(
    parts: tuple[Matrix, Matrix],
) -> None:
    graph = space_of(parts, IndexKind.HNSW)
    assert graph.effort(0.25, 0.96) == 4
    assert graph.effort(0.25, 0.98) is None


def test_comparing_with_all_needs_no_table(parts: tuple[Matrix, Matrix]) -> None:
    assert space_of(parts, IndexKind.FLAT).effort(0.5, 1.0) == 0


def test_a_blend_outside_what_was_measured_is_not_guessed(parts: tuple[Matrix, Matrix]) -> None:
    space = space_of(parts, IndexKind.IVF)
    inner = tuple(row for row in space.recall if row.content_weight == 0.5)
    partly = Space(KEY, space.factors, space.content, space.index, inner)
    assert partly.effort(0.5, 0.9) == 2
    for weight in (0.4, 0.6):
        assert partly.effort(weight, 0.5) == N_LISTS


@pytest.mark.parametrize("content_weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("chunk_rows", [1, 7, 1000])
def test_exact_scores_are_what_the_blended_query_gives_whatever_the_chunks(
    content_weight: float,
    chunk_rows: int,
    parts: tuple[Matrix, Matrix],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(space_module, "_CHUNK_ROWS", chunk_rows)
    space = space_of(parts, IndexKind.FLAT)
    rows = np.random.default_rng(9).permutation(len(space))[:23]
    a, b = space.factors[0], space.content[1]
    expected = concatenate(*parts)[rows] @ blend(a, b, content_weight)[0]
    scores = space.scores(rows, a, b, content_weight)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-6)
    assert space.scores(rows[:0], a, b, content_weight).shape == (0,)


@pytest.mark.parametrize("content_weight", [0.0, 0.3, 1.0])
def test_inner_products_of_likeness_vectors_are_blended_cosines(
    content_weight: float, parts: tuple[Matrix, Matrix]
) -> None:
    factors, content = parts
    vectors = likeness_vectors(factors, content, content_weight)
    lengths = np.linalg.norm(factors, axis=1)
    cosines = factors @ factors.T / np.outer(lengths, lengths)
    expected = (1 - content_weight) * cosines + content_weight * content @ content.T
    np.testing.assert_allclose(vectors @ vectors.T, expected, atol=1e-5)


def test_the_four_spaces_have_names_of_their_own() -> None:
    assert sorted(key.name for key in SPACE_KEYS) == [
        "items.affinity",
        "items.likeness",
        "users.affinity",
        "users.likeness",
    ]


def test_a_blend_that_more_effort_was_not_measured_of_keeps_what_it_had(
    parts: tuple[Matrix, Matrix],
) -> None:
    space = space_of(parts, IndexKind.IVF)
    cells = ((1, 0.0, 0.9), (1, 1.0, 0.999), (2, 0.0, 0.98))
    rows = (MeasuredRecall(KEY.name, "", e, weight, found, found) for e, weight, found in cells)
    settled = Space(KEY, space.factors, space.content, space.index, tuple(rows))
    assert settled.effort(0.5, 0.95) == 2
    assert settled.effort(1.0, 0.95) == 1


def test_of_partitions_the_one_that_searches_least_is_taken(parts: tuple[Matrix, Matrix]) -> None:
    space = space_of(parts, IndexKind.IVF_PQ_2)
    by_taste, by_content = 0, 1 << 16
    cells = (
        (by_taste + 1, {0.0: 0.97, 1.0: 0.1}),
        (by_taste + 8, {0.0: 0.98, 1.0: 0.96}),
        (by_content + 2, {0.0: 0.1, 1.0: 0.97}),
        (by_content + 4, {0.0: 0.96, 1.0: 0.99}),
    )
    rows = tuple(
        MeasuredRecall(KEY.name, "", effort, weight, found, found)
        for effort, by_weight in cells
        for weight, found in by_weight.items()
    )
    twice = Space(KEY, space.factors, space.content, space.index, rows)
    assert twice.effort(0.0, 0.95) == by_taste + 1
    assert twice.effort(1.0, 0.95) == by_content + 2
    assert twice.effort(0.5, 0.95) == by_content + 4
    assert twice.effort(0.0, 0.98) == by_taste + 8
    assert twice.effort(0.5, 0.99) is None


@pytest.mark.parametrize(
    ("costs_us", "taken"), [((), 1), ((30.0, 40.0), 0), ((40.0, 30.0), 1), ((5.0,), 1)]
)
def test_of_efforts_that_find_enough_the_cheapest_is_taken(
    parts: tuple[Matrix, Matrix], costs_us: tuple[float, ...], taken: int
) -> None:
    space = space_of(parts, IndexKind.IVF_PQ_2)
    efforts = ((1 << 16) + 5, (2 << 16) + 3)
    rows = tuple(MeasuredRecall(KEY.name, "", effort, 0.9, 0.97, 0.97) for effort in efforts)
    measured = Space(KEY, space.factors, space.content, space.index, rows, costs_us)
    assert measured.effort(0.9, 0.95) == efforts[taken]


def test_between_blends_an_effort_costs_what_it_does_at_the_dearer(
    parts: tuple[Matrix, Matrix],
) -> None:
    space = space_of(parts, IndexKind.IVF)
    cells = ((1, 0.0, 90.0), (1, 1.0, 10.0), (2, 0.0, 60.0), (2, 1.0, 50.0))
    rows = tuple(MeasuredRecall(KEY.name, "", e, weight, 0.97, 0.97) for e, weight, _ in cells)
    costs_us = tuple(cost_us for _, _, cost_us in cells)
    measured = Space(KEY, space.factors, space.content, space.index, rows, costs_us)
    assert measured.effort(0.5, 0.95) == 2
    assert measured.effort(1.0, 0.95) == 1
