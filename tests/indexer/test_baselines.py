"""Rankers against their definitions, and against data whose answer is known."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from ilk.errors import DataError, SettingsError
from indexer.evaluation import baselines, metrics, ranking
from indexer.evaluation.baselines import EASE, ItemKNN, Popularity, RandomRanking, Ranker
from indexer.evaluation.ranking import CsrMatrix

quick = settings(deadline=None, max_examples=30)
seeds = st.integers(min_value=0, max_value=100_000)


def csr(dense: object) -> CsrMatrix:
    return sparse.csr_matrix(np.asarray(dense, dtype=np.float32))


def random_matrix(seed: int, n_users: int = 25, n_items: int = 9) -> CsrMatrix:
    rng = np.random.default_rng(seed)
    return csr(rng.random((n_users, n_items)) < 0.35)


def checkerboard(n: int = 20) -> CsrMatrix:
    """Even users have the even items, odd users the odd ones, but none the item of their row."""
    rows, columns = np.indices((n, n))
    return csr(((rows + columns) % 2 == 0) & (rows != columns))


def all_rankers(train: CsrMatrix) -> list[Ranker]:
    return [
        Popularity.fit(train),
        RandomRanking.fit(train, seed=3),
        ItemKNN.fit(train, n_neighbors=5, shrinkage=1.0),
        EASE.fit(train, regularization=2.0, dtype=np.float64),
    ]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ease_fills_the_gap_of_a_checkerboard(dtype: type) -> None:
    board = checkerboard()
    ranked = EASE.fit(board, regularization=1.0, dtype=dtype).rank(board, 1)
    assert ranked.ravel().tolist() == list(range(20))


def test_item_knn_fills_the_gap_of_a_checkerboard_and_stops_there() -> None:
    board = checkerboard()
    ranked = ItemKNN.fit(board, n_neighbors=10, shrinkage=2.0).rank(board, 3)
    assert ranked[:, 0].tolist() == list(range(20))
    # Nothing speaks for the other colour.
    assert (ranked[:, 1:] == -1).all()


@quick
@given(seed=seeds, regularization=st.floats(min_value=0.5, max_value=200))
def test_ease_equals_a_constrained_least_squares_solve(seed: int, regularization: float) -> None:
    train = random_matrix(seed)
    dense = train.toarray().astype(np.float64)
    n_items = dense.shape[1]
    wanted = np.zeros((n_items, n_items))
    for column in range(n_items):
        # With b_jj = 0 the rest of column j is plain ridge regression on the other items.
        others = [item for item in range(n_items) if item != column]
        system = np.vstack([dense[:, others], np.sqrt(regularization) * np.eye(len(others))])
        target = np.concatenate([dense[:, column], np.zeros(len(others))])
        wanted[others, column] = np.linalg.lstsq(system, target, rcond=None)[0]
    exact = EASE.fit(train, regularization=regularization, dtype=np.float64).weights
    np.testing.assert_allclose(exact, wanted, atol=1e-9)
    single = EASE.fit(train, regularization=regularization).weights
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, wanted, atol=1e-4)


@quick
@given(
    seed=seeds,
    n_neighbors=st.integers(min_value=1, max_value=12),
    shrinkage=st.sampled_from([0.0, 1.0, 25.0]),
)
def test_item_knn_weights_equal_the_slow_way(seed: int, n_neighbors: int, shrinkage: float) -> None:
    train = random_matrix(seed)
    columns = train.toarray().astype(np.float64).T
    weights = ItemKNN.fit(train, n_neighbors=n_neighbors, shrinkage=shrinkage).weights.toarray()
    for item, mine in enumerate(columns):
        likeness = {}
        for other, theirs in enumerate(columns):
            lengths = np.linalg.norm(mine) * np.linalg.norm(theirs)
            if other != item and mine @ theirs > 0:
                likeness[other] = mine @ theirs / (lengths + shrinkage)
        # Cosines equal but for the last bit may change places, so values are compared.
        wanted = sorted(likeness.values(), reverse=True)[:n_neighbors]
        kept = np.flatnonzero(weights[item])
        assert sorted(weights[item, kept].tolist(), reverse=True) == pytest.approx(wanted)
        for other in kept.tolist():
            assert weights[item, other] == pytest.approx(likeness[other])


@quick
@given(seed=seeds)
def test_item_knn_scores_by_the_neighbors_of_the_item_ranked(seed: int) -> None:
    train, users = random_matrix(seed), random_matrix(seed + 1)
    ranker = ItemKNN.fit(train, n_neighbors=3, shrinkage=0.5)
    weights = ranker.weights.toarray()
    ranked = ranker.rank(users, 9)
    for has, row in zip(users.toarray(), ranked, strict=True):
        scores = weights @ has
        open_items = {i for i in range(9) if not has[i] and scores[i] > 0}
        filled = row[row >= 0]
        assert set(filled.tolist()) == open_items
        assert (np.diff(scores[filled]) <= 1e-9).all()


def test_popularity_ranks_by_count_and_lower_row_first() -> None:
    train = csr([[1, 1, 0, 1], [0, 1, 0, 1], [0, 0, 1, 1]])
    ranked = Popularity.fit(train).rank(csr([[0, 0, 0, 0], [0, 1, 0, 0]]), 4)
    assert ranked.tolist() == [[3, 1, 0, 2], [3, 0, 2, -1]]
    # Many ties on two levels: odd items stand above even ones.
    levels = csr([[1] * 200, [0, 1] * 100])
    wanted = [*range(1, 200, 2), *range(0, 100, 2)]
    assert Popularity.fit(levels).rank(csr([[0] * 200]), 150).tolist() == [wanted]


def test_random_ranking_is_seeded_and_even_over_items() -> None:
    nothing = csr(np.zeros((4000, 10)))
    ranked = RandomRanking.fit(nothing, seed=1).rank(nothing, 10)
    assert (RandomRanking.fit(nothing, seed=1).rank(nothing, 10) == ranked).all()
    assert (RandomRanking.fit(nothing, seed=2).rank(nothing, 10) != ranked).any()
    assert (np.sort(ranked, axis=1) == np.arange(10)).all()
    counts = np.bincount(ranked[:, 0], minlength=10)
    # Ten standard deviations of a binomial around 400.
    assert np.abs(counts - 400).max() < 190


@quick
@given(seed=seeds, k=st.integers(min_value=1, max_value=12))
def test_no_ranker_returns_what_was_seen_or_anything_twice(seed: int, k: int) -> None:
    train, users = random_matrix(seed), random_matrix(seed + 1)
    for ranker in all_rankers(train):
        ranked = ranker.rank(users, k)
        assert ranked.shape == (25, k)
        assert ranked.dtype == np.int64
        for has, row in zip(users.toarray(), ranked, strict=True):
            filled = row[row >= 0]
            assert (row[: len(filled)] >= 0).all()
            assert len(set(filled.tolist())) == len(filled)
            assert not has[filled].any()
            if not isinstance(ranker, ItemKNN):
                assert len(filled) == min(k, int((has == 0).sum()))


def test_seen_may_be_more_or_less_than_what_is_folded_in() -> None:
    train = random_matrix(0)
    users = csr([[1, 0, 0, 0, 0, 0, 0, 0, 0]])
    seen = csr([[0, 1, 1, 0, 0, 0, 0, 0, 0]])
    for ranker in all_rankers(train):
        ranked = set(ranker.rank(users, 9, seen=seen).ravel().tolist())
        assert not ranked & {1, 2}
        if not isinstance(ranker, ItemKNN):
            assert ranked == {0, 3, 4, 5, 6, 7, 8, -1}


def test_lists_and_weights_do_not_depend_on_block_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    train, users = random_matrix(1), random_matrix(2)
    whole = [ranker.rank(users, 5) for ranker in all_rankers(train)]
    for module in (baselines, ranking):
        monkeypatch.setattr(module, "BLOCK_NUMBERS", 20)
    for ranker, wanted in zip(all_rankers(train), whole, strict=True):
        assert (ranker.rank(users, 5) == wanted).all()


def test_arguments_are_never_written() -> None:
    train, users = random_matrix(1), random_matrix(2)
    copies = train.copy(), users.copy()
    for ranker in all_rankers(train):
        ranker.rank(users, 4, seen=users)
    for now, before in zip((train, users), copies, strict=True):
        assert now.dtype == before.dtype
        assert (now.toarray() == before.toarray()).all()


def test_shapes_and_values_that_do_not_fit_are_refused() -> None:
    train = random_matrix(1)
    for ranker in all_rankers(train):
        with pytest.raises(DataError, match="fold_in: has 4 items; training had 9"):
            ranker.rank(csr(np.ones((2, 4))), 3)
        with pytest.raises(DataError, match="seen: has shape"):
            ranker.rank(csr(np.ones((2, 9))), 3, seen=csr(np.ones((1, 9))))
        with pytest.raises(SettingsError, match="at least 1, got 0"):
            ranker.rank(train, 0)
        with pytest.raises(DataError, match="not finite"):
            ranker.rank(csr(np.full((1, 9), np.nan)), 3)
    for fit in (EASE.fit, ItemKNN.fit):
        with pytest.raises(DataError, match="train: holds values that are not finite"):
            fit(csr([[1, np.inf]]))


def test_ease_refuses_a_catalogue_that_no_dense_inverse_should_take() -> None:
    wide = sparse.csr_matrix(([1.0], ([0], [0])), shape=(2, 87_585))
    with pytest.raises(SettingsError, match=r"87585 need 30\.7 GB"):
        EASE.fit(wide)


def test_parameters_out_of_range_are_refused() -> None:
    train = random_matrix(1)
    for regularization in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(SettingsError, match="regularization"):
            EASE.fit(train, regularization=regularization)
    with pytest.raises(SettingsError, match="float16"):
        EASE.fit(train, dtype=np.float16)
    with pytest.raises(SettingsError, match="n_neighbors"):
        ItemKNN.fit(train, n_neighbors=0)
    with pytest.raises(SettingsError, match="shrinkage"):
        ItemKNN.fit(train, shrinkage=-1.0)


def test_a_regularization_lost_in_rounding_is_refused() -> None:
    twins = csr(np.ones((3000, 40)))
    with pytest.raises(SettingsError, match="too small for float32"):
        EASE.fit(twins, regularization=1e-6)


def test_baselines_stand_in_their_known_order_on_movielens(ml_latest_small: Path) -> None:
    columns = np.loadtxt(ml_latest_small / "ratings.csv", delimiter=",", skiprows=1)
    columns = columns[columns[:, 2] >= 4]
    users, items = (np.unique(columns[:, c], return_inverse=True)[1] for c in (0, 1))
    likes = sparse.csr_matrix((np.ones(len(users), np.float32), (users, items)))
    rng = np.random.default_rng(0)
    train_users = rng.random(likes.shape[0]) < 0.8
    known = np.flatnonzero(np.asarray(likes[train_users].sum(axis=0)).ravel() >= 3)
    train, test = likes[train_users][:, known], likes[~train_users][:, known].tocoo()
    hidden = rng.random(test.nnz) < 0.2
    held_out, fold_in = (
        sparse.csr_matrix((test.data[m], (test.row[m], test.col[m])), shape=test.shape)
        for m in (hidden, ~hidden)
    )
    tested = np.flatnonzero(np.diff(held_out.indptr) > 0)
    held_out, fold_in = held_out[tested], fold_in[tested]
    rankers: dict[str, Ranker] = {
        "random": RandomRanking.fit(train, seed=0),
        "popularity": Popularity.fit(train),
        "item knn": ItemKNN.fit(train),
        "ease": EASE.fit(train, regularization=200.0),
    }
    figure = {
        name: float(metrics.ndcg_at(ranker.rank(fold_in, 100), held_out, 100).mean())
        for name, ranker in rankers.items()
    }
    assert figure["random"] < 0.06
    assert figure["popularity"] > 3 * figure["random"]
    assert min(figure["item knn"], figure["ease"]) > 1.15 * figure["popularity"]
