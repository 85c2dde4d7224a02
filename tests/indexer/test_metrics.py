"""Figures against the slow and obvious way to work them out."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from ilk.errors import DataError, SettingsError
from indexer.evaluation import estimates, metrics, stars
from indexer.evaluation.ranking import CsrMatrix, Ranked

quick = settings(deadline=None, max_examples=60)
seeds = st.integers(min_value=0, max_value=100_000)
accuracy = pytest.mark.parametrize(
    ("metric", "reference"),
    [
        (metrics.ndcg_at, lambda *case: slow_ndcg(*case)),
        (metrics.recall_at, lambda *case: slow_recall(*case)),
        (metrics.mrr, lambda *case: slow_mrr(*case)),
    ],
)


def random_case(seed: int) -> tuple[Ranked, CsrMatrix, int]:
    rng = np.random.default_rng(seed)
    n_users, n_items = int(rng.integers(1, 8)), int(rng.integers(2, 15))
    width = int(rng.integers(1, n_items + 1))
    ranked = np.array([rng.permutation(n_items)[:width] for _ in range(n_users)], dtype=np.int64)
    ranked[rng.random(ranked.shape) < 0.2] = -1
    held = rng.random((n_users, n_items)) < 0.3
    held[np.arange(n_users), rng.integers(n_items, size=n_users)] = True
    return ranked, csr(held), int(rng.integers(1, width + 1))


def csr(dense: object) -> CsrMatrix:
    return sparse.csr_matrix(np.asarray(dense, dtype=np.float32))


def relevant_of(held_out: CsrMatrix, user: int) -> set[int]:
    return set(held_out[[user]].indices.tolist())


def slow_ndcg(ranked: list[int], relevant: set[int], k: int) -> float:
    gain = 0.0
    for place, item in enumerate(ranked[:k], start=1):
        if item in relevant:
            gain += 1 / math.log2(place + 1)
    ideal = 0.0
    for place in range(1, min(k, len(relevant)) + 1):
        ideal += 1 / math.log2(place + 1)
    return gain / ideal


def slow_recall(ranked: list[int], relevant: set[int], k: int) -> float:
    return len(set(ranked[:k]) & relevant) / min(k, len(relevant))


def slow_mrr(ranked: list[int], relevant: set[int], k: int) -> float:
    for place, item in enumerate(ranked[:k], start=1):
        if item in relevant:
            return 1 / place
    return 0.0


@accuracy
@quick
@given(seed=seeds)
def test_accuracy_equals_the_slow_way(metric: metrics.Metric, reference: object, seed: int) -> None:
    assert callable(reference)
    ranked, held_out, k = random_case(seed)
    found = metric(ranked, held_out, k)
    assert found.shape == (len(ranked),)
    for user, figure in enumerate(found.tolist()):
        wanted = reference(ranked[user].tolist(), relevant_of(held_out, user), k)
        assert figure == pytest.approx(wanted)
        assert 0 <= figure <= 1 + 1e-12


@accuracy
def test_a_ranking_of_all_that_is_held_out_is_perfect(
    metric: metrics.Metric, reference: object
) -> None:
    held_out = csr([[1, 0, 0, 1, 0], [0, 1, 0, 0, 0], [1, 1, 1, 1, 1]])
    ranked = np.array([[3, 0, 1], [1, 2, 3], [4, 2, 0]])
    assert metric(ranked, held_out, 3).tolist() == [1.0, 1.0, 1.0]
    assert metric(ranked, csr(np.eye(5)[[4, 4, 1]]), 3).tolist() == [0.0, 0.0, 0.0]


def test_known_figures_of_a_small_example() -> None:
    # Hits at places 2 and 4; three held out.
    ranked = np.array([[5, 1, 0, 2]])
    held_out = csr([[0, 1, 1, 1, 0, 0]])
    gain = 1 / math.log2(3) + 1 / math.log2(5)
    ideal = 1 + 1 / math.log2(3) + 1 / 2
    assert metrics.ndcg_at(ranked, held_out, 4)[0] == pytest.approx(gain / ideal)
    assert metrics.recall_at(ranked, held_out, 4)[0] == pytest.approx(2 / 3)
    assert metrics.recall_at(ranked, held_out, 2)[0] == pytest.approx(1 / 2)
    assert metrics.mrr(ranked, held_out, 4)[0] == pytest.approx(1 / 2)
    assert metrics.mrr(ranked, held_out, 1)[0] == 0.0


def test_an_unfilled_place_never_hits_the_last_item_of_the_user_before() -> None:
    held_out = csr([[0, 0, 1], [1, 0, 0]])
    assert metrics.recall_at(np.array([[0], [-1]]), held_out, 1).tolist() == [0.0, 0.0]


def test_values_and_order_of_stored_places_do_not_matter() -> None:
    plain = csr([[0, 1, 1], [1, 0, 0]])
    odd = sparse.csr_matrix(
        (np.array([0.5, 9.0, 2.0, 3.0]), np.array([2, 1, 2, 0]), np.array([0, 3, 4])), shape=(2, 3)
    )
    ranked = np.array([[0, 2, 1], [0, 1, 2]])
    for metric in (metrics.ndcg_at, metrics.recall_at, metrics.mrr):
        assert metric(ranked, odd, 3).tolist() == metric(ranked, plain, 3).tolist()
    assert odd.nnz == 4


@pytest.mark.parametrize(
    ("ranked", "message"),
    [
        ([[0, 0]], "user 0 has an item twice"),
        ([[0, 3]], "outside the 3 items"),
        ([[0, -2]], "outside the 3 items"),
        ([[0, 1], [1, 2]], "has 2 users, the held-out matrix 1"),
        ([[0.0, 1.0]], "must be a matrix of rows"),
        ([0, 1], "must be a matrix of rows"),
    ],
)
def test_malformed_rankings_are_refused(ranked: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        metrics.ndcg_at(np.array(ranked), csr([[1, 0, 0]]), 1 if np.ndim(ranked) == 1 else 2)


def test_a_cut_beyond_the_lists_and_a_user_without_held_out_items_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"\[1, 2\]"):
        metrics.recall_at(np.array([[0, 1]]), csr([[1, 0]]), 3)
    with pytest.raises(SettingsError, match="got 0"):
        metrics.recall_at(np.array([[0, 1]]), csr([[1, 0]]), 0)
    with pytest.raises(DataError, match="user 1 has no held-out item"):
        metrics.recall_at(np.array([[0, 1], [0, 1]]), csr([[1, 0], [0, 0]]), 2)


@quick
@given(seed=seeds)
def test_catalogue_figures_equal_the_slow_way(seed: int) -> None:
    ranked, held_out, k = random_case(seed)
    n_items = held_out.shape[1]
    shown = [item for user in ranked.tolist() for item in user[:k] if item >= 0]
    assert metrics.coverage_at(ranked, n_items, k) == pytest.approx(len(set(shown)) / n_items)
    if not shown:
        with pytest.raises(DataError, match="holds no item"):
            metrics.gini(ranked, n_items, k)
        return
    exposure = [shown.count(item) for item in range(n_items)]
    spread = sum(abs(a - b) for a in exposure for b in exposure)
    wanted = spread / (2 * n_items**2 * (sum(exposure) / n_items))
    assert metrics.gini(ranked, n_items, k) == pytest.approx(wanted)


def test_gini_is_zero_for_equal_shares_and_nears_one_for_a_single_item() -> None:
    assert metrics.gini(np.array([[0, 1], [2, 3]]), 4, 2) == pytest.approx(0.0)
    assert metrics.gini(np.zeros((50, 1), dtype=np.int64), 100, 1) == pytest.approx(0.99)


@quick
@given(seed=seeds)
def test_popularity_figures_equal_the_slow_way(seed: int) -> None:
    ranked, held_out, k = random_case(seed)
    rng = np.random.default_rng(seed)
    n_users = 20
    popularity = rng.integers(0, n_users + 1, held_out.shape[1])
    shown = [item for user in ranked.tolist() for item in user[:k] if item >= 0]
    if not shown:
        return
    ranks, bits = [], []
    for item in shown:
        more = sum(int(other > popularity[item]) for other in popularity)
        equal = sum(int(other == popularity[item]) for other in popularity)
        ranks.append(more + (equal + 1) / 2)
        bits.append(-math.log2(max(int(popularity[item]), 1) / n_users))
    assert metrics.mean_popularity_rank(ranked, popularity, k) == pytest.approx(np.mean(ranks))
    assert metrics.novelty(ranked, popularity, n_users, k) == pytest.approx(np.mean(bits))


def test_popularity_figures_of_a_small_example() -> None:
    popularity = np.array([8, 1, 4, 2])
    ranked = np.array([[0, 3], [2, -1]])
    assert metrics.mean_popularity_rank(ranked, popularity, 2) == pytest.approx((1 + 3 + 2) / 3)
    assert metrics.novelty(ranked, popularity, 8, 2) == pytest.approx((0 + 2 + 1) / 3)
    with pytest.raises(DataError, match="more than the 7 users"):
        metrics.novelty(ranked, popularity, 7, 2)


@quick
@given(seed=seeds, as_sparse=st.booleans())
def test_diversity_equals_the_slow_way(seed: int, as_sparse: bool) -> None:
    ranked, held_out, k = random_case(seed)
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((held_out.shape[1], 3))
    vectors[rng.random(len(vectors)) < 0.2] = 0.0
    diversities = []
    for user in ranked.tolist():
        cosines = []
        for a, b in itertools.combinations([item for item in user[:k] if item >= 0], 2):
            lengths = math.sqrt(vectors[a] @ vectors[a]) * math.sqrt(vectors[b] @ vectors[b])
            cosines.append(vectors[a] @ vectors[b] / lengths if lengths else 0.0)
        if cosines:
            diversities.append(1 - sum(cosines) / len(cosines))
    given_vectors = sparse.csr_matrix(vectors) if as_sparse else vectors
    if diversities:
        found = metrics.intra_list_diversity(ranked, given_vectors, k)
        assert found == pytest.approx(np.mean(diversities))
    else:
        with pytest.raises(DataError, match="no list of two items"):
            metrics.intra_list_diversity(ranked, given_vectors, k)


def test_diversity_is_the_same_over_many_chunks_of_users(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    ranked = np.array([rng.permutation(9)[:4] for _ in range(11)], dtype=np.int64)
    vectors = rng.standard_normal((9, 3))
    whole = metrics.intra_list_diversity(ranked, vectors, 4)
    monkeypatch.setattr(metrics, "_USERS_PER_CHUNK", 3)
    assert metrics.intra_list_diversity(ranked, vectors, 4) == pytest.approx(whole)


def test_vectors_that_are_not_finite_are_refused() -> None:
    with pytest.raises(DataError, match="not finite"):
        metrics.intra_list_diversity(np.array([[0, 1]]), np.array([[1.0], [np.nan]]), 2)


def test_interval_is_seeded_holds_the_mean_and_shrinks_with_more_users() -> None:
    rng = np.random.default_rng(0)
    few, many = rng.normal(0.3, 0.1, 100), rng.normal(0.3, 0.1, 10_000)
    one, same = (estimates.mean_with_interval(few, seed=4) for _ in range(2))
    assert one == same != estimates.mean_with_interval(few, seed=5)
    assert one.low < one.mean < one.high
    assert one.mean == pytest.approx(few.mean())
    # The normal interval is the limit of the bootstrap's.
    assert one.high - one.low == pytest.approx(2 * 1.96 * few.std() / 10, rel=0.1)
    wide = estimates.mean_with_interval(many, seed=4, n_resamples=300)
    assert wide.high - wide.low == pytest.approx(2 * 1.96 * many.std() / 100, rel=0.2)
    assert wide.n == 10_000


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for trial in range(200):
        found = estimates.mean_with_interval(rng.random(60), seed=trial, n_resamples=400)
        covered += found.low <= 0.5 <= found.high
    assert 0.88 <= covered / 200 <= 0.99


def test_interval_of_users_who_come_in_several_splits_is_that_of_the_users() -> None:
    rng = np.random.default_rng(5)
    liking = rng.random(200)
    splits = [liking + rng.normal(0, 0.01, 200) for _ in range(5)]
    users = np.tile(rng.permutation(200), 5)
    one = estimates.mean_with_interval(splits[0], seed=1)
    five = estimates.mean_with_interval(np.concatenate(splits), seed=1, users=users)
    assert five.mean == pytest.approx(np.mean(splits))
    assert five.n == 200
    # Five looks at the same users say hardly more of other users than one look does.
    assert five.high - five.low == pytest.approx(one.high - one.low, rel=0.05)


def test_interval_draws_a_user_with_all_values_however_many() -> None:
    # One user has nine values of ten: with it drawn twice, once or never the mean is 1, 0.9 or 0.
    values, users = np.array([0.0, *[1.0] * 9]), np.array([7, *[3] * 9])
    found = estimates.mean_with_interval(values, seed=2, users=users)
    assert found == estimates.Estimate(0.9, 0.0, 1.0, 2)


def test_interval_of_one_value_per_user_does_not_ask_who_they_are() -> None:
    values = np.random.default_rng(6).random(50)
    users = np.random.default_rng(7).permutation(1000)[:50]
    named = estimates.mean_with_interval(values, seed=3, users=users)
    assert named == estimates.mean_with_interval(values, seed=3)
    # As it was reported before users were told apart.
    rng = np.random.default_rng(3)
    means = [values[rng.integers(50, size=50)].mean() for _ in range(1000)]
    assert (named.low, named.high) == tuple(np.quantile(means, [0.025, 0.975]))


def test_one_user_has_a_point_for_an_interval_and_none_is_refused() -> None:
    only = estimates.mean_with_interval(np.array([0.25]), seed=0)
    assert (only.mean, only.low, only.high, only.n) == (0.25, 0.25, 0.25, 1)
    for values in (np.array([]), np.array([1.0, np.nan]), np.ones((2, 2))):
        with pytest.raises(DataError, match="values"):
            estimates.mean_with_interval(values, seed=0)
    with pytest.raises(DataError, match="users"):
        estimates.mean_with_interval(np.ones(2), seed=0, users=np.zeros(3, np.int64))


def test_jackknife_of_a_mean_is_its_standard_error() -> None:
    rng = np.random.default_rng(2)
    lists = rng.integers(0, 1000, (400, 1))
    found = estimates.list_figure(lambda ranked: float(ranked.mean()), lists, seed=1)
    assert found.value == lists.mean()
    assert found.n == 400
    assert found.standard_error == pytest.approx(lists.std(ddof=1) / 20, rel=0.4)
    assert found == estimates.list_figure(lambda ranked: float(ranked.mean()), lists, seed=1)


def test_jackknife_without_each_group_is_the_slow_way() -> None:
    # As many users as groups: each group is one user, and the seed has no say.
    lists = np.random.default_rng(3).integers(0, 30, (20, 4))
    lists = np.array([np.unique(row)[[0, -1]] for row in lists])
    found = estimates.list_figure(lambda r: metrics.coverage_at(r, 30, 2), lists, seed=9)
    without = [
        len({i for at, row in enumerate(lists.tolist()) if at != left_out for i in row}) / 30
        for left_out in range(20)
    ]
    spread = sum((figure - sum(without) / 20) ** 2 for figure in without)
    assert found.standard_error == pytest.approx(math.sqrt(19 / 20 * spread))


def test_interval_of_coverage_holds_what_other_users_would_have_given() -> None:
    """Users are drawn from one distribution; the interval of some tells where that of others lies."""
    n_items, covered = 300, 0
    shares = np.arange(1, n_items + 1) ** -1.0
    shares /= shares.sum()
    rng = np.random.default_rng(4)

    def lists() -> Ranked:
        drawn = [rng.choice(n_items, 5, replace=False, p=shares) for _ in range(100)]
        return np.array(drawn, dtype=np.int64)

    truth = np.mean([metrics.coverage_at(lists(), n_items, 5) for _ in range(20)])
    for trial in range(50):
        figure = estimates.list_figure(
            lambda r: metrics.coverage_at(r, n_items, 5), lists(), seed=trial
        )
        interval = estimates.mean_of_lists([figure], 100)
        covered += bool(interval.low <= truth <= interval.high)
    assert covered / 50 >= 0.8


def test_list_figures_of_several_splits_are_averaged_and_no_surer_together() -> None:
    one = estimates.ListFigure(0.5, 0.1, 100)
    alone = estimates.mean_of_lists([one], 100)
    both = estimates.mean_of_lists([one, estimates.ListFigure(0.3, 0.1, 50)], 120)
    assert (alone.mean, alone.n) == (0.5, 100)
    assert (both.mean, both.n) == (0.4, 120)
    assert both.high - both.low == pytest.approx(alone.high - alone.low)
    single = estimates.list_figure(lambda r: 0.25, np.array([[1]]), seed=0)
    assert estimates.mean_of_lists([single], 1) == estimates.Estimate(0.25, 0.25, 0.25, 1)


def test_user_groups_are_averaged_apart() -> None:
    values = np.array([0.0, 1.0, 0.5, 0.5])
    groups = np.array([0, 0, 2, 2])
    found = estimates.by_user_group(values, groups, np.arange(4), seed=0)
    assert {group: (figure.mean, figure.n) for group, figure in found.items()} == {
        0: (0.5, 2),
        2: (0.5, 2),
    }
    assert found[0].low < found[0].high
    assert found[2].low == found[2].high
    same = estimates.by_user_group(values, groups, np.array([1, 1, 2, 3]), seed=0)
    assert same[0] == estimates.Estimate(0.5, 0.5, 0.5, 1)


@quick
@given(seed=seeds)
def test_item_groups_count_only_their_own_held_out_items(seed: int) -> None:
    ranked, held_out, k = random_case(seed)
    groups = np.random.default_rng(seed).integers(0, 3, held_out.shape[1])
    found = estimates.by_item_group(metrics.ndcg_at, ranked, held_out, k, groups)
    for group in range(3):
        figures, users = [], []
        for user in range(len(ranked)):
            inside = {item for item in relevant_of(held_out, user) if groups[item] == group}
            if inside:
                users.append(user)
                figures.append(slow_ndcg(ranked[user].tolist(), inside, k))
        assert (group in found) == bool(figures)
        if figures:
            assert found[group][0].tolist() == users
            assert found[group][1].tolist() == pytest.approx(figures)


def test_group_arrays_of_the_wrong_length_are_refused() -> None:
    ranked, held_out = np.array([[0]]), csr([[1, 0]])
    with pytest.raises(DataError, match="item_groups"):
        estimates.by_item_group(metrics.ndcg_at, ranked, held_out, 1, np.zeros(3, np.int64))
    with pytest.raises(DataError, match="user_groups"):
        estimates.by_user_group(np.ones(2), np.zeros(3, np.int64), np.arange(2), 0)


def test_popularity_groups_share_out_the_entries() -> None:
    # A head of one item with a third of all entries, a torso of two, a tail of six.
    counts = np.array([30, 15, 15, *[5] * 6, 0])
    groups = estimates.popularity_groups(counts)
    assert groups.tolist() == [2, 1, 1, *[0] * 6, 0]
    assert estimates.popularity_groups(np.zeros(3, dtype=np.int64)).tolist() == [0, 0, 0]


@quick
@given(st.lists(st.integers(min_value=0, max_value=50), min_size=1, max_size=40))
def test_popularity_groups_rise_with_the_count(counts: list[int]) -> None:
    groups = estimates.popularity_groups(np.array(counts))
    for (a, group_a), (b, group_b) in itertools.combinations(
        zip(counts, groups.tolist(), strict=True), 2
    ):
        if a <= b:
            assert group_a <= group_b
        if b <= a:
            assert group_b <= group_a
    if sum(counts):
        assert groups.max() == 2


@quick
@given(
    st.lists(
        st.tuples(st.floats(0.5, 5, width=32), st.floats(0.5, 5, width=32), st.integers(0, 3)),
        min_size=1,
        max_size=50,
    )
)
def test_star_figures_equal_the_slow_way(rows: list[tuple[float, float, int]]) -> None:
    actual, predicted, neighbors = (np.array(column) for column in zip(*rows, strict=True))
    found = stars.star_figures(actual, predicted, neighbors)
    squares = [(a - p) ** 2 for a, p, _ in rows]
    assert found.rmse == pytest.approx(math.sqrt(sum(squares) / len(rows)))
    assert found.mae == pytest.approx(sum(abs(a - p) for a, p, _ in rows) / len(rows))
    assert found.fall_backs == pytest.approx(sum(n == 0 for _, _, n in rows) / len(rows))


def test_star_figures_of_a_small_example() -> None:
    actual, predicted = np.array([4.0, 2.0], np.float32), np.array([3.0, 5.0], np.float32)
    found = stars.star_figures(actual, predicted, np.array([1, 0]))
    assert (found.mae, found.fall_backs) == (2.0, 0.5)
    assert found.rmse == pytest.approx(math.sqrt(5))


def test_star_arrays_that_do_not_align_are_refused() -> None:
    ones = np.ones(3)
    for predicted in (np.ones(2), np.array([1.0, np.nan, 1.0])):
        with pytest.raises(DataError, match="predicted"):
            stars.star_figures(ones, predicted, np.ones(3, np.int64))
    with pytest.raises(DataError, match="neighbor_counts"):
        stars.star_figures(ones, ones, np.ones(2, np.int64))
    with pytest.raises(DataError, match="predicted"):
        stars.star_figures(np.ones(0), np.ones(0), np.ones(0, np.int64))
