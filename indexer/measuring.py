"""Knows how far a candidate for a space's index is measured: at which blends, up to which effort.

It refuses to know which candidates there are and which is kept.
"""

import contextlib
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from ilk.ann import Index, IndexKind, IndexSpec, mode, partition, searched
from ilk.bundle.manifest import IndexRecord
from ilk.space import Space
from ilk.types import MIN_RECALL, MeasuredRecall
from indexer.bench import BLENDS, Bench, CostedRow, nearest_blend

# More effort is not measured past the highest recall that a query may name.
_ENOUGH = 0.999
# Effort that finds less at the usual blend is not measured at others, nor more of it at a blend where
# it gained nothing.
_USEFUL = 0.8
_NO_GAIN = 0.001
# Queries that name a recall most often name these, or the build's own: each pays for the least effort
# that reaches it, so there efforts are measured in smaller steps, where a step costs so many times more.
_OFTEN_ASKED = (0.95, 0.98)
_WIDE_STEP = 1.2

_WALKS = threading.Lock()


@dataclass(frozen=True, slots=True)
class Measured:
    """A candidate with its record.

    Attributes
    ----------
    whole
        Whether it was measured at every blend, else only at the usual one.
    cost_us
        Of a usual query; infinity if the index cannot be relied on, as far as it was measured.
    recall
        The worst that it finds at its greatest effort, as far as it was measured.
    """

    spec: IndexSpec
    index: Index
    record: IndexRecord
    whole: bool
    cost_us: float
    recall: float


def measure(bench: Bench, spec: IndexSpec, most_us: float) -> Measured:
    """Build a candidate and measure it at the usual blend.

    Up to the effort that keeps the promise, or that costs so much that the candidate costs more than
    ``most_us``.
    """
    n_rows, dim = bench.shape
    began = time.perf_counter()
    with _walking(spec.kind):
        index = Index.build(bench.vectors, spec, bench.settings.seed)
        build_s = round(time.perf_counter() - began, 3)
        trial = _Trial.of(bench, spec, index)
        # A cost is the mean of two: one of them may be twice as much.
        rows = trial.rows(trial.efforts(0), bench.usual, 2 * most_us, bench.settings.recall_target)
    size_bytes, name = bench.size_bytes(spec), spec.describe(n_rows, dim)
    record = IndexRecord(spec.kind.value, name, size_bytes, build_s, ())
    return _measured(bench, spec, index, record, rows, whole=False)


def completed(bench: Bench, found: Measured, most_us: float) -> Measured:
    """Measure a candidate at the other blends too, and up to the effort that finds all."""
    rows: list[CostedRow] = []
    so_far = list(zip(found.record.recall, found.record.costs_us, strict=True))
    with _walking(found.spec.kind):
        trial = _Trial.of(bench, found.spec, found.index)
        useful: dict[int, list[int]] = {}
        for at, own in enumerate(trial.own_blends):
            efforts = trial.efforts(at)
            found_here = trial.rows(efforts, own, most_us, _ENOUGH, so_far)
            worth_having = [r.effort for r, _ in found_here if max(r.by_sort) >= _USEFUL]
            useful[at] = [e for e in efforts if worth_having and e >= worth_having[0]]
            rows, so_far = rows + found_here, []
        for weight in BLENDS:
            rows += trial.rows_at(useful, weight, most_us, rows)
        rows += trial.rows_between(rows)
    rows.sort(key=lambda costed: costed[0].effort)
    return _measured(bench, found.spec, found.index, found.record, rows, whole=True)


@dataclass(frozen=True, slots=True)
class _Trial:
    """A candidate under measurement."""

    bench: Bench
    spec: IndexSpec
    space: Space
    _listed: dict[tuple[int, int, float], int] = field(default_factory=dict)

    @classmethod
    def of(cls, bench: Bench, spec: IndexSpec, index: Index) -> "_Trial":
        return cls(bench, spec, Space(bench.key, bench.factors, bench.content, index))

    def efforts(self, at: int) -> list[int]:
        """Return the efforts worth measuring in one mode, cheapest first."""
        return [e for e in self.spec.efforts(len(self.space)) if mode(e) == at]

    @property
    def own_blends(self) -> list[float]:
        """The blend that each mode is for; the first is for the usual one."""
        others = [nearest_blend(own) for own in self.spec.modes[1:] if own is not None]
        return [self.bench.usual, *others]

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
                found = self.rows(useful[at], weight, most_us, _ENOUGH, beside=beside)
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
        with all rows does, unless nobody could rely on the index yet.
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
            reliable = bool(rows) and _worst(rows[-1][0]) >= MIN_RECALL
            if rows and least_us > (min(most_us, bench.worthwhile_us) if reliable else most_us):
                break
            rows.append(self._costed(effort, weight))
        return rows

    def _costed(self, effort: int, weight: float) -> CostedRow:
        n_listed = self._n_listed(effort, weight)
        return self.bench.costed(self.space, self.spec, effort, weight, n_listed)

    def _n_listed(self, effort: int, weight: float) -> int:
        """Return how many rows the lists hold; modes of one partition open the same ones."""
        asked = partition(effort), searched(effort), weight
        if asked not in self._listed:
            self._listed[asked] = self.bench.n_listed(self.space, self.spec, effort, weight)
        return self._listed[asked]

    def _suffices(self, rows: list[CostedRow], enough: float) -> bool:
        """Return whether more effort than was measured last would gain nothing worth having."""
        row, _ = rows[-1]
        if _worst(row) >= enough:
            return True
        if len(rows) < 2 or (row.content_weight == self.bench.usual and row.recall_at_10 < _USEFUL):
            return False
        before, _ = rows[-2]
        found = (*row.by_sort, row.recall_at_100), (*before.by_sort, before.recall_at_100)
        return max(now - then for now, then in zip(*found, strict=True)) < _NO_GAIN


def _measured(
    bench: Bench,
    spec: IndexSpec,
    index: Index,
    record: IndexRecord,
    rows: list[CostedRow],
    *,
    whole: bool,
) -> Measured:
    record = replace(
        record, recall=tuple(row for row, _ in rows), costs_us=tuple(us for _, us in rows)
    )
    # Items of equal content are found without an index: what it does at 1 decides nothing.
    blends, most = BLENDS[:-1] if whole else (bench.usual,), _best(rows)
    hardest = min(most.get(weight, 0.0) for weight in blends)
    return Measured(spec, index, record, whole, _cost_us(bench, rows, hardest), hardest)


def _cost_us(bench: Bench, rows: list[CostedRow], hardest: float) -> float:
    """Return what a usual query costs where that is least and holds; infinity if none does.

    On average of one by the well known and one by others, who may need unlike efforts. Nor may any blend
    fall below the least recall that a query may name. In between, queries of a blend that the index does
    not serve well enough are answered by comparing with all rows.
    """
    target = bench.settings.recall_target
    usual = [costed for costed in rows if costed[0].content_weight == bench.usual]
    if hardest < MIN_RECALL or all(_worst(row) < target for row, _ in usual):
        return np.inf
    by_sort = (
        min(cost_us for row, cost_us in usual if row.by_sort[at] >= target) for at in range(2)
    )
    return sum(by_sort) / 2


def _by_blend(costed: CostedRow) -> tuple[float, int]:
    row, _ = costed
    return row.content_weight, row.effort


def _walking(kind: IndexKind) -> contextlib.AbstractContextManager[object]:
    """Let nobody else walk along links meanwhile: faiss counts what is met for the whole process."""
    return _WALKS if kind is IndexKind.HNSW else contextlib.nullcontext()


def _best(rows: list[CostedRow]) -> dict[float, float]:
    """Return the most that any effort finds, by blend."""
    most: dict[float, float] = {}
    for row, _ in rows:
        most[row.content_weight] = max(_worst(row), most.get(row.content_weight, 0.0))
    return most


def _is_beaten(costed: CostedRow, beside: Sequence[CostedRow]) -> bool:
    """Return whether something ``beside`` it finds no less at half the cost."""
    row, cost_us = costed
    return any(us <= cost_us / 2 and _worst(other) >= _worst(row) for other, us in beside)


def _worst(row: MeasuredRecall) -> float:
    return min(row.recall_at_10, row.recall_at_100)
