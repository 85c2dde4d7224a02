"""Inverted lists: many are found through lists of their own, and lengths may decide who shares one."""

from collections import defaultdict
from pathlib import Path

import faiss
import numpy as np
import numpy.typing as npt
import pytest

from ilk.ann import (
    OF_4,
    UP_TO_3,
    Index,
    IndexKind,
    IndexSpec,
    Refined,
    careful_recall,
    compare_with_all,
    former,
    harder,
    mode,
    partition,
    recall,
    searched,
    spec,
)
from ilk.ann.cost import counting, least_us, query_us
from ilk.ann.index import RowNeighbors
from ilk.ann.lists import Lists
from ilk.errors import BundleCorrupt
from ilk.index_file import check_contents

Vectors = npt.NDArray[np.float32]

N_ROWS, DIM, SEED = 3_000, 16, 7
listing_kinds = pytest.mark.parametrize(
    "kind", [kind for kind in IndexKind if kind.has_lists], ids=lambda kind: kind.value
)
nesting_kinds = pytest.mark.parametrize("kind", [IndexKind.IVF, IndexKind.IVF_SQ])
TWICE = IndexSpec(IndexKind.IVF_PQ_2, dims_per_code=1, n_factors=DIM // 2)


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    """Return clusters of rows whose lengths differ a hundredfold."""
    rng = np.random.default_rng(SEED)
    around = rng.standard_normal((40, DIM), dtype=np.float32)
    rows = around[rng.integers(40, size=N_ROWS)]
    rows = rows + 0.3 * rng.standard_normal(rows.shape, dtype=np.float32)
    lengths = 10 ** rng.uniform(-2, 0, (N_ROWS, 1))
    return np.ascontiguousarray(rows * lengths, dtype=np.float32)


@pytest.fixture(scope="module")
def queries() -> Vectors:
    return np.random.default_rng(SEED + 1).standard_normal((60, DIM), dtype=np.float32)


@pytest.fixture
def nested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spec, "MOST_COMPARED_LISTS", 64)


@nesting_kinds
@pytest.mark.usefixtures("nested")
def test_many_lists_are_found_through_lists_of_their_own(
    kind: IndexKind, vectors: Vectors, queries: Vectors, tmp_path: Path
) -> None:
    of_kind = IndexSpec(kind)
    assert of_kind.describe(N_ROWS, DIM).startswith("IVF219(IVF14,Flat),")
    index = Index.build(vectors, of_kind, SEED)
    index.save(tmp_path / "index")
    check_contents(tmp_path / "index", kind.value, N_ROWS, DIM)
    opened = Index.open(tmp_path / "index", kind, N_ROWS, DIM)
    truth = compare_with_all(vectors, queries, 10)
    effort = of_kind.efforts(N_ROWS)[-1]
    found, kept = index.nearest(queries, 10, effort), opened.nearest(queries, 10, effort)
    np.testing.assert_array_equal(found.rows, kept.rows)
    true_scores = np.sort(np.einsum("qd,qkd->qk", queries, vectors[kept.rows]))[:, ::-1]
    assert recall([RowNeighbors(kept.rows, true_scores)], [truth], 10) > 0.95


@nesting_kinds
@pytest.mark.usefixtures("nested")
def test_lists_of_lists_are_looked_through_too(
    kind: IndexKind, vectors: Vectors, tmp_path: Path
) -> None:
    Index.build(vectors, IndexSpec(kind), SEED).save(tmp_path / "index")
    data = bytearray((tmp_path / "index").read_bytes())
    # After the outer header and the name of the inner index: its number of rows.
    at = 4 + 33 + 16
    assert data[at : at + 4] == b"IwFl"
    inner_lists = at + 4 + 33
    data[inner_lists : inner_lists + 8] = (1 << 40).to_bytes(8, "little")
    (tmp_path / "index").write_bytes(data)
    with pytest.raises(BundleCorrupt, match="lists of which"):
        check_contents(tmp_path / "index", kind.value, N_ROWS, DIM)


@nesting_kinds
@pytest.mark.usefixtures("nested")
def test_at_the_most_effort_every_list_is_reached(
    kind: IndexKind, vectors: Vectors, queries: Vectors
) -> None:
    index = Index.build(vectors, IndexSpec(kind), SEED)
    _, n_compared = counting(lambda: index.nearest(queries, 10, IndexSpec(kind).lists(N_ROWS)))
    # The centroids are compared too, which are found through lists themselves.
    assert n_compared >= len(queries) * N_ROWS


@pytest.mark.parametrize("n_lists", [1, 7, 40, 100, 300, 700, 1_500])
@pytest.mark.parametrize("n_all", [1, 300, 600, 1_500])
def test_the_nearest_lists_come_best_first(n_all: int, n_lists: int) -> None:
    n_lists = min(n_lists, n_all)
    rng = np.random.default_rng(n_all + n_lists)
    centroids = rng.standard_normal((n_all, DIM), dtype=np.float32)
    asked = rng.standard_normal((5, DIM), dtype=np.float32)
    # The last one finds all lists equally near.
    asked[-1] = 0
    of_all = Lists(centroids)
    lists, likeness = of_all.near(asked, n_lists)
    for at, alone in enumerate(asked[:, None]):
        near, how_near = of_all.near(alone, n_lists)
        assert near.flags.c_contiguous
        assert near.shape == (1, n_lists)
        np.testing.assert_allclose(how_near[0], likeness[at], rtol=1e-4, atol=1e-5)
    scores = asked @ np.ascontiguousarray(centroids.T)
    np.testing.assert_array_equal(likeness, -np.sort(-scores, axis=1)[:, :n_lists])
    np.testing.assert_array_equal(likeness, np.take_along_axis(scores, lists, axis=1))
    assert all(len(set(row)) == n_lists for row in lists.tolist())


@pytest.mark.parametrize("n_lists", [1, 20, 64])
def test_few_of_many_lists_are_nearly_all_the_nearest(n_lists: int) -> None:
    rng = np.random.default_rng(n_lists)
    centroids = rng.standard_normal((4_096, DIM), dtype=np.float32)
    centroids *= rng.lognormal(0, 0.7, (len(centroids), 1)).astype(np.float32)
    asked = rng.standard_normal((50, DIM), dtype=np.float32)
    many = Lists(centroids)
    lists, likeness = many.near(asked, n_lists)
    scores = asked @ centroids.T
    nearest = np.argsort(-scores, axis=1)[:, :n_lists]
    found = np.mean([len(set(a) & set(b)) for a, b in zip(lists, nearest, strict=True)]) / n_lists
    assert found > 0.99
    np.testing.assert_allclose(likeness, np.take_along_axis(scores, lists, axis=1), rtol=1e-4)
    assert (np.diff(likeness, axis=1) <= 0).all()
    for at in range(3):
        np.testing.assert_array_equal(many.near(asked[at : at + 1], n_lists)[0][0], lists[at])


def test_a_code_for_each_dimension_finds_more_among_as_many_candidates(
    vectors: Vectors, queries: Vectors, tmp_path: Path
) -> None:
    truth, found = compare_with_all(vectors, queries, 30), {}
    for dims_per_code in (1, 2):
        fine = IndexSpec(IndexKind.IVF_PQ, 20, dims_per_code=dims_per_code)
        Index.build(vectors, fine, SEED).save(tmp_path / "index")
        check_contents(tmp_path / "index", "IVFPQ", N_ROWS, DIM)
        index = Index.open(tmp_path / "index", IndexKind.IVF_PQ, N_ROWS, DIM)
        rows = index.nearest(queries, 30, 20).rows
        scores = np.einsum("qd,qkd->qk", queries, vectors[rows])
        found[dims_per_code] = recall([RowNeighbors(rows, scores)], [truth], 30)
        assert fine.describe(N_ROWS, DIM) == f"IVF20,PQ{DIM // dims_per_code}x4fs"
    assert found[1] > found[2] + 0.02


def test_each_partition_finds_most_at_the_blends_that_it_is_made_for(queries: Vectors) -> None:
    # Half the dimensions have nothing to do with the others.
    rng, halves = np.random.default_rng(SEED), []
    for _ in range(2):
        around = rng.standard_normal((40, DIM // 2), dtype=np.float32)
        halves.append(around[rng.integers(40, size=N_ROWS)])
    vectors = np.hstack(halves) + 0.2 * rng.standard_normal((N_ROWS, DIM), dtype=np.float32)
    index, found = Index.build(vectors, TWICE, SEED), {}
    for weight in (0.02, 0.98):
        weights = np.where(np.arange(DIM) < TWICE.n_factors, 1 - weight, weight)
        asked = np.ascontiguousarray(queries * weights, dtype=np.float32)
        truth = compare_with_all(vectors, asked, 10)
        for at in range(len(TWICE.emphases)):
            rows = index.nearest(asked, 100, (at << 16) + 4).rows
            true_scores = -np.sort(-np.einsum("qd,qkd->qk", asked, vectors[rows]))
            found[weight, at] = recall([RowNeighbors(rows, true_scores)], [truth], 10)
    assert found[0.02, 0] > found[0.02, 1] + 0.1
    assert found[0.98, 1] > found[0.98, 0] + 0.1


@pytest.mark.parametrize("most_compared", [2048, 64])
def test_partitions_that_are_mapped_answer_as_those_that_were_built(
    most_compared: int,
    vectors: Vectors,
    queries: Vectors,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spec, "MOST_COMPARED_LISTS", most_compared)
    built = Index.build(vectors, TWICE, SEED)
    built.save(tmp_path / "index")
    check_contents(tmp_path / "index", "IVFPQ2", N_ROWS, DIM)
    opened = Index.open(tmp_path / "index", IndexKind.IVF_PQ_2, N_ROWS, DIM)
    for effort in TWICE.efforts(N_ROWS)[::3]:
        for asked in (queries, queries[:1]):
            now, then = opened.nearest(asked, 30, effort), built.nearest(asked, 30, effort)
            np.testing.assert_array_equal(now.rows, then.rows)
            np.testing.assert_array_equal(now.scores, then.scores)
    opened.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "index").read_bytes()


def test_rows_are_put_into_the_nearest_of_many_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spec, "MOST_COMPARED_LISTS", 64)
    vectors = np.random.default_rng(SEED).standard_normal((N_ROWS, DIM), dtype=np.float32)
    index = Index.build(vectors, TWICE, SEED)
    for part in index._parts:
        assert part.scales is not None
        centroids = part.inner.quantizer.reconstruct_n(0, part.inner.nlist)
        nearest = np.square((part.scales * vectors)[:, None] - centroids).sum(axis=2).argmin(axis=1)
        in_list = np.empty(N_ROWS, dtype=np.int64)
        for at in range(part.inner.nlist):
            if size := part.inner.invlists.list_size(at):
                in_list[faiss.rev_swig_ptr(part.inner.invlists.get_ids(at), size)] = at
        assert (in_list == nearest).mean() > 0.99


@listing_kinds
def test_more_effort_than_there_are_lists_searches_them_all(
    kind: IndexKind, vectors: Vectors, queries: Vectors
) -> None:
    n_lists = 20
    index = Index.build(vectors, IndexSpec(kind, n_lists, n_factors=DIM // 2), SEED)
    for asked in (queries, queries[:1]):
        every, beyond = (index.nearest(asked, 10, effort) for effort in (n_lists, 60_000))
        np.testing.assert_array_equal(beyond.rows, every.rows)


def test_where_lengths_differ_lists_by_distance_find_the_long_ones_sooner(
    vectors: Vectors, queries: Vectors
) -> None:
    truth = compare_with_all(vectors, queries, 10)
    found = {}
    for by_direction in (False, True):
        index = Index.build(vectors, IndexSpec(IndexKind.IVF, 100, by_direction), SEED)
        got, n_compared = counting(lambda index=index: index.nearest(queries, 10, 8))  # type: ignore[misc]
        found[by_direction] = recall([got], [truth], 10), n_compared
    assert found[False][0] > found[True][0]


@listing_kinds
@pytest.mark.parametrize("by_direction", [False, True])
def test_equal_seeds_make_equal_lists(
    kind: IndexKind, by_direction: bool, vectors: Vectors, tmp_path: Path
) -> None:
    for name in ("one", "other"):
        Index.build(vectors, IndexSpec(kind, by_direction=by_direction), SEED).save(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


@pytest.mark.parametrize("kind", [IndexKind.IVF, IndexKind.IVF_SQ, IndexKind.HNSW])
def test_what_a_search_compares_is_counted(
    kind: IndexKind, vectors: Vectors, queries: Vectors
) -> None:
    index = Index.build(vectors, IndexSpec(kind), SEED)
    counts = [
        counting(lambda e=effort: index.nearest(queries, 10, e))[1]  # type: ignore[misc]
        for effort in IndexSpec(kind).efforts(N_ROWS)
    ]
    assert counts == sorted(counts)
    assert 0 < counts[0] < counts[-1] <= len(queries) * N_ROWS


@pytest.mark.parametrize("kind", IndexKind, ids=lambda kind: kind.value)
def test_more_rows_more_effort_and_more_compared_cost_more(kind: IndexKind) -> None:
    of_kind = IndexSpec(kind)
    efforts = of_kind.efforts(100_000)
    costs = {e: query_us(of_kind, (100_000, 83), 10, e, 5_000) for e in efforts}
    for at in range(len(of_kind.modes)):
        its_costs = [cost_us for effort, cost_us in costs.items() if mode(effort) == at]
        assert its_costs == sorted(its_costs)
    assert least_us(of_kind, (100_000, 83), 10) <= costs[efforts[0]]
    more = query_us(of_kind, (400_000, 83), 10, efforts[0], 20_000)
    assert more > costs[efforts[0]]


def test_recall_is_told_less_its_standard_error() -> None:
    truth = RowNeighbors(np.zeros((4, 2), np.int64), np.tile(np.array([2, 1], np.float32), (4, 1)))
    scores = np.array([[2, 1], [2, 1], [2, 0], [0, 0]], np.float32)
    found = RowNeighbors(np.zeros((4, 2), np.int64), scores)
    assert recall([found], [truth], 2) == 0.625
    by_hand = np.std([1, 1, 0.5, 0]) / 2
    assert careful_recall([found], [truth], 2) == pytest.approx(0.625 - by_hand)
    assert careful_recall([truth], [truth], 2) == 1


@listing_kinds
def test_rows_in_opened_lists_are_what_faiss_counts(
    kind: IndexKind, vectors: Vectors, queries: Vectors
) -> None:
    index = Index.build(vectors, IndexSpec(kind), SEED)
    by_partition: dict[int, list[int]] = defaultdict(list)
    for effort in IndexSpec(kind).efforts(N_ROWS):
        by_partition[partition(effort, 2)].append(effort)
    for efforts in by_partition.values():
        told = index.n_listed(queries, efforts)
        for effort, n_listed in zip(efforts, told, strict=True):
            _, n_compared = counting(lambda e=effort: index.nearest(queries, 10, e))  # type: ignore[misc]
            assert n_listed == n_compared
            assert index.n_listed(queries, [effort]) == [n_compared]


@nesting_kinds
@pytest.mark.usefixtures("nested")
def test_so_they_are_where_lists_are_found_through_lists(
    kind: IndexKind, vectors: Vectors, queries: Vectors
) -> None:
    index = Index.build(vectors, IndexSpec(kind), SEED)
    for effort in (4, 64, IndexSpec(kind).lists(N_ROWS)):
        _, n_compared = counting(lambda e=effort: index.nearest(queries, 10, e))  # type: ignore[misc]
        assert index.n_listed(queries, [effort]) == [n_compared]


def test_the_more_lists_are_searched_the_more_candidates_are_looked_at() -> None:
    once, twice = (
        [kind.candidates(10, n_lists, 79) for n_lists in (8, 32, 128)]
        for kind in (IndexKind.IVF_PQ, IndexKind.IVF_PQ_2)
    )
    assert once == [25, 37, 85]
    assert twice == [29, 53, 149]
    assert IndexKind.IVF_PQ_2.candidates(10, 896, 79) == 565
    assert IndexKind.IVF_PQ_2.candidates(10, (3 << 16) + 384, 79) == 4629
    more = [IndexKind.IVF_PQ_2.candidates(10, (at << 16) + 64, 79) for at in (2, 3)]
    assert more == [277, 789]
    assert IndexKind.IVF_PQ.candidates(100, 8, 79) == 205


def test_bundles_up_to_format_3_look_at_as_many_candidates_as_they_were_measured_with() -> None:
    once = [former(n_lists, UP_TO_3) for n_lists in (8, 16, 32, 96, 512)]
    assert [IndexKind.IVF_PQ.candidates(10, e, 79) for e in once] == [60, 60, 79, 175, 799]
    few = [former((1 << 16) + n_lists, UP_TO_3) for n_lists in (48, 96, 512)]
    assert [IndexKind.IVF_PQ.candidates(10, e, 79) for e in few] == [60, 60, 60]
    twice = [former((mode << 16) + 64, UP_TO_3) for mode in range(3)]
    assert [IndexKind.IVF_PQ_2.candidates(10, e, 1220) for e in twice] == [552, 808, 1960]
    assert [partition(e, 2) for e in twice] == [0, 1, 1]
    assert [partition(e, 1) for e in few] == [0, 0, 0]
    assert [searched(e) for e in twice] == [64, 64, 64]


def test_so_do_those_of_format_4() -> None:
    once = [former(n_lists, OF_4) for n_lists in (8, 32, 128)]
    assert [IndexKind.IVF_PQ.candidates(10, e, 79) for e in once] == [35, 47, 95]
    twice = [former((mode << 16) + 64, OF_4) for mode in range(4)]
    assert [IndexKind.IVF_PQ_2.candidates(10, e, 79) for e in twice] == [233, 233, 809, 1577]
    assert [partition(e, 2) for e in twice] == [0, 1, 1, 1]
    assert former(former(64, UP_TO_3), OF_4) == former(64, UP_TO_3)


def test_harder_is_in_the_same_way() -> None:
    effort = former((1 << 16) + 64, OF_4)
    assert searched(harder(effort, 6)) == 384
    assert IndexKind.IVF_PQ_2.candidates(10, harder(effort, 6), 79) == 713
    assert harder((1 << 16) + 60_000, 6) == (1 << 16) + 65_535


def test_modes_of_one_partition_open_the_same_lists(vectors: Vectors, queries: Vectors) -> None:
    index = Index.build(vectors, TWICE, SEED)
    now, few, many = (1 << 16) + 4, (2 << 16) + 4, former((2 << 16) + 4, UP_TO_3)
    assert index.n_listed(queries, [now]) == index.n_listed(queries, [few])
    of_now, of_many = (index.nearest(queries, 30, effort).rows for effort in (now, many))
    np.testing.assert_array_equal(of_now, of_many)


@pytest.mark.parametrize(("kind", "least"), [(IndexKind.PQ, 0.85), (IndexKind.IVF_PQ, 0.97)])
def test_codes_know_the_outermost_values(kind: IndexKind, least: float) -> None:
    rng = np.random.default_rng(SEED)
    rows = rng.standard_t(3, size=(20_000, DIM)).astype(np.float32)
    queries = rng.standard_normal((200, DIM), dtype=np.float32)
    of_kind = IndexSpec(kind, dims_per_code=1)
    index = Index.build(rows, of_kind, SEED)
    every_list = of_kind.lists(len(rows)) if kind.has_lists else 0
    found = index.nearest(queries, 16, every_list).rows
    true_scores = np.sort(np.einsum("qd,qkd->qk", queries, rows[found]))[:, ::-1]
    truth = compare_with_all(rows, queries, 10)
    assert recall([RowNeighbors(found, true_scores)], [truth], 10) > least


def test_more_lists_than_there_are_is_all_of_them(vectors: Vectors, queries: Vectors) -> None:
    few = IndexSpec(IndexKind.IVF_PQ, 20)
    refined = Refined(Index.build(vectors, few, SEED), vectors)
    for query in queries[:5, None]:
        every, more = (refined.nearest(query, 60, 10, n_lists) for n_lists in (20, 200))
        np.testing.assert_array_equal(every.rows, more.rows)


def test_places_that_no_row_of_the_lists_fills_are_told_alike(
    vectors: Vectors, queries: Vectors
) -> None:
    refined = Refined(Index.build(vectors, IndexSpec(IndexKind.IVF_PQ, 400), SEED), vectors)
    together = refined.nearest(queries, 80, 60, 1)
    unfilled = together.rows < 0
    assert unfilled.any()
    assert (together.scores[unfilled] == -np.inf).all()
    for at, query in enumerate(queries[:, None]):
        alone = refined.nearest(query, 80, 60, 1)
        np.testing.assert_array_equal(alone.rows[0] < 0, unfilled[at])
        assert (alone.scores[0][unfilled[at]] == -np.inf).all()
