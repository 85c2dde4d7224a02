"""Indices of every kind, against comparing with every row."""

import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ilk.ann import (
    Index,
    IndexKind,
    IndexSpec,
    RowNeighbors,
    best_of,
    inner_products,
    recall,
    top_rows,
)
from ilk.errors import BundleCorrupt, SettingsError

N_ROWS, DIM, SEED = 500, 12, 7
KINDS = tuple(IndexKind)
Scores = npt.NDArray[np.float32]
quick = settings(deadline=None, max_examples=150)
kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.value)
selecting_kinds = pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if not kind.has_nibbles], ids=lambda kind: kind.value
)
exhaustive_kinds = pytest.mark.parametrize(
    "kind", [IndexKind.FLAT, IndexKind.IVF], ids=lambda kind: kind.value
)


@pytest.fixture(scope="module")
def vectors() -> Scores:
    return np.random.default_rng(SEED).standard_normal((N_ROWS, DIM), dtype=np.float32)


@pytest.fixture(scope="module")
def queries() -> Scores:
    return np.random.default_rng(SEED + 1).standard_normal((20, DIM), dtype=np.float32)


@pytest.fixture(scope="module")
def folder(vectors: Scores, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one saved index of each kind."""
    folder = tmp_path_factory.mktemp("indices")
    for kind in KINDS:
        Index.build(vectors, IndexSpec(kind), SEED).save(folder / kind.value)
    return folder


def opened(folder: Path, kind: IndexKind) -> Index:
    return Index.open(folder / kind.value, kind, N_ROWS, DIM)


def highest_effort(kind: IndexKind) -> int:
    return IndexSpec(kind).efforts(N_ROWS)[-1]


def compared_with_all(vectors: Scores, query: Scores, k: int, rows: list[int]) -> list[int]:
    return sorted(rows, key=lambda row: -float(vectors[row] @ query))[:k]


def bitmap(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    return np.packbits(mask, bitorder="little")


THREE_ALLOWED = bitmap(np.arange(N_ROWS) < 3)


@exhaustive_kinds
def test_an_exhaustive_search_finds_what_comparing_with_all_rows_finds(
    kind: IndexKind, folder: Path, vectors: Scores, queries: Scores
) -> None:
    index = opened(folder, kind)
    assert index.exhaustive_effort is not None
    found = index.nearest(queries, 10, index.exhaustive_effort)
    assert (found.rows.dtype, found.scores.dtype) == (np.dtype(np.int64), np.dtype(np.float32))
    assert found.rows.shape == found.scores.shape == (20, 10)
    for query, rows, scores in zip(queries, found.rows, found.scores, strict=True):
        assert rows.tolist() == compared_with_all(vectors, query, 10, list(range(N_ROWS)))
        np.testing.assert_allclose(scores, vectors[rows] @ query, rtol=1e-5, atol=1e-5)


def test_more_effort_finds_more_and_the_most_nearly_all(folder: Path, queries: Scores) -> None:
    exact = opened(folder, IndexKind.FLAT).nearest(queries, 10)
    for kind in (IndexKind.IVF, IndexKind.HNSW):
        index, spec = opened(folder, kind), IndexSpec(kind)
        recalls = [
            recall([index.nearest(queries, 10, effort)], [exact], 10)
            for effort in spec.efforts(N_ROWS)
        ]
        assert recalls == sorted(recalls)
        assert recalls[-1] > 0.98
        assert recalls[0] < 0.5 or kind is IndexKind.HNSW


@kinds
def test_a_mapped_index_answers_as_the_one_built_and_writes_nothing(
    kind: IndexKind, folder: Path, vectors: Scores, queries: Scores
) -> None:
    built, mapped = Index.build(vectors, IndexSpec(kind), SEED), opened(folder, kind)
    before = queries.copy()
    assert (mapped.n_rows, mapped.dim, mapped.kind) == (N_ROWS, DIM, kind)
    for effort in IndexSpec(kind).efforts(N_ROWS):
        theirs, ours = built.nearest(queries, 7, effort), mapped.nearest(queries, 7, effort)
        assert np.array_equal(theirs.rows, ours.rows)
        assert np.array_equal(theirs.scores, ours.scores)
    assert np.array_equal(queries, before)


@kinds
def test_an_index_is_the_same_to_the_last_bit_for_a_seed(
    kind: IndexKind, folder: Path, vectors: Scores, tmp_path: Path
) -> None:
    n_threads = faiss.omp_get_max_threads()
    Index.build(vectors, IndexSpec(kind), SEED).save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (folder / kind.value).read_bytes()
    assert faiss.omp_get_max_threads() == n_threads


@selecting_kinds
@pytest.mark.parametrize("n_allowed", [1, 5, 60, 400, N_ROWS])
def test_a_selection_returns_no_row_outside_it(
    kind: IndexKind, n_allowed: int, folder: Path, queries: Scores
) -> None:
    allowed = np.zeros(N_ROWS, dtype=np.bool_)
    allowed[np.random.default_rng(n_allowed).choice(N_ROWS, n_allowed, replace=False)] = True
    for effort in IndexSpec(kind).efforts(N_ROWS):
        found = opened(folder, kind).nearest(queries, 20, effort, bitmap(allowed))
        assert allowed[found.rows[found.rows >= 0]].all()
    assert np.any(found.rows >= 0)


@exhaustive_kinds
@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 10_000), share=st.sampled_from([0, 0.01, 0.1, 0.9]), k=st.integers(1, 30)
)
def test_an_exhaustive_search_of_a_selection_finds_the_best_of_it_and_pads_the_rest(
    kind: IndexKind, seed: int, share: float, k: int, folder: Path, vectors: Scores, queries: Scores
) -> None:
    index = opened(folder, kind)
    allowed = np.random.default_rng(seed).random(N_ROWS) < share
    found = index.nearest(queries[:1], k, index.exhaustive_effort or 0, bitmap(allowed))
    expected = compared_with_all(vectors, queries[0], k, np.flatnonzero(allowed).tolist())
    assert found.rows[0].tolist() == expected + [-1] * (k - len(expected))


@selecting_kinds
def test_unfilled_places_come_last_with_the_lowest_score(
    kind: IndexKind, folder: Path, queries: Scores
) -> None:
    found = opened(folder, kind).nearest(queries, 6, highest_effort(kind), THREE_ALLOWED)
    assert np.all(np.sort(found.rows[:, :3], axis=1) == [0, 1, 2])
    assert np.all(found.rows[:, 3:] == -1)
    assert np.all(np.diff(found.scores[:, :3]) <= 0)
    assert np.all(found.scores[:, 3:] <= np.finfo(np.float32).min)


def test_codes_of_all_rows_cannot_be_selected_from(folder: Path, queries: Scores) -> None:
    with pytest.raises(ValueError, match="bitmap"):
        opened(folder, IndexKind.PQ).nearest(queries, 6, 4, THREE_ALLOWED)


@selecting_kinds
def test_unfilled_places_hold_the_score_that_row_neighbors_promises(
    kind: IndexKind, folder: Path, queries: Scores
) -> None:
    found = opened(folder, kind).nearest(queries, 6, highest_effort(kind), THREE_ALLOWED)
    assert np.all(np.isneginf(found.scores[:, 3:]))


@pytest.mark.parametrize("saved", KINDS, ids=lambda kind: f"saved-{kind.value}")
@pytest.mark.parametrize("wanted", KINDS, ids=lambda kind: f"wanted-{kind.value}")
def test_an_index_of_another_kind_is_refused(
    saved: IndexKind, wanted: IndexKind, folder: Path
) -> None:
    if saved is wanted:
        assert opened(folder, saved).n_rows == N_ROWS
        return
    with pytest.raises(BundleCorrupt, match=f"expected {wanted.value}"):
        Index.open(folder / saved.value, wanted, N_ROWS, DIM)


@kinds
@pytest.mark.parametrize(("n_rows", "dim"), [(N_ROWS - 1, DIM), (N_ROWS, DIM + 1), (0, 0)])
def test_an_index_of_another_shape_is_refused(
    kind: IndexKind, n_rows: int, dim: int, folder: Path
) -> None:
    told = f"500 x {kind.width(DIM)}, the manifest says {n_rows} x {kind.width(dim)}"
    if told.startswith(told.partition("says ")[2]):
        pytest.skip("that many dimensions are stored alike")
    with pytest.raises(BundleCorrupt, match=told):
        Index.open(folder / kind.value, kind, n_rows, dim)


@pytest.mark.parametrize("factory", ["Flat", "IVF4,Flat", "HNSW8"])
def test_an_index_that_measures_distance_is_refused(
    factory: str, vectors: Scores, tmp_path: Path
) -> None:
    by_distance = faiss.index_factory(DIM, factory, faiss.METRIC_L2)
    by_distance.train(vectors)
    by_distance.add(vectors)
    faiss.write_index(by_distance, str(tmp_path / "index"))
    kind = next(kind for kind in KINDS if factory.startswith(kind.value))
    with pytest.raises(BundleCorrupt, match="inner product"):
        Index.open(tmp_path / "index", kind, N_ROWS, DIM)


@pytest.mark.parametrize("factory", ["SQ8", "PCA4,Flat", "IVF4,SQ8", "HNSW8_SQ8"])
@kinds
def test_an_index_of_a_kind_no_bundle_holds_is_refused(
    factory: str, kind: IndexKind, vectors: Scores, tmp_path: Path
) -> None:
    stranger = faiss.index_factory(DIM, factory, faiss.METRIC_INNER_PRODUCT)
    stranger.train(vectors)
    stranger.add(vectors)
    faiss.write_index(stranger, str(tmp_path / "index"))
    with pytest.raises(BundleCorrupt):
        Index.open(tmp_path / "index", kind, N_ROWS, DIM)


@kinds
@pytest.mark.parametrize("kept", [0, 4, 24, -4000, -400, -4, -1])
def test_a_file_cut_short_is_refused(
    kind: IndexKind, kept: int, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "cut").write_bytes((folder / kind.value).read_bytes()[:kept])
    with pytest.raises(BundleCorrupt, match="faiss cannot read it"):
        Index.open(tmp_path / "cut", kind, N_ROWS, DIM)


@kinds
def test_a_file_cut_inside_its_header_does_not_kill_the_process(
    kind: IndexKind, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "cut").write_bytes((folder / kind.value).read_bytes()[:28])
    opening = (
        "import sys, pathlib\n"
        "from ilk.ann import Index, IndexKind\n"
        "from ilk.errors import BundleCorrupt\n"
        "try: Index.open(pathlib.Path(sys.argv[1]), IndexKind(sys.argv[2]), 500, 12)\n"
        "except BundleCorrupt: sys.exit(42)\n"
    )
    arguments = [sys.executable, "-c", opening, str(tmp_path / "cut"), kind.value]
    root = Path(__file__).parents[2]
    assert subprocess.run(arguments, cwd=root, capture_output=True, check=False).returncode == 42


@pytest.mark.parametrize("content", [b"", b"\0" * 4096, b"\x93NUMPY", b"not an index" * 50])
@kinds
def test_a_file_that_is_no_index_is_refused(
    kind: IndexKind, content: bytes, tmp_path: Path
) -> None:
    (tmp_path / "index").write_bytes(content)
    with pytest.raises(BundleCorrupt, match="faiss cannot read it"):
        Index.open(tmp_path / "index", kind, N_ROWS, DIM)


def test_an_index_over_nothing_is_refused() -> None:
    with pytest.raises(SettingsError, match="at least one row"):
        Index.build(np.empty((0, DIM), dtype=np.float32), IndexSpec(), SEED)


@selecting_kinds
@pytest.mark.parametrize("n_rows", [1, 2, 5])
def test_a_handful_of_rows_is_indexed_by_every_kind(
    kind: IndexKind, n_rows: int, vectors: Scores
) -> None:
    spec = IndexSpec(kind)
    index = Index.build(vectors[:n_rows], spec, SEED)
    found = index.nearest(vectors[:1], n_rows, spec.efforts(n_rows)[-1])
    assert sorted(found.rows[0].tolist()) == list(range(n_rows))


@pytest.mark.parametrize(
    ("spec", "n_rows", "name", "efforts"),
    [
        (IndexSpec(), 100, "Flat", (0,)),
        (IndexSpec(IndexKind.IVF), 100, "IVF40,Flat", (1, 2, 4, 8, 16, 32, 40)),
        (IndexSpec(IndexKind.IVF, 16), 100, "IVF16,Flat", (1, 2, 4, 8, 16)),
        (IndexSpec(IndexKind.IVF, 16), 3, "IVF3,Flat", (1, 2, 3)),
        (IndexSpec(IndexKind.IVF), 1, "IVF1,Flat", (1,)),
        (IndexSpec(IndexKind.HNSW), 100, "HNSW32", (16, 32, 64, 128, 256, 512)),
        (IndexSpec(IndexKind.PQ), 100, "PQ6x4fs", (2, 3, 4, 6, 8, 12, 16, 32, 64)),
        (IndexSpec(IndexKind.IVF_SQ, 2), 100, "IVF2,SQ8", (1, 2)),
        (IndexSpec(IndexKind.IVF_PQ), 100, "IVF10,PQ6x4fs", (1, 2, 3, 4, 6, 8, 10)),
        (
            IndexSpec(IndexKind.IVF_PQ_2, 3),
            100,
            "2x(IVF3,PQ6x4fs)",
            (1, 2, 3, *(e for at in (1, 2, 3) for e in range((at << 16) + 1, (at << 16) + 4))),
        ),
    ],
)
def test_a_spec_says_its_name_and_the_efforts_worth_measuring(
    spec: IndexSpec, n_rows: int, name: str, efforts: tuple[int, ...]
) -> None:
    assert spec.describe(n_rows, DIM) == name
    assert spec.efforts(n_rows) == efforts


@quick
@given(st.lists(st.integers(-3, 3), max_size=40), st.integers(1, 50))
def test_top_rows_are_the_best_first_and_equal_ones_by_position(scores: list[int], k: int) -> None:
    by_hand = sorted(range(len(scores)), key=lambda row: (-scores[row], row))[:k]
    assert top_rows(np.array(scores, dtype=np.float32), k).tolist() == by_hand


def neighbors(*scores: list[float]) -> RowNeighbors:
    values = np.array(scores, dtype=np.float32)
    return RowNeighbors(np.zeros(values.shape, dtype=np.int64), values)


@pytest.mark.parametrize(
    ("found", "true", "k", "expected"),
    [
        ([[3, 2, 1]], [[3, 2, 1]], 3, 1),
        # The rows do not matter: another row with the score of the last true one is as good.
        ([[3, 1, 1]], [[3, 2, 1]], 3, 1),
        ([[3, 2, 0.9]], [[3, 2, 1]], 3, 2 / 3),
        ([[3, 2, 1 - 1e-7]], [[3, 2, 1]], 3, 1),
        ([[-1, -1 - 1e-3]], [[-1, -1]], 2, 1 / 2),
        ([[3, -3.4e38]], [[3, 2]], 2, 1 / 2),
        ([[3, -np.inf]], [[3, 2]], 2, 1 / 2),
        ([[0, 0]], [[0, 0]], 2, 1),
        ([[5, 4, 0]], [[5, 4, 3]], 2, 1),
        ([[3, 2], [0, 0]], [[3, 2], [3, 2]], 2, 1 / 2),
    ],
)
def test_recall_counts_scores_that_reach_the_last_true_one(
    found: list[list[float]], true: list[list[float]], k: int, expected: float
) -> None:
    assert recall([neighbors(*found)], [neighbors(*true)], k) == pytest.approx(expected)
    batched = [neighbors(row) for row in found], [neighbors(row) for row in true]
    assert recall(*batched, k) == pytest.approx(expected)


def test_inner_products_with_chosen_rows_are_those_of_queries_that_lie_apart_in_memory() -> None:
    rng = np.random.default_rng(7)
    vectors = rng.standard_normal((500, 64)).astype(np.float32)
    wide = rng.standard_normal((200, 80)).astype(np.float32)
    rows = rng.integers(-1, 500, (200, 3))
    found = inner_products(vectors, wide[:, :64], rows)
    expected = np.einsum("qd,qkd->qk", wide[:, :64], vectors[rows])
    np.testing.assert_allclose(found, np.where(rows < 0, -np.inf, expected), rtol=0, atol=1e-4)


def test_what_faiss_is_pointed_to_is_there_when_it_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    pointed_to: list[weakref.ref[npt.NDArray[Any]]] = []
    point_to, look = faiss.swig_ptr, faiss.fvec_inner_products_by_idx

    def pointed(array: npt.NDArray[Any]) -> object:
        pointed_to.append(weakref.ref(array))
        return point_to(array)

    def looked(*told: object) -> None:
        assert len(pointed_to) == 4
        assert all(array() is not None for array in pointed_to)
        look(*told)

    monkeypatch.setattr(faiss, "swig_ptr", pointed)
    monkeypatch.setattr(faiss, "fvec_inner_products_by_idx", looked)
    wide, rows = np.ones((3, 8), dtype=np.float32), np.zeros((3, 2), dtype=np.int64)
    inner_products(np.ones((4, 5), dtype=np.float32), wide[:, :5], rows)


@pytest.mark.parametrize("n_queries", [1, 3])
@pytest.mark.parametrize(("k", "n_best"), [(40, 7), (600, 7), (600, 599), (600, 600), (2000, 550)])
def test_the_best_of_chosen_rows_come_first_however_many_there_are(
    n_queries: int, k: int, n_best: int
) -> None:
    rng = np.random.default_rng(k)
    scores = rng.random((n_queries, k), dtype=np.float32)
    rows = rng.permutation(n_queries * k).reshape(n_queries, k)
    # What lists did not fill.
    rows[:, -3:], scores[:, -3:] = -1, -np.inf
    best = best_of(rows, scores, n_best)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :n_best]
    np.testing.assert_array_equal(best.scores, np.take_along_axis(scores, order, axis=1))
    np.testing.assert_array_equal(best.rows, np.take_along_axis(rows, order, axis=1))
