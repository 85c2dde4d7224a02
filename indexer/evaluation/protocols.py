"""Knows the protocols: who and what is held out, and what a model may learn and see instead.

It refuses to know models and figures. Every split made here is checked for leaks before it is handed
out; what a split is, `splits` says.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ilk.errors import DataError, SettingsError
from indexer.evaluation.leaks import check_no_leak
from indexer.evaluation.splits import Mask, Rows, Split, SplitProtocol
from indexer.interactions import Interactions

MIN_POSITIVES = 5
# Keeps a product such as 0.29 * 100 = 28.999999999999996 from losing a whole entry when floored.
_ROUNDING = 1e-9


def split_strong(
    interactions: Interactions,
    positive: Mask,
    seed: int,
    *,
    n_test_users: int | None = None,
    test_fraction: float = 0.1,
    held_out_fraction: float = 0.2,
    all_ratings: bool = False,
) -> Split:
    """Hold users out of training wholly; show part of their positives, predict the rest.

    Only positives are used, in training too, unless ``all_ratings``: then training has every rating of
    its users, and every rating below of the test users is shown, of items that training has a positive
    of; what is to be predicted is the same. Of users with at least ``MIN_POSITIVES`` of them,
    ``n_test_users`` (by default ``test_fraction``) are tested. Their positives on items that
    training has no positive of are removed before they are parted, and counted in
    ``n_dropped_entries``; of those that remain ``floor(held_out_fraction * count)`` are held out.

    Raises
    ------
    SettingsError
        If a fraction or the number of users is out of range.
    DataError
        If too few users or entries are left.

    Notes
    -----
    Liang et al., "Variational Autoencoders for Collaborative Filtering", WWW 2018; used with iALS
    by Rendle et al., RecSys 2022.
    """
    _check_fractions(test_fraction=test_fraction, held_out_fraction=held_out_fraction)
    _check_mask(interactions, "positive", positive)
    rng = np.random.default_rng(seed)
    counts = np.bincount(interactions.user_rows[positive], minlength=interactions.n_users)
    eligible = np.flatnonzero(counts >= MIN_POSITIVES)
    if not len(eligible):
        raise DataError(interactions.source, f"has no user with {MIN_POSITIVES} positives or more")
    if n_test_users is None:
        n_test_users = max(1, int(test_fraction * len(eligible) + _ROUNDING))
    if not 1 <= n_test_users <= len(eligible):
        raise SettingsError(
            f"test users: {n_test_users} asked for; {len(eligible)} users have "
            f"{MIN_POSITIVES} positives or more"
        )
    chosen = np.zeros(interactions.n_users, dtype=np.bool_)
    chosen[rng.choice(eligible, n_test_users, replace=False)] = True
    of_chosen = chosen[interactions.user_rows]
    used = positive | all_ratings
    known = np.zeros(interactions.n_items, dtype=np.bool_)
    known[interactions.item_rows[positive & ~of_chosen]] = True
    usable = of_chosen & known[interactions.item_rows]
    held_out = _pick_per_user(interactions, usable & positive, _share_of(held_out_fraction), rng)
    shown = usable & used & ~held_out
    split = _assemble("strong", interactions, positive, used & ~of_chosen, shown, held_out)
    return replace(
        split,
        n_dropped_entries=int((positive & of_chosen & ~usable).sum()),
        n_dropped_users=n_test_users - len(split.test_user_rows),
    )


def split_weak(
    interactions: Interactions, positive: Mask, seed: int, *, held_out_fraction: float = 0.2
) -> Split:
    """Part every user's entries at random: ``floor(held_out_fraction * count)`` leave training.

    Positives among those are to be predicted; the others are withheld from everyone. Errors are
    those of :func:`split_strong`.
    """
    _check_fractions(held_out_fraction=held_out_fraction)
    everything = np.ones(len(interactions), dtype=np.bool_)
    rng = np.random.default_rng(seed)
    test = _pick_per_user(interactions, everything, _share_of(held_out_fraction), rng)
    return split_given(interactions, positive, ~test, test)


def split_given(interactions: Interactions, positive: Mask, train: Mask, test: Mask) -> Split:
    """Return the weak split that ``train`` and ``test``, masks over the entries, spell out.

    For published splits. Raises :class:`DataError` if they share a (user, item) pair.
    """
    masks = {"positive": positive, "train": train, "test": test}
    for name, mask in masks.items():
        _check_mask(interactions, name, mask)
    return _assemble("weak", interactions, positive, train, train, test & positive)


def split_temporal(
    interactions: Interactions,
    positive: Mask,
    *,
    quantile: float = 0.9,
    cutoff_s: int | None = None,
) -> Split:
    """Learn and show what came before a date; predict the positives that came at or after it.

    The date is ``cutoff_s`` (Unix seconds) or else the ``quantile`` of all timestamps. Test users
    have a positive on both sides of it. Items new after the date stay, for content can reach them:
    see ``Split.n_cold_held_out``. Nothing is drawn at random. Meng et al., "Exploring Data
    Splitting Strategies for the Evaluation of Recommendation Models", RecSys 2020.

    Raises
    ------
    SettingsError
        If ``quantile`` is out of range.
    DataError
        If the data has no timestamps, or no user can be tested.
    """
    _check_fractions(quantile=quantile)
    _check_mask(interactions, "positive", positive)
    times = _timestamps(interactions)
    if cutoff_s is None:
        cutoff_s = int(np.quantile(times, quantile, method="higher"))
    before = times < cutoff_s
    after = ~before & positive
    return _assemble("temporal", interactions, positive, before, before, after, cutoff_s)


def split_latest(
    interactions: Interactions, positive: Mask, *, held_out_fraction: float = 0.2
) -> Split:
    """Learn and show what came first of each user; predict the positives of what came last.

    Of each user's entries, in order of time, the last ``floor(held_out_fraction * count)`` leave
    training; but not those of the same second as one that stays, which tell no order. Nothing is drawn
    at random. Errors are those of :func:`split_temporal`.

    Notes
    -----
    The temporal user split of Meng et al., "Exploring Data Splitting Strategies for the Evaluation of
    Recommendation Models", RecSys 2020. Everybody who has been there for a while is tested, where few
    are by a date. What others did later may be learned, as their days are not the user's.
    """
    _check_fractions(held_out_fraction=held_out_fraction)
    _check_mask(interactions, "positive", positive)
    times, users = _timestamps(interactions), interactions.user_rows
    order = np.lexsort((times, users))
    counts = np.bincount(users, minlength=interactions.n_users)
    n_kept = counts - _share_of(held_out_fraction)(counts)
    last_kept_s = np.full(interactions.n_users, -1, dtype=np.int64)
    some = counts > 0
    last = (np.cumsum(counts) - counts + n_kept - 1)[some]
    last_kept_s[some] = times[order[last]]
    test = times > last_kept_s[users]
    return _assemble("latest", interactions, positive, ~test, ~test, test & positive)


def split_cold_items(
    interactions: Interactions,
    positive: Mask,
    seed: int,
    *,
    item_fraction: float = 0.1,
    alone: bool = False,
) -> Split:
    """Take ``item_fraction`` of the rated items out of training; predict who likes them.

    They are ranked among all items, or ``alone``. Every entry on a cold item leaves training and
    fold-in. Test users have a positive on a cold item and one on another. Schein et al., "Methods and
    Metrics for Cold-Start Recommendations", SIGIR 2002. Errors are those of :func:`split_strong`.
    """
    _check_fractions(item_fraction=item_fraction)
    _check_mask(interactions, "positive", positive)
    rated = np.unique(interactions.item_rows)
    n_cold = max(1, int(item_fraction * len(rated) + _ROUNDING))
    rng = np.random.default_rng(seed)
    is_cold = np.zeros(interactions.n_items, dtype=np.bool_)
    is_cold[rng.choice(rated, n_cold, replace=False)] = True
    warm = ~is_cold[interactions.item_rows]
    split = _assemble("cold_items", interactions, positive, warm, warm, ~warm & positive)
    return replace(split, candidates=np.flatnonzero(is_cold)) if alone else split


def show_only(split: Split, n_shown: int, seed: int) -> Split:
    """Return the split with at most ``n_shown`` random positives of each test user folded in.

    The others are to be predicted too: a user likes them, and was not told of them. Ratings below are
    shown no more: newcomers who have given them would be none.

    Notes
    -----
    *Given n* of Breese, Heckerman & Kadie, "Empirical Analysis of Predictive Algorithms for
    Collaborative Filtering", UAI 1998.
    """
    data, positives = split.interactions, split.fold_in & split.positive
    rng = np.random.default_rng(seed)
    shown = _pick_per_user(data, positives, lambda counts: np.full_like(counts, n_shown), rng)
    return replace(split, fold_in=shown, held_out=split.held_out | (positives & ~shown))


def _assemble(
    protocol: SplitProtocol,
    interactions: Interactions,
    positive: Mask,
    train: Mask,
    visible: Mask,
    held_out: Mask,
    cutoff_s: int | None = None,
) -> Split:
    users, n_users = interactions.user_rows, interactions.n_users
    to_predict = np.bincount(users[held_out], minlength=n_users) > 0
    to_show = np.bincount(users[visible & positive], minlength=n_users) > 0
    tested = to_predict & to_show
    if not tested.any():
        raise DataError(
            interactions.source,
            f"a {protocol} split finds no user with a positive to show and one to predict",
        )
    if not (train & positive).any():
        raise DataError(interactions.source, f"a {protocol} split leaves no positive to learn from")
    of_tested = tested[users]
    split = Split(
        protocol=protocol,
        interactions=interactions,
        positive=positive,
        train=train,
        fold_in=visible & of_tested,
        held_out=held_out & of_tested,
        test_user_rows=np.flatnonzero(tested),
        n_dropped_users=int((to_predict & ~to_show).sum()),
        cutoff_s=cutoff_s,
    )
    check_no_leak(split)
    return split


def _share_of(fraction: float) -> Callable[[Rows], Rows]:
    """Return what says how many a fraction of so many are, rounded down."""
    return lambda counts: (fraction * counts + _ROUNDING).astype(np.int64)


def _pick_per_user(
    interactions: Interactions,
    among: Mask,
    n_picked_of: Callable[[Rows], Rows],
    rng: np.random.Generator,
) -> Mask:
    """Return a mask of random entries of each user's ``among``: of their number, ``n_picked_of`` it."""
    entries = np.flatnonzero(among)
    users = interactions.user_rows[entries]
    order = np.lexsort((rng.random(len(entries)), users))
    counts = np.bincount(users, minlength=interactions.n_users)
    starts = np.cumsum(counts) - counts
    place = np.arange(len(entries)) - starts[users[order]]
    n_picked = n_picked_of(counts)
    picked = np.zeros(len(interactions), dtype=np.bool_)
    picked[entries[order[place < n_picked[users[order]]]]] = True
    return picked


def _timestamps(interactions: Interactions) -> npt.NDArray[np.int64]:
    if interactions.timestamps is None:
        raise DataError(interactions.source, "has no timestamps; a split by time needs them")
    return interactions.timestamps


def _check_fractions(**fractions: float) -> None:
    for name, fraction in fractions.items():
        if not 0.0 < fraction < 1.0:
            raise SettingsError(f"{name}: must be between 0 and 1, got {fraction}")


def _check_mask(interactions: Interactions, name: str, mask: Mask) -> None:
    if mask.dtype != np.bool_ or mask.shape != (len(interactions),):
        raise DataError(
            name,
            f"must be one boolean per entry, shape ({len(interactions)},), "
            f"got {mask.dtype} of shape {mask.shape}",
        )
