"""Knows up to which effort a candidate for a space's index is measured at a blend.

It refuses to know at which blends, which candidates there are and which is kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from ilk.ann import Index, IndexSpec, mode, partition, searched
from ilk.space import Space
from ilk.types import MIN_RECALL, MeasuredRecall
from indexer.indexing.bench import DEPTHS, Bench, CostedRow, nearest_blend

# Effort that finds less at the usual blend is not measured at others, nor more of it at a blend where
# it gained nothing.
USEFUL = 0.8
_NO_GAIN = 0.001
# Nor is effort that could find no more than this beyond what is found for as little.
_HARDLY_MORE = 0.002
# Queries that name a recall most often name these, or the build's own: each pays for the least effort
# that reaches it, so there efforts are measured in smaller steps, where a step costs so many times more.
_OFTEN_ASKED = (0.95, 0.98)
_WIDE_STEP = 1.2
# More effort is not measured past the highest recall that a query may name.
ENOUGH = 0.999


@dataclass(frozen=True, slots=True)
class Trial:
    """A candidate under measurement."""

    bench: Bench
    spec: IndexSpec
    space: Space
    _listed: dict[tuple[tuple[int, int], float], int] = field(default_factory=dict)

    @classmethod
    def of(cls, bench: Bench, spec: IndexSpec, index: Index) -> "Trial":
        """Return the trial of an index that was built for ``bench``."""
        return cls(bench, spec, Space(bench.key, bench.factors, bench.content, index))

    def efforts(self, at: int) -> list[int]:
        """Return the efforts worth measuring in one mode, cheapest first."""
        return [e for e in self.spec.efforts(len(self.space)) if mode(e) == at]

    @property
    def own_blends(self) -> list[float]:
        """The blend that each mode is for; the first is for the usual one."""
        usual, others = self.bench.usual, self.spec.modes[1:]
        return [usual, *(usual if own is None else nearest_blend(own) for own in others)]

    def rows_at(
        self,
        useful: dict[int, list[int]],
        weight: float,
        most_us: float,
        so_far: list[CostedRow],
    ) -> list[CostedRow]:
        """Return what each mode finds at a blend, that first which is for the nearest.

        But not at its own, and no more than that which another finds at half the cost.
        """
        own_blends = self.own_blends
        beside = [costed for costed in so_far if costed[0].content_weight == weight]
        rows: list[CostedRow] = []
        for at in sorted(useful, key=lambda at: abs(own_blends[at] - weight)):
            if own_blends[at] != weight:
                found = self.rows(useful[at], weight, most_us, ENOUGH, beside=beside)
                rows, beside = rows + found, beside + found
        return rows

    def rows_between(self, rows: list[CostedRow]) -> list[CostedRow]:
        """Return what efforts find that lie midway between two, of which one reaches what is asked."""
        asked = {*_OFTEN_ASKED, self.bench.settings.recall_target}
        midway = {
            (row.content_weight, (before.effort + row.effort) // 2)
            for (before, less_us), (row, more_us) in pairwise(sorted(rows, key=_by_blend))
            if more_us > _WIDE_STEP * less_us
            and before.content_weight == row.content_weight
            and mode(before.effort) == mode(row.effort)
            and any(
                low < recall <= high
                for recall in asked
                for low, high in zip(before.by_sort, row.by_sort, strict=True)
            )
        }
        known = {(row.content_weight, row.effort) for row, _ in rows}
        return [self._costed(effort, weight) for weight, effort in sorted(midway - known)]

    def rows(
        self,
        efforts: Sequence[int],
        weight: float,
        most_us: float,
        enough: float,
        so_far: Sequence[CostedRow] = (),
        beside: Sequence[CostedRow] = (),
    ) -> list[CostedRow]:
        """Return what each effort finds at a blend, on from ``so_far``, until more of it is of no use.

        That is where enough is found, where the last step gained nothing, where it costs twice what finds
        no less ``beside`` it, or where more costs too much: above ``most_us``, or nearly what comparing
        with all rows does, unless nobody could rely on the index yet. What cannot find more than what
        costs no more beside it is left out.
        """
        bench, rows = self.bench, list(so_far)
        for effort in efforts:
            if so_far and effort <= so_far[-1][0].effort:
                continue
            if rows and (rows[-1][1] > most_us or self._suffices(rows, enough)):
                break
            if rows and _is_beaten(rows[-1], beside):
                break
            least_us = bench.query_us(self.spec, effort, self._n_listed(effort, weight))
            reliable = bool(rows) and rows[-1][0].worst >= MIN_RECALL
            if rows and least_us > (min(most_us, bench.worthwhile_us) if reliable else most_us):
                break
            if not self._is_vain(effort, least_us, beside):
                rows.append(self._costed(effort, weight))
        return rows

    def _costed(self, effort: int, weight: float) -> CostedRow:
        n_listed = self._n_listed(effort, weight)
        return self.bench.costed(self.space, self.spec, effort, weight, n_listed)

    def _n_listed(self, effort: int, weight: float) -> int:
        """Return how many rows the lists hold; modes of one partition open the same ones."""
        listed, opened = self._listed, self._lists(effort)
        if (opened, weight) not in listed:
            # All at once: to find many lists takes little longer than to find few.
            others = [
                e for e in self.spec.efforts(len(self.space)) if self._lists(e)[0] == opened[0]
            ]
            every = [effort, *(e for e in others if (self._lists(e), weight) not in listed)]
            found = self.bench.n_listed(self.space, self.spec, every, weight)
            for of, n_listed in zip(every, found, strict=True):
                listed[self._lists(of), weight] = n_listed
        return listed[opened, weight]

    def _lists(self, effort: int) -> tuple[int, int]:
        """Return of which partition an effort searches how many lists."""
        return partition(effort, len(self.spec.emphases)), searched(effort)

    def _is_vain(self, effort: int, cost_us: float, beside: Sequence[CostedRow]) -> bool:
        """Return whether something beside an effort finds hardly less for no more than it costs.

        The effort finds no more than the same lists do of which more candidates are fetched.
        """
        lists, n_fetched = self._lists(effort), self._n_fetched(effort)
        of_same_lists = (row for row, _ in beside if self._lists(row.effort) == lists)
        most = next((r for r in of_same_lists if self._n_fetched(r.effort) > n_fetched), None)
        return most is not None and any(
            us <= cost_us and max(_gains(row, most)) <= _HARDLY_MORE for row, us in beside
        )

    def _n_fetched(self, effort: int) -> int:
        return self.space.index.candidates(min(DEPTHS), effort)

    def _suffices(self, rows: list[CostedRow], enough: float) -> bool:
        """Return whether more effort than was measured last would gain nothing worth having."""
        row, _ = rows[-1]
        if row.worst >= enough:
            return True
        if len(rows) < 2 or (row.content_weight == self.bench.usual and row.recall_at_10 < USEFUL):
            return False
        return max(_gains(rows[-2][0], row)) < _NO_GAIN


def _gains(one: MeasuredRecall, other: MeasuredRecall) -> list[float]:
    """Return what ``other`` finds more than ``one``: for the well known, for others, of a hundred."""
    found = (*one.by_sort, one.recall_at_100), (*other.by_sort, other.recall_at_100)
    return [more - less for less, more in zip(*found, strict=True)]


def _by_blend(costed: CostedRow) -> tuple[float, int]:
    row, _ = costed
    return row.content_weight, row.effort


def _is_beaten(costed: CostedRow, beside: Sequence[CostedRow]) -> bool:
    """Return whether something ``beside`` it finds no less at half the cost."""
    row, cost_us = costed
    return any(us <= cost_us / 2 and other.worst >= row.worst for other, us in beside)
