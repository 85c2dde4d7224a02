"""Knows how differently two bundles answer: how much their neighbors and recommendations overlap.

It refuses to know why. Two trainings on the same data with different seeds overlap by less than all,
which is the noise that a change must be told from.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ilk.bundle import Bundle
from ilk.bundle.contents import Side
from ilk.query import answer_many
from ilk.types import UNSEEN, ItemId, Neighbors, Query, UserId

DEPTH = 10
_N_ASKED = 200
# Of more ids so many are looked for, drawn evenly.
_N_LOOKED_FOR = 100_000


@dataclass(frozen=True, slots=True)
class Overlap:
    """What two bundles have in common, in [0, 1].

    Attributes
    ----------
    items_kept, users_kept
        Share of the first bundle's ids that the second holds too.
    neighbors, recommendations
        Mean share of ten that is in both answers: items like an item, unseen items for a user, for
        those of a sample that both hold; 0 if there are none.
    """

    items_kept: float
    users_kept: float
    neighbors: float
    recommendations: float

    @staticmethod
    def labels() -> dict[str, str]:
        """Return what people are shown for each field."""
        return {
            "items_kept": "items kept",
            "users_kept": "users kept",
            "neighbors": f"overlap@{DEPTH} of items' neighbors",
            "recommendations": f"overlap@{DEPTH} of recommendations",
        }


def overlap(live: Bundle, staged: Bundle, seed: int) -> Overlap:
    """Return what ``staged`` has in common with ``live``, at the default blend of each.

    Items are drawn by popularity, as they are asked for; users evenly.
    """
    rng = np.random.default_rng(seed)
    items = _drawn(live.items, rng, by_popularity=True)
    users = _drawn(live.users, rng, by_popularity=False)
    common_items = [i for i in items if staged.items.vocabulary.row_of(i) >= 0]
    common_users = [u for u in users if staged.users.vocabulary.row_of(u) >= 0]
    neighbors = [Query(ItemId(i), neighbor_count=DEPTH) for i in common_items]
    recommendations = [Query(UserId(u), neighbor_count=DEPTH, filter=UNSEEN) for u in common_users]
    return Overlap(
        _share_kept(live.items, staged.items, rng),
        _share_kept(live.users, staged.users, rng),
        _mean_overlap(live, staged, neighbors),
        _mean_overlap(live, staged, recommendations),
    )


def _share_kept(live: Side, staged: Side, rng: np.random.Generator) -> float:
    rows = np.arange(len(live))
    if len(rows) > _N_LOOKED_FOR:
        rows = np.sort(rng.choice(rows, _N_LOOKED_FOR, replace=False))
    found = staged.vocabulary.rows_of(map(live.vocabulary.id_of, rows.tolist())) >= 0
    # Rounded down: nothing is said to be kept that was lost.
    return math.floor(1e4 * np.count_nonzero(found) / len(rows)) / 1e4


def _drawn(side: Side, rng: np.random.Generator, *, by_popularity: bool) -> list[str]:
    n = min(_N_ASKED, len(side))
    chances = None
    if by_popularity and np.count_nonzero(side.popularity) >= n:
        chances = side.popularity.astype(np.float64) / side.popularity.sum(dtype=np.float64)
    rows = rng.choice(len(side), n, replace=False, p=chances)
    return [side.vocabulary.id_of(row) for row in np.sort(rows).tolist()]


def _mean_overlap(live: Bundle, staged: Bundle, queries: Sequence[Query]) -> float:
    if not queries:
        return 0.0
    shares = [
        len(before & after) / max(len(before), len(after))
        for before, after in zip(_answers(live, queries), _answers(staged, queries), strict=True)
        if before or after
    ]
    return round(float(np.mean(shares)), 4) if shares else 1.0


def _answers(bundle: Bundle, queries: Sequence[Query]) -> list[set[str]]:
    return [
        {n.id for n in outcome.neighbors} if isinstance(outcome, Neighbors) else set()
        for outcome in answer_many(bundle, queries)
    ]
