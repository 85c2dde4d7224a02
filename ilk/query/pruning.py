"""Knows which of many items can be among the best, whatever direction their factors have.

It refuses to know the index. Items share content, so what that adds to a score is known of a whole group
at once, and factors add no more than their length allows. The best of those that can score most tell what
the last of all the best scores at the least: what cannot reach that need not be compared with.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ilk.ann import inner_products
from ilk.bundle import Bundle
from ilk.bundle.contents import ContentGroups
from ilk.query.filters import within
from ilk.query.plan import Plan
from ilk.query.ties import ROUNDING
from ilk.space import SpaceKey
from ilk.vectors import Float32Matrix, Float32Vector, Rows

# So many rows, of so many times as many, are compared with to begin with; if that tells too little, more.
_FIRST_COMPARED: Final = (512, 4096)
_LOOKED_AT: Final = 8
# One row in so many tells how many can be among the best.
_SAMPLED: Final = 256
# Comparing with one in so many rows, here and there, takes as long as with all.
_CONTENDERS_AS_ALL: Final = 6
# What a filter lets pass is looked at row by row if that is less than one in so many.
_ROW_BY_ROW: Final = 4
# Scores that differ by less, for each unit of the largest, may be equal.
_SLACK: Final = 4 * ROUNDING


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the scores of items cannot exceed.

    Attributes
    ----------
    lengths
        Of the factors of each item, shape ``(n_items,)``, float32.
    longest
        Of the items of each content group, shape ``(n_groups,)``, float32.
    """

    lengths: Float32Vector
    longest: Float32Vector

    @classmethod
    def of(cls, factors: Float32Matrix, groups: ContentGroups) -> "Bounds":
        """Return the bounds of items of these ``factors``, shape ``(n_items, n_factors)``."""
        lengths = np.sqrt(np.einsum("ij,ij->i", factors, factors))
        return cls(lengths, np.maximum.reduceat(lengths[groups.members], groups.indptr[:-1]))


class Pruning:
    """Which items can be among the best for one plan.

    Parameters
    ----------
    bundle
        Whose items.
    plan
        For items, at a content weight below 1, of factors that are not zero.
    """

    def __init__(self, bundle: Bundle, plan: Plan) -> None:
        self._groups, self._plan = bundle.content_groups, plan
        self._factors = plan.space.factors
        self._bounds = _bounds_of(bundle, plan.space.key)
        weight, seeker = plan.content_weight, plan.seeker
        self._asked = (np.float32(1 - weight) * seeker.collaborative)[None]
        self._reach = np.float32(np.linalg.norm(self._asked))
        # Bounds and scores are sums of float32, and off by rounding, the more the larger they are.
        largest = max(1.0, float(self._reach * self._bounds.longest.max()))
        self._slack = _SLACK * largest
        self._by_group = np.float32(weight) * (self._groups.vectors @ seeker.content)
        n_passing = _ROW_BY_ROW * plan.allowed.n_allowed
        self._row_by_row = plan.allowed.bitmap is not None and n_passing < len(self._factors)

    def contenders(self) -> tuple[Rows, Float32Vector] | None:
        """Return rows, all of the best among them, and their scores; None if too many can be.

        Scores are sums in float32.
        """
        for n_compared in _FIRST_COMPARED:
            found = self._found(n_compared)
            if found is not None:
                return found
        return None

    def _found(self, n_compared: int) -> tuple[Rows, Float32Vector] | None:
        n_rows = len(self._factors)
        if self._row_by_row:
            rows = self._plan.allowed.rows(n_rows)
            by_content = self._by_group[self._groups.group_of[rows]]
            return self._among(rows, by_content, self._floor(rows, by_content, n_compared))
        most = self._by_group + self._reach * self._bounds.longest
        order, sizes = most.argsort()[::-1], np.diff(self._groups.indptr)
        n_looked_at = _LOOKED_AT * self._n_first(n_compared)
        n_first = int(np.searchsorted(np.cumsum(sizes[order]), n_looked_at)) + 1
        floor = self._floor(*self._members(order[:n_first]), n_compared)
        if floor is None:
            return None
        groups = np.flatnonzero(most >= floor)
        # Most rows are sooner looked at in their own order than group by group.
        if 2 * sizes[groups].sum() > n_rows:
            return self._among(None, self._by_group.take(self._groups.group_of), floor)
        return self._among(*self._members(groups), floor)

    def _among(
        self, rows: Rows | None, by_content: Float32Vector, floor: np.float32 | None
    ) -> tuple[Rows, Float32Vector] | None:
        """Return those of ``rows`` that can reach ``floor``, and their scores; None if too many can.

        ``by_content`` is what content adds to the score of each. No rows stand for all.
        """
        if floor is None:
            return None
        lengths, sample = self._bounds.lengths, slice(None, None, _SAMPLED)
        some = lengths[sample] if rows is None else lengths[rows[sample]]
        n_likely = _SAMPLED * np.count_nonzero(by_content[sample] + self._reach * some >= floor)
        if _CONTENDERS_AS_ALL * n_likely > len(lengths):
            return None
        most = self._reach * (lengths if rows is None else lengths[rows])
        most += by_content
        kept = np.flatnonzero(most >= floor)
        rows, by_content = self._allowed(kept if rows is None else rows[kept], by_content[kept])
        return rows, self._scores(rows, by_content)

    def _floor(self, rows: Rows, by_content: Float32Vector, n_compared: int) -> np.float32 | None:
        """Return what the best of all score at the least, as ``n_compared`` of some rows tell.

        None if fewer of those are allowed than are wanted.
        """
        rows, by_content = self._allowed(rows, by_content)
        if len(rows) < self._plan.n_wanted:
            return None
        most = by_content + self._reach * self._bounds.lengths[rows]
        n_first = min(self._n_first(n_compared), len(rows))
        first = most.argpartition(-n_first)[-n_first:]
        scores = self._scores(rows[first], by_content[first])
        n_wanted = self._plan.n_wanted
        floor: np.float32 = np.partition(scores, -n_wanted)[-n_wanted] - np.float32(self._slack)
        return floor

    def _n_first(self, usual: int) -> int:
        """Return how many rows to compare with, so that likely more than are wanted are allowed."""
        return max(usual, 2 * self._plan.n_wanted) + len(self._plan.allowed.excluded)

    def _members(self, groups: Rows) -> tuple[Rows, Float32Vector]:
        """Return the rows of content groups, and what content adds to the score of each."""
        starts, ends = self._groups.indptr[groups], self._groups.indptr[groups + 1]
        spans: Sequence[tuple[int, int]] = list(zip(starts.tolist(), ends.tolist(), strict=True))
        rows = np.concatenate([self._groups.members[start:end] for start, end in spans])
        return rows, np.repeat(self._by_group[groups], ends - starts)

    def _allowed(self, rows: Rows, by_content: Float32Vector) -> tuple[Rows, Float32Vector]:
        allowed = self._plan.allowed
        if self._row_by_row:
            return rows, by_content
        if allowed.bitmap is not None:
            kept = within(allowed.bitmap, rows)
        elif allowed.excluded:
            kept = np.isin(rows, list(allowed.excluded), invert=True)
        else:
            return rows, by_content
        return rows[kept], by_content[kept]

    def _scores(self, rows: Rows, by_content: Float32Vector) -> Float32Vector:
        scores: Float32Vector = inner_products(self._factors, self._asked, rows[None])[0]
        scores += by_content
        return scores


def _bounds_of(bundle: Bundle, key: SpaceKey) -> Bounds:
    """Return the bounds of the items of a space, made once: that takes as long as comparing with all."""
    bounds: Bounds | None = bundle.bounds.get(key)
    if bounds is None:
        bounds = Bounds.of(bundle.spaces[key].factors, bundle.content_groups)
        bundle.bounds[key] = bounds
    return bounds
