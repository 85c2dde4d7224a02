"""Codes of four bits, and the rows that they are learnt from: long ones count for more."""

import numpy as np
import numpy.typing as npt
import pytest

from ilk.ann import Index, IndexKind, IndexSpec, compare_with_all, recall, training
from ilk.ann.index import RowNeighbors
from ilk.ann.training import rows_for_codes

Vectors = npt.NDArray[np.float32]

N_ROWS, DIM, SEED = 6_000, 16, 3
coding_kinds = pytest.mark.parametrize(
    "kind", [kind for kind in IndexKind if kind.has_nibbles], ids=lambda kind: kind.value
)


def held_by_candidates(
    n_candidates: int, vectors: Vectors, queries: Vectors, of_kind: IndexSpec
) -> float:
    """Return the recall at 10 of so many candidates from every list of an index that is built."""
    index = Index.build(vectors, of_kind, SEED)
    rows = index.nearest(queries, n_candidates, of_kind.n_lists).rows
    scores = -np.sort(-np.einsum("qd,qkd->qk", queries, vectors[rows]))
    truth = compare_with_all(vectors, queries, 10)
    return recall([RowNeighbors(rows, scores)], [truth], 10)


def test_half_of_the_rows_that_codes_are_learnt_from_are_long() -> None:
    lengths = np.ones(50_000)
    lengths[100:200] = 10
    rows = rows_for_codes(lengths, IndexSpec(IndexKind.PQ), SEED)
    is_long = (rows >= 100) & (rows < 200)
    assert len(rows) == 4096
    assert is_long.mean() == pytest.approx(0.5, abs=0.01)
    others = rows[~is_long]
    assert len(np.unique(others)) == len(others)


@coding_kinds
def test_of_lists_a_quarter_are(kind: IndexKind) -> None:
    lengths = np.ones(50_000)
    lengths[7] = 100
    rows = rows_for_codes(lengths, IndexSpec(kind), SEED)
    share = 0.25 if kind.has_lists else 0.5
    assert (rows == 7).mean() == pytest.approx(share, abs=0.001)


@pytest.mark.parametrize("n_rows", [1, 5, 2048])
def test_where_rows_are_few_all_are_among_them(n_rows: int) -> None:
    rows = rows_for_codes(np.ones(n_rows), IndexSpec(IndexKind.PQ), SEED)
    assert set(rows.tolist()) == set(range(n_rows))
    assert len(rows) == 2 * n_rows


def test_rows_without_any_length_are_drawn_evenly() -> None:
    rows = rows_for_codes(np.zeros(30), IndexSpec(IndexKind.PQ), SEED)
    assert rows.tolist() == list(range(30))


@coding_kinds
def test_so_few_candidates_hold_what_is_long(
    kind: IndexKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Factors are so: most rows are short, and a few are long.
    rng = np.random.default_rng(SEED)
    vectors = rng.standard_normal((N_ROWS, DIM), dtype=np.float32)
    vectors *= rng.lognormal(0, 0.7, (N_ROWS, 1)).astype(np.float32)
    queries = rng.standard_normal((200, DIM), dtype=np.float32)
    of_kind = IndexSpec(kind, n_lists=4, n_factors=DIM // 2)
    by_length = held_by_candidates(20, vectors, queries, of_kind)
    monkeypatch.setattr(training, "_BY_LENGTH", 0)
    assert by_length > held_by_candidates(20, vectors, queries, of_kind) + 0.015
