"""What may be learned, shown and predicted, checked entry by entry against plain sets."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ilk.errors import DataError, SettingsError
from indexer.evaluation import stars
from indexer.evaluation.leaks import check_no_leak
from indexer.evaluation.protocols import (
    MIN_POSITIVES,
    show_only,
    split_cold_items,
    split_given,
    split_latest,
    split_strong,
    split_temporal,
    split_weak,
)
from indexer.evaluation.splits import Mask, Split
from indexer.interactions import Interactions, Items

Pair = tuple[int, int]


def interactions_of(
    users: np.ndarray, items: np.ndarray, ratings: np.ndarray, times: np.ndarray | None
) -> Interactions:
    n_items = int(items.max()) + 1
    catalogue = Items(
        item_ids=[f"i{row}" for row in range(n_items)],
        titles=[""] * n_items,
        years=np.zeros(n_items, dtype=np.int16),
        genres=[()] * n_items,
        texts={},
    )
    return Interactions(
        user_ids=[f"u{row}" for row in range(int(users.max()) + 1)],
        items=catalogue,
        user_rows=users.astype(np.int32),
        item_rows=items.astype(np.int32),
        ratings=ratings.astype(np.float32),
        timestamps=None if times is None else times.astype(np.int64),
        rating_scale=(1.0, 5.0),
        source="made for a test",
    )


def random_interactions(seed: int, n_users: int = 30, n_items: int = 20) -> Interactions:
    rng = np.random.default_rng(seed)
    places = np.flatnonzero(rng.random(n_users * n_items) < 0.5)
    rng.shuffle(places)
    return interactions_of(
        places // n_items,
        places % n_items,
        rng.integers(1, 6, len(places)),
        rng.integers(0, 1000, len(places)),
    )


def liked(data: Interactions) -> Mask:
    return data.ratings >= 3


def pairs(data: Interactions, mask: Mask) -> set[Pair]:
    rows = zip(data.user_rows[mask].tolist(), data.item_rows[mask].tolist(), strict=True)
    return set(rows)


def by_strong(data: Interactions) -> Split:
    return split_strong(data, liked(data), seed=1)


def by_weak(data: Interactions) -> Split:
    return split_weak(data, liked(data), seed=1)


def by_temporal(data: Interactions) -> Split:
    return split_temporal(data, liked(data))


def by_latest(data: Interactions) -> Split:
    return split_latest(data, liked(data))


def by_cold_items(data: Interactions) -> Split:
    return split_cold_items(data, liked(data), seed=1)


PROTOCOLS = [by_strong, by_weak, by_temporal, by_latest, by_cold_items]
protocols = pytest.mark.parametrize("split_by", PROTOCOLS)
seeds = st.integers(min_value=0, max_value=10_000)
quick = settings(deadline=None, max_examples=25)


@protocols
@quick
@given(seed=seeds)
def test_parts_never_share_a_pair_and_every_test_user_has_both(
    split_by: Callable[[Interactions], Split], seed: int
) -> None:
    data = random_interactions(seed)
    split = split_by(data)
    held, shown = pairs(data, split.held_out), pairs(data, split.fold_in)
    assert not held & pairs(data, split.train)
    assert not held & shown
    assert held <= pairs(data, liked(data))
    testers = set(split.test_user_rows.tolist())
    assert {user for user, _ in held} == testers
    assert {user for user, _ in shown & pairs(data, liked(data))} == testers
    assert {user for user, _ in shown} == testers


@protocols
def test_matrices_and_entry_lists_hold_the_masks_in_order_of_test_users(
    split_by: Callable[[Interactions], Split],
) -> None:
    data = random_interactions(3)
    split = split_by(data)
    testers = split.test_user_rows.tolist()
    positive = liked(data)
    wanted = [
        (split.held_out_matrix(), split.held_out),
        (split.fold_in_matrix(), split.fold_in & positive),
        (split.seen_matrix(), split.fold_in),
    ]
    for matrix, mask in wanted:
        assert matrix.shape == (len(testers), data.n_items)
        stored = {(testers[r], int(c)) for r, c in zip(*matrix.nonzero(), strict=True)}
        assert stored == pairs(data, mask)
        assert set(matrix.data.tolist()) == {1.0}
    train = split.train_matrix()
    assert train.shape == (data.n_users, data.n_items)
    assert set(zip(*map(np.ndarray.tolist, train.nonzero()), strict=True)) == pairs(
        data, split.train & positive
    )
    for mask in (split.fold_in, split.held_out):
        lists = split.entries_by_test_user(mask)
        for user, entries in zip(testers, lists, strict=True):
            assert entries.tolist() == np.flatnonzero(mask & (data.user_rows == user)).tolist()


@protocols
def test_training_interactions_keep_rows_and_columns_of_the_original(
    split_by: Callable[[Interactions], Split],
) -> None:
    data = random_interactions(4)
    split = split_by(data)
    train = split.train_interactions()
    assert train.user_ids == data.user_ids
    assert train.items is data.items
    everything = np.ones(len(train), dtype=np.bool_)
    assert pairs(train, everything) == pairs(data, split.train)
    stars_of = dict(
        zip(zip(data.user_rows, data.item_rows, strict=True), data.ratings, strict=True)
    )
    for user, item, rating in zip(train.user_rows, train.item_rows, train.ratings, strict=True):
        assert stars_of[user, item] == rating
    assert train.timestamps is not None
    assert data.timestamps is not None
    assert train.timestamps.tolist() == data.timestamps[split.train].tolist()


@pytest.mark.parametrize(
    "split",
    [
        lambda data, seed: split_strong(data, liked(data), seed, n_test_users=8),
        lambda data, seed: split_weak(data, liked(data), seed),
        lambda data, seed: split_cold_items(data, liked(data), seed, item_fraction=0.3),
    ],
)
def test_equal_seeds_give_equal_splits_and_others_differ(
    split: Callable[[Interactions, int], Split],
) -> None:
    data = random_interactions(5)
    one, same, other = split(data, 7), split(data, 7), split(data, 8)
    assert (one.train == same.train).all()
    assert (one.held_out == same.held_out).all()
    assert (one.held_out != other.held_out).any()


@quick
@given(seed=seeds, n_test_users=st.integers(min_value=1, max_value=8))
def test_strong_split_learns_only_positives_of_users_it_does_not_test(
    seed: int, n_test_users: int
) -> None:
    data = random_interactions(seed)
    positive = liked(data)
    split = split_strong(data, positive, seed, n_test_users=n_test_users)
    learned, all_liked = pairs(data, split.train), pairs(data, positive)
    learners = {user for user, _ in learned}
    testers = set(split.test_user_rows.tolist())
    assert not learners & testers
    assert learned == {pair for pair in all_liked if pair[0] in learners}
    assert len(testers) + split.n_dropped_users == n_test_users
    known = {item for _, item in learned}
    for user in testers:
        usable = {pair for pair in all_liked if pair[0] == user and pair[1] in known}
        assert len({pair for pair in all_liked if pair[0] == user}) >= MIN_POSITIVES
        held = {pair for pair in pairs(data, split.held_out) if pair[0] == user}
        assert len(held) == len(usable) // 5
        assert {pair for pair in pairs(data, split.fold_in) if pair[0] == user} == usable - held


def test_strong_split_drops_and_counts_items_that_only_tested_users_have() -> None:
    # Every user likes items 0 to 9 and one item of their own.
    users = np.repeat(np.arange(20), 11)
    items = np.concatenate([[*range(10), 10 + user] for user in range(20)])
    data = interactions_of(users, items, np.full(220, 5), None)
    split = split_strong(data, liked(data), seed=0, n_test_users=4)
    assert split.n_dropped_entries == 4
    assert split.n_dropped_users == 0
    assert split.held_out.sum() == 4 * 2
    assert split.fold_in.sum() == 4 * 8
    assert max(item for _, item in pairs(data, split.held_out | split.fold_in)) < 10
    assert split.n_cold_held_out == 0


def test_strong_split_leaves_out_users_with_too_little_that_training_knows() -> None:
    # Twelve users share five items; each also has five of their own, and user 12 shares only one.
    users = np.concatenate([np.repeat(np.arange(12), 5), np.full(5, 12)])
    items = np.concatenate([np.tile(np.arange(5), 12), [0, 5, 6, 7, 8]])
    data = interactions_of(users, items, np.full(65, 5), None)
    found = {
        (split.n_dropped_users, split.n_dropped_entries, 12 in split.test_user_rows.tolist())
        for split in (split_strong(data, liked(data), s, n_test_users=6) for s in range(20))
    }
    assert found == {(0, 0, False), (1, 4, False)}


def test_users_with_few_positives_are_never_tested_strongly() -> None:
    users = np.concatenate([np.repeat(np.arange(5), 5), np.repeat(np.arange(5, 25), 4)])
    items = np.concatenate([np.tile(np.arange(5), 5), np.tile(np.arange(4), 20)])
    data = interactions_of(users, items, np.full(len(users), 5), None)
    with pytest.raises(SettingsError, match="6 asked for; 5 users have 5 positives"):
        split_strong(data, liked(data), seed=0, n_test_users=6)
    split = split_strong(data, liked(data), seed=0, n_test_users=4)
    assert max(split.test_user_rows) < 5
    with pytest.raises(DataError, match="has no user with 5 positives or more"):
        split_strong(data, np.zeros(len(data), np.bool_), seed=0)


def test_weak_split_withholds_a_fifth_of_every_users_entries() -> None:
    data = random_interactions(6)
    split = split_weak(data, liked(data), seed=2)
    for user in range(data.n_users):
        mine = data.user_rows == user
        n_withheld = int((mine & ~split.train).sum())
        assert n_withheld == int(mine.sum()) // 5
    assert (split.held_out <= (liked(data) & ~split.train)).all()


def test_a_share_that_rounds_below_a_whole_number_loses_no_entry() -> None:
    data = interactions_of(
        np.repeat([0, 1], 100), np.tile(np.arange(100), 2), np.full(200, 5), None
    )
    assert 0.29 * 100 < 29
    split = split_weak(data, liked(data), seed=0, held_out_fraction=0.29)
    assert split.held_out.sum() == 2 * 29


def test_given_masks_are_taken_as_they_are() -> None:
    data = random_interactions(8)
    third = np.arange(len(data)) % 3
    split = split_given(data, liked(data), third == 0, third == 1)
    assert (split.train == (third == 0)).all()
    assert (split.held_out <= ((third == 1) & liked(data))).all()
    assert set(split.test_user_rows.tolist()) == {
        user
        for user in range(data.n_users)
        if (liked(data) & (data.user_rows == user) & (third == 0)).any()
        and (liked(data) & (data.user_rows == user) & (third == 1)).any()
    }


def test_given_masks_that_overlap_are_refused() -> None:
    data = random_interactions(9)
    everything = np.ones(len(data), dtype=np.bool_)
    with pytest.raises(DataError, match="leaks"):
        split_given(data, liked(data), everything, everything)


@quick
@given(seed=seeds, quantile=st.floats(min_value=0.2, max_value=0.9))
def test_temporal_split_shows_the_past_and_predicts_the_rest(seed: int, quantile: float) -> None:
    data = random_interactions(seed)
    split = split_temporal(data, liked(data), quantile=quantile)
    times = data.timestamps
    assert times is not None
    assert split.cutoff_s is not None
    assert (split.train == (times < split.cutoff_s)).all()
    assert (times[split.held_out] >= split.cutoff_s).all()
    for user in range(data.n_users):
        mine = liked(data) & (data.user_rows == user)
        both = (mine & (times < split.cutoff_s)).any() and (mine & (times >= split.cutoff_s)).any()
        assert (user in split.test_user_rows.tolist()) == both


def test_temporal_cutoff_may_be_given_and_needs_timestamps() -> None:
    data = random_interactions(1)
    assert split_temporal(data, liked(data), cutoff_s=500).cutoff_s == 500
    with pytest.raises(DataError, match="no timestamps"):
        split_temporal(replace(data, timestamps=None), liked(data))
    with pytest.raises(DataError, match="finds no user"):
        split_temporal(data, liked(data), cutoff_s=-1)


def test_temporal_split_keeps_and_counts_items_that_are_new_after_the_date() -> None:
    users, items = np.repeat([0, 1], 3), np.array([0, 1, 2, 0, 1, 3])
    data = interactions_of(users, items, np.full(6, 5), np.array([1, 2, 9, 1, 2, 9]))
    split = split_temporal(data, liked(data), cutoff_s=5)
    assert split.n_cold_held_out == 2
    assert split.held_out.sum() == 2


@quick
@given(seed=seeds, fraction=st.floats(min_value=0.2, max_value=0.9))
def test_latest_split_predicts_what_each_user_did_last(seed: int, fraction: float) -> None:
    data = random_interactions(seed)
    split = split_latest(data, liked(data), held_out_fraction=fraction)
    times = data.timestamps
    assert times is not None
    for user in range(data.n_users):
        mine = data.user_rows == user
        in_order, shown = np.sort(times[mine]), mine & split.train
        n_kept = mine.sum() - int(fraction * mine.sum() + 1e-9)
        # Of those of one second, none is held out where one is shown.
        last_s = in_order[n_kept - 1]
        assert (shown == (mine & (times <= last_s))).all()
        held_out = mine & liked(data) & (times > last_s)
        if (shown & liked(data)).any():
            assert ((mine & split.held_out) == held_out).all()
            assert (user in split.test_user_rows.tolist()) == held_out.any()


def test_latest_split_needs_timestamps_and_a_fraction_and_takes_users_of_nothing() -> None:
    data = random_interactions(1)
    with pytest.raises(DataError, match="no timestamps"):
        by_latest(replace(data, timestamps=None))
    with pytest.raises(SettingsError, match="held_out_fraction"):
        split_latest(data, liked(data), held_out_fraction=1.0)
    idle = data.only(data.user_rows != 3)
    assert idle.n_users == data.n_users
    assert 3 not in by_latest(idle).test_user_rows


@quick
@given(seed=seeds, fraction=st.floats(min_value=0.05, max_value=0.6))
def test_cold_items_are_gone_from_all_that_can_be_seen(seed: int, fraction: float) -> None:
    data = random_interactions(seed)
    split = split_cold_items(data, liked(data), seed, item_fraction=fraction)
    visible = {item for _, item in pairs(data, split.train | split.fold_in)}
    rated = set(data.item_rows.tolist())
    cold = {item for _, item in pairs(data, split.held_out)}
    assert not visible & cold
    assert len(rated - visible) == max(1, int(fraction * len(rated) + 1e-9))
    assert split.n_cold_held_out == split.held_out.sum() > 0
    assert split.candidates is None
    alone = split_cold_items(data, liked(data), seed, item_fraction=fraction, alone=True)
    assert alone.candidates is not None
    assert set(alone.candidates.tolist()) == rated - visible


@protocols
@pytest.mark.parametrize("part", ["train", "fold_in"])
def test_a_planted_pair_is_caught(split_by: Callable[[Interactions], Split], part: str) -> None:
    data = random_interactions(10)
    split = split_by(data)
    check_no_leak(split)
    leaked = int(np.flatnonzero(split.held_out)[0])
    mask = getattr(split, part).copy()
    mask[leaked] = True
    user_id = data.user_ids[data.user_rows[leaked]]
    item_id = data.items.item_ids[data.item_rows[leaked]]
    message = f"{split.protocol} split: leaks: 1 held-out .* user '{user_id}', item '{item_id}'"
    with pytest.raises(DataError, match=message):
        check_no_leak(replace(split, **{part: mask}))


def test_a_pair_that_stands_in_the_data_twice_is_caught() -> None:
    users, items = np.array([0, 0, 0, 1, 1]), np.array([0, 1, 1, 0, 1])
    data = interactions_of(users, items, np.full(5, 5), None)
    test = np.array([False, False, True, False, False])
    with pytest.raises(DataError, match="1 held-out entries are in training too"):
        split_given(data, liked(data), ~test, test)


def test_training_on_a_strongly_tested_user_is_caught() -> None:
    data = random_interactions(11)
    split = by_strong(data)
    with pytest.raises(DataError, match="training entries are of test users"):
        check_no_leak(replace(split, train=split.train | split.fold_in))


def test_another_users_entry_on_a_cold_item_is_caught() -> None:
    data = random_interactions(12)
    split = by_cold_items(data)
    pair_user = data.user_rows[split.held_out][0]
    cold_item = data.item_rows[split.held_out][0]
    others = (data.item_rows == cold_item) & (data.user_rows != pair_user) & ~split.held_out
    assert others.any()
    with pytest.raises(DataError, match="on held-out items"):
        check_no_leak(replace(split, train=split.train | others))


def test_learning_from_after_the_date_is_caught() -> None:
    data = random_interactions(13)
    split = by_temporal(data)
    assert data.timestamps is not None
    late = (data.timestamps >= (split.cutoff_s or 0)) & ~split.held_out
    assert late.any()
    with pytest.raises(DataError, match="are not before"):
        check_no_leak(replace(split, train=split.train | late))


def test_learning_what_a_user_did_after_what_is_to_be_predicted_is_caught() -> None:
    data = random_interactions(13)
    split = by_latest(data)
    assert data.timestamps is not None
    later = np.zeros(len(data), dtype=np.bool_)
    for user in split.test_user_rows.tolist():
        mine = data.user_rows == user
        first_s = data.timestamps[mine & split.held_out].min()
        later |= mine & (data.timestamps >= first_s) & ~split.held_out
    assert later.any()
    with pytest.raises(DataError, match="not before what is to be predicted of their user"):
        check_no_leak(replace(split, train=split.train | later))


def test_masks_and_fractions_out_of_shape_or_range_are_refused() -> None:
    data = random_interactions(14)
    with pytest.raises(DataError, match="positive: must be one boolean per entry"):
        split_weak(data, liked(data)[:-1], seed=0)
    with pytest.raises(DataError, match="got int64"):
        split_weak(data, liked(data).astype(np.int64), seed=0)
    for fraction in (0.0, 1.0, float("nan")):
        with pytest.raises(SettingsError, match="held_out_fraction"):
            split_weak(data, liked(data), seed=0, held_out_fraction=fraction)
    with pytest.raises(DataError, match="finds no user"):
        split_weak(data, np.zeros(len(data), dtype=np.bool_), seed=0)


@quick
@given(seed=seeds, n_entries=st.integers(min_value=5, max_value=60))
def test_every_entry_is_tested_in_exactly_one_fold(seed: int, n_entries: int) -> None:
    parts = list(stars.folds(n_entries, seed))
    assert len(parts) == 5
    assert sorted(np.concatenate([fold.test for fold in parts]).tolist()) == list(range(n_entries))
    sizes = [len(fold.test) for fold in parts]
    assert max(sizes) - min(sizes) <= 1
    for fold in parts:
        assert sorted([*fold.train.tolist(), *fold.test.tolist()]) == list(range(n_entries))


def test_folds_follow_the_seed_and_refuse_more_folds_than_entries() -> None:
    one, same, other = (next(stars.folds(100, seed)).test.tolist() for seed in (1, 1, 2))
    assert one == same != other
    with pytest.raises(SettingsError, match="n_folds"):
        next(stars.folds(4, seed=0))


@protocols
def test_protocols_part_movielens_without_a_leak(
    split_by: Callable[[Interactions], Split], ml_latest_small: Path
) -> None:
    columns = np.loadtxt(ml_latest_small / "ratings.csv", delimiter=",", skiprows=1)
    users = np.unique(columns[:, 0], return_inverse=True)[1]
    items = np.unique(columns[:, 1], return_inverse=True)[1]
    data = interactions_of(users, items, columns[:, 2], columns[:, 3])
    split = split_by(data)
    assert not pairs(data, split.held_out) & pairs(data, split.train | split.fold_in)
    assert split.held_out.sum() > 0
    assert len(split.train_interactions()) > 30_000


def test_only_a_temporal_split_learns_no_line_that_was_written_later() -> None:
    data = random_interactions(16)
    n_items = data.n_items
    items = replace(
        data.items,
        texts={"tags": ["early\nlate", *[""] * (n_items - 1)], "plot": ["a\nb"] * n_items},
        line_times={"tags": [np.array([499, 500]), *[np.zeros(0, np.int64)] * (n_items - 1)]},
    )
    data = replace(data, items=items)
    temporal = split_temporal(data, liked(data), cutoff_s=500).train_interactions().items
    assert temporal.texts["tags"] == ["early", *[""] * (n_items - 1)]
    assert temporal.texts["plot"] == items.texts["plot"]
    assert split_weak(data, liked(data), 1).train_interactions().items is items


def test_newcomers_show_no_more_than_they_are_let_and_the_rest_is_to_be_predicted() -> None:
    rng = np.random.default_rng(3)
    users, items = (m.ravel() for m in np.meshgrid(np.arange(40), np.arange(30), indexing="ij"))
    kept = rng.random(len(users)) < 0.6
    data = interactions_of(users[kept], items[kept], np.full(kept.sum(), 5.0), None)
    split = split_strong(data, np.ones(len(data), dtype=np.bool_), 1)
    few = show_only(split, 3, 1)
    assert [len(e) for e in few.entries_by_test_user(few.fold_in)] == [3] * len(
        split.test_user_rows
    )
    assert not (few.fold_in & ~split.fold_in).any()
    # Of what a user likes nothing is a wrong answer: it is shown, or to be found.
    assert np.array_equal(few.held_out, (split.held_out | split.fold_in) & ~few.fold_in)
    all_shown = show_only(split, 1000, 1)
    assert np.array_equal(all_shown.fold_in, split.fold_in)
    assert np.array_equal(all_shown.held_out, split.held_out)


def test_newcomers_show_positives_where_all_ratings_are_learned_from() -> None:
    data = random_interactions(15)
    positive = liked(data)
    split = split_strong(data, positive, 1, all_ratings=True)
    assert (split.fold_in & ~positive).any()
    n_liked = np.diff(split.fold_in_matrix().indptr)
    for n_shown in (1, 3):
        few = show_only(split, n_shown, 1)
        assert not ((few.fold_in | few.held_out) & ~positive).any()
        assert np.array_equal(np.diff(few.fold_in_matrix().indptr), np.minimum(n_liked, n_shown))
        assert np.array_equal(few.train, split.train)
