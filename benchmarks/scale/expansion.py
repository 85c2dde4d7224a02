"""Knows fractal expansion: a small ratings matrix becomes a large one with tails of the same kind.

It refuses to know files, titles and genres. Belletti et al., "Scalable Realistic Recommendation Datasets
through Fractal Expansions", arXiv:1901.08910, equation 2 and algorithm 1: the large matrix is the
Kronecker product of a reduced matrix with the small one, each entry of the product kept with the
probability that the reduced matrix says. Two things differ, and keep the tails closer to MovieLens'
own: the reduced matrix holds the densities of the small one's quantile groups, where the paper
shrinks its singular vectors; and blocks are not shuffled as a whole, but users change places with
users about as active, and some ratings move to other items by popularity.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ilk.errors import SettingsError
from indexer.interactions import Interactions

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]

# MovieLens of 610 users and of 200,948 have the same mean activity and nearly the same spread, so the
# users' groups differ less than the small world's own; items spread as they do there.
_ACTIVITY_SPREAD = 0.3
# Users change places with those up to so many ranks of activity away.
_NEIGHBORING_RANKS = 16
# Share of the ratings that move to another item, so that copies of a user do not stay alike.
_MOVED = 0.25
_SECONDS_PER_YEAR = 31_556_952


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a world is to be; the number of ratings is met within a hundredth."""

    n_users: int
    n_items: int
    n_ratings: int

    def __post_init__(self) -> None:
        if min(self.n_users, self.n_items, self.n_ratings) < 1:
            raise SettingsError("--users, --items and --ratings must be at least 1")


@dataclass(frozen=True, slots=True)
class Block:
    """The ratings of a run of users, ordered by user, then item; each pair once.

    Attributes
    ----------
    user_rows, item_rows
        Shape ``(n,)``, int64: rows of the large world. Item ``row`` is a copy of item
        ``row % n_items`` of the small one, save in the last group of copies, which may lack some.
    ratings, timestamps
        Shape ``(n,)``, float32 stars and int64 Unix seconds.
    """

    user_rows: Ints
    item_rows: Ints
    ratings: npt.NDArray[np.float32]
    timestamps: Ints


@dataclass(frozen=True, slots=True)
class Copies:
    """Which rows of the small world each group of copies holds: all, but in the last group.

    Attributes
    ----------
    n_rows, n_small
        Rows of the large world and of the small.
    last
        Rising rows of the small world that the last group copies.
    """

    n_rows: int
    n_small: int
    last: Ints

    @classmethod
    def draw(cls, n_rows: int, n_small: int, rng: np.random.Generator) -> "Copies":
        """Return groups that hold ``n_rows`` in all, the last of a random choice."""
        n_last = (n_rows - 1) % n_small + 1
        return cls(n_rows, n_small, np.sort(rng.permutation(n_small)[:n_last]))

    @property
    def n_groups(self) -> int:
        """Groups of copies, the last counted."""
        return -(-self.n_rows // self.n_small)

    def present(self) -> Floats:
        """Return the share of the small world that each group copies; shape ``(n_groups,)``."""
        shares = np.ones(self.n_groups)
        shares[-1] = len(self.last) / self.n_small
        return shares

    def place(self, group: int, small_rows: Ints | npt.NDArray[np.int32]) -> Ints:
        """Return where copies stand in the large world, -1 where the group lacks one."""
        if group < self.n_groups - 1:
            return small_rows.astype(np.int64) + group * self.n_small
        place = np.full(self.n_small, -1, dtype=np.int64)
        place[self.last] = np.arange(len(self.last)) + group * self.n_small
        return place[small_rows]

    def small_rows(self) -> Ints:
        """Return which row of the small world each row of the large copies; shape ``(n_rows,)``."""
        whole = np.tile(np.arange(self.n_small), self.n_groups - 1)
        return np.concatenate((whole, self.last))


def expand(small: Interactions, shape: Shape, seed: int) -> Iterator[Block]:
    """Yield the large world's ratings, a group of users at a time; memory holds one group.

    Parameters
    ----------
    small
        A world with stars.
    shape
        Of the large world. Every user has a rating; items may have none.

    Raises
    ------
    SettingsError
        If the small world has too few ratings to make so many.
    """
    rng = np.random.default_rng(seed)
    users = Copies.draw(shape.n_users, small.n_users, rng)
    items = item_copies(small, shape, seed)
    densities = reduced(small, users.n_groups, items.n_groups)
    present = np.outer(users.present(), items.present())
    n_left = float(shape.n_ratings)
    for group in range(users.n_groups):
        # A group that came out small is made up for by those that follow.
        share = (densities * present)[group].sum() / (densities * present)[group:].sum()
        wanted = n_left * share / len(small)
        block = _block(
            small, users, items, group, _kept_at(densities[group], present[group], wanted), rng
        )
        n_left -= len(block.ratings)
        yield block


def item_copies(small: Interactions, shape: Shape, seed: int) -> Copies:
    """Return which small item each large one copies; the same for the same seed."""
    return Copies.draw(shape.n_items, small.n_items, np.random.default_rng((seed, 1)))


def reduced(small: Interactions, n_user_groups: int, n_item_groups: int) -> Floats:
    """Return the reduced matrix: how dense each group of the expansion is against the others.

    Returns
    -------
    Floats
        Shape ``(n_user_groups, n_item_groups)``, positive. Groups are quantiles by activity and by
        popularity, the most active and the best known first.
    """
    by_user = _quantiles(small.user_rows, small.n_users, n_user_groups)
    by_item = _quantiles(small.item_rows, small.n_items, n_item_groups)
    counts = np.full((n_user_groups, n_item_groups), 0.5)
    np.add.at(counts, (by_user[small.user_rows], by_item[small.item_rows]), 1)
    activity = counts.sum(axis=1, keepdims=True)
    densities: Floats = counts / activity * (activity / activity.mean()) ** _ACTIVITY_SPREAD
    return densities


def _quantiles(rows: npt.NDArray[np.int32], n_rows: int, n_groups: int) -> Ints:
    return _ranks(rows, n_rows) * n_groups // n_rows


def _ranks(rows: npt.NDArray[np.int32], n_rows: int) -> Ints:
    """Return each row's rank by falling count; shape ``(n_rows,)``."""
    order = np.argsort(-np.bincount(rows, minlength=n_rows), kind="stable")
    ranks = np.empty(n_rows, dtype=np.int64)
    ranks[order] = np.arange(n_rows)
    return ranks


def _kept_at(densities: Floats, present: Floats, wanted: float) -> Floats:
    """Return probabilities in proportion to ``densities`` where they can be.

    Weighted by what is ``present`` they sum to ``wanted``.
    """
    if wanted > present.sum():
        raise SettingsError(
            f"the small world has {present.sum() / wanted:.2f} of the ratings that this takes; "
            "ask for fewer --ratings, or for more --users or --items"
        )
    keep = densities * (wanted / (densities @ present))
    while keep.max() > 1:
        full = keep >= 1
        rest = wanted - present[full].sum()
        keep = np.where(full, 1, keep * (rest / (keep @ np.where(full, 0, present))))
    return keep


def _block(
    small: Interactions,
    users: Copies,
    items: Copies,
    group: int,
    keep: Floats,
    rng: np.random.Generator,
) -> Block:
    ranks = _ranks(small.user_rows, small.n_users)
    parts: list[tuple[Ints, Ints, Ints]] = []
    for item_group, probability in enumerate(keep.tolist()):
        kept = np.flatnonzero(rng.random(len(small), dtype=np.float32) < probability)
        swapped = _exchanged(ranks, rng)
        user_rows = users.place(group, swapped[small.user_rows[kept]])
        parts.append((user_rows, items.place(item_group, small.item_rows[kept]), kept))
    user_rows, item_rows, entries = (np.concatenate(column) for column in zip(*parts, strict=True))
    there = (user_rows >= 0) & (item_rows >= 0)
    user_rows, item_rows, entries = user_rows[there], item_rows[there], entries[there]
    item_rows = _moved(user_rows, item_rows, items.n_rows, rng)
    user_rows, item_rows, entries = _with_everybody(user_rows, item_rows, entries, users, group)
    order = np.lexsort((item_rows, user_rows))
    assert small.timestamps is not None
    shifts = rng.integers(-_SECONDS_PER_YEAR, 0, users.n_small)[user_rows % users.n_small]
    return Block(
        user_rows[order],
        item_rows[order],
        small.ratings[entries[order]],
        (small.timestamps[entries] + shifts)[order],
    )


def _exchanged(ranks: Ints, rng: np.random.Generator) -> Ints:
    """Return a permutation of users in which each takes the place of one about as active."""
    places = np.argsort(ranks)
    moved = np.argsort(ranks[places] + rng.uniform(0, _NEIGHBORING_RANKS, len(ranks)))
    exchanged = np.empty(len(ranks), dtype=np.int64)
    exchanged[places] = places[moved]
    return exchanged


def _moved(user_rows: Ints, item_rows: Ints, n_items: int, rng: np.random.Generator) -> Ints:
    """Return the items with some replaced by those of other ratings, never so that a pair repeats."""
    chosen = np.flatnonzero(rng.random(len(item_rows)) < _MOVED)
    others = item_rows[rng.integers(0, max(len(item_rows), 1), len(chosen))]
    pairs = user_rows[chosen] * n_items + others
    _, first = np.unique(pairs, return_index=True)
    new = np.zeros(len(chosen), dtype=np.bool_)
    new[first] = True
    new &= ~np.isin(pairs, user_rows * n_items + item_rows)
    moved: Ints = item_rows.copy()
    moved[chosen[new]] = others[new]
    return moved


def _with_everybody(
    user_rows: Ints, item_rows: Ints, entries: Ints, users: Copies, group: int
) -> tuple[Ints, Ints, Ints]:
    """Give each user that was left without a rating one that another of the group has."""
    first = group * users.n_small
    n_users = min(users.n_small, users.n_rows - first)
    without = np.flatnonzero(np.bincount(user_rows - first, minlength=n_users) == 0)
    if not len(without):
        return user_rows, item_rows, entries
    if not len(entries):
        raise SettingsError(f"too few --ratings for {users.n_rows} users; ask for more")
    given = without % len(entries)
    return (
        np.concatenate((user_rows, without + first)),
        np.concatenate((item_rows, item_rows[given])),
        np.concatenate((entries, entries[given])),
    )
