"""Knows how one candidate for a space's index is measured: what it finds, what it costs, what it took.

It refuses to know which candidates there are and which is kept.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ilk.ann import (
    Index,
    IndexKind,
    IndexSpec,
    RowNeighbors,
    careful_recall,
    counting,
    least_us,
    likely_us,
    one_thread,
    partition,
    query_us,
)
from ilk.bundle.manifest import IndexRecord
from ilk.space import Space, SpaceKey
from ilk.types import MIN_RECALL, MeasuredRecall
from ilk.vectors import Float32Matrix, concatenate
from indexer.settings import BuildSettings
from indexer.truth import best_scores

BLENDS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
DEPTHS = (10, 100)
# So many of the rows, evenly spread, are a part.
PART_ROWS = 4_096
# So many queries tell recall at 10, half of them of the well known, and every so manieth of them recall
# at 100, with ten times as much to find.
_N_QUERIES, _DEEP_STEP = 200, 4
# Of many rows an index is chosen that is only just good enough, and chance costs most: more tell.
_MANY_ROWS, _N_QUERIES_OF_MANY = 500_000, 400
_N_TIMED = 5
_N_ROUNDS = 2
# More effort is not measured past the highest recall that a query may name.
_ENOUGH = 0.999
# Effort that finds less at the usual blend is not measured at others, nor more of it at a blend where
# it gained nothing.
_USEFUL = 0.8
_NO_GAIN = 0.001
# Effort that costs more than this share of comparing with all is not worth its misses.
_WORTHWHILE = 0.75

_WALKS = threading.Lock()

# What was measured of one effort at one blend, and what a query costs there by the table.
_CostedRow: TypeAlias = tuple[MeasuredRecall, float]


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


@dataclass(frozen=True, slots=True)
class Bench:
    """What candidates of one space are measured with."""

    key: SpaceKey
    factors: Float32Matrix
    content: Float32Matrix
    vectors: Float32Matrix
    asking: tuple[Float32Matrix, Float32Matrix]
    truths: dict[float, Float32Matrix]
    settings: BuildSettings

    @classmethod
    def of(
        cls,
        key: SpaceKey,
        factors: Float32Matrix,
        content: Float32Matrix,
        asking: tuple[Float32Matrix, Float32Matrix],
        settings: BuildSettings,
    ) -> "Bench":
        """Return a bench with queries drawn from those that ask, and their exact answers.

        Whoever has no factors is answered without the index, and tells nothing of it. The well known
        come first, and ask most; what serves others well may serve them badly.
        """
        told_apart = np.flatnonzero(asking[0].any(axis=1))
        able = told_apart if len(told_apart) else np.arange(len(asking[0]))
        n_queries = _N_QUERIES_OF_MANY if len(factors) >= _MANY_ROWS else _N_QUERIES
        drawn = able[_drawn(len(able), n_queries, np.random.default_rng(settings.seed))]
        queries = (asking[0][drawn], asking[1][drawn])
        vectors = concatenate(factors, content)
        truths = _truths((factors, content), queries)
        return cls(key, factors, content, vectors, queries, truths, settings)

    def part(self) -> "Bench":
        """Return the same bench over a few of the rows, evenly spread."""
        rows = np.linspace(0, len(self.vectors) - 1, PART_ROWS).astype(np.int64)
        factors, content = self.factors[rows], self.content[rows]
        return replace(
            self,
            factors=factors,
            content=content,
            vectors=self.vectors[rows],
            truths=_truths((factors, content), self.asking),
        )

    def queries(self, weight: float) -> Float32Matrix:
        """Return the query vectors at a blend."""
        by_factors, by_content = np.float32(1 - weight), np.float32(weight)
        return concatenate(by_factors * self.asking[0], by_content * self.asking[1])

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and dimensions."""
        n_rows, dim = self.vectors.shape
        return n_rows, dim

    def least_us(self, spec: IndexSpec) -> float:
        """Return what a query costs at the least effort."""
        return least_us(spec, self.shape, min(DEPTHS[0], len(self.vectors)))

    def likely_us(self, spec: IndexSpec) -> float:
        """Return what a query may cost; only the order of measuring depends on it."""
        return likely_us(spec, self.shape, min(DEPTHS[0], len(self.vectors)))

    def size_bytes(self, spec: IndexSpec) -> int:
        """Return about what an index takes."""
        n_rows, dim = self.shape
        return n_rows * spec.bytes_per_row(dim)

    def measure(self, spec: IndexSpec, most_us: float) -> Measured:
        """Build a candidate and measure it at the usual blend.

        Up to the effort that keeps the promise, or that costs more than ``most_us``.
        """
        n_rows, dim = self.shape
        began = time.perf_counter()
        with _walking(spec.kind):
            index = Index.build(self.vectors, spec, self.settings.seed)
            build_s = round(time.perf_counter() - began, 3)
            space = Space(self.key, self.factors, self.content, index)
            efforts = _efforts(spec, len(space), 0)
            rows = self._rows(
                space, spec, efforts, self.usual, most_us, self.settings.recall_target
            )
        size_bytes, name = self.size_bytes(spec), spec.describe(n_rows, dim)
        record = IndexRecord(spec.kind.value, name, size_bytes, build_s, ())
        return self._measured(spec, index, record, rows, whole=False)

    def completed(self, found: Measured, most_us: float) -> Measured:
        """Measure a candidate at the other blends too, and up to the effort that finds all."""
        spec, index = found.spec, found.index
        rows: list[_CostedRow] = []
        so_far = list(zip(found.record.recall, found.record.costs_us, strict=True))
        with _walking(spec.kind):
            space = Space(self.key, self.factors, self.content, index)
            useful: dict[int, list[int]] = {}
            for at, own in enumerate(self._own_blends(spec)):
                efforts = _efforts(spec, len(space), at)
                found_here = self._rows(space, spec, efforts, own, most_us, _ENOUGH, so_far)
                worth_having = [r.effort for r, _ in found_here if r.recall_at_10 >= _USEFUL]
                useful[at] = [e for e in efforts if worth_having and e >= worth_having[0]]
                rows, so_far = rows + found_here, []
            for weight in BLENDS:
                rows += self._rows_at(space, spec, useful, weight, most_us, rows)
        rows.sort(key=lambda costed: costed[0].effort)
        return self._measured(spec, index, found.record, rows, whole=True)

    def _own_blends(self, spec: IndexSpec) -> list[float]:
        """Return the blend that each partition is made for; the first is made for the usual one."""
        others = [nearest_blend(own) for own in spec.emphases[1:] if own is not None]
        return [self.usual, *others]

    def _rows_at(
        self,
        space: Space,
        spec: IndexSpec,
        useful: dict[int, list[int]],
        weight: float,
        most_us: float,
        so_far: list[_CostedRow],
    ) -> list[_CostedRow]:
        """Return what each partition finds at a blend, that first which is made for the nearest.

        But not at its own, and no more than that which another finds at half the cost.
        """
        own_blends = self._own_blends(spec)
        beside = [costed for costed in so_far if costed[0].content_weight == weight]
        rows: list[_CostedRow] = []
        for at in sorted(useful, key=lambda at: abs(own_blends[at] - weight)):
            if own_blends[at] != weight:
                efforts = useful[at]
                found = self._rows(space, spec, efforts, weight, most_us, _ENOUGH, beside=beside)
                rows, beside = rows + found, beside + found
        return rows

    @property
    def worthwhile_us(self) -> float:
        """What a query may cost before it had better be compared with all rows, if that is allowed."""
        if self.settings.index is not None:
            return np.inf
        return _WORTHWHILE * self.least_us(IndexSpec())

    @property
    def usual(self) -> float:
        """The measured blend that is nearest to that of queries that name none."""
        return nearest_blend(self.settings.content_weight)

    def _measured(
        self,
        spec: IndexSpec,
        index: Index,
        record: IndexRecord,
        rows: list[_CostedRow],
        *,
        whole: bool,
    ) -> Measured:
        record = replace(
            record, recall=tuple(row for row, _ in rows), costs_us=tuple(us for _, us in rows)
        )
        # Items of equal content are found without an index: what it does at 1 decides nothing.
        blends, most = BLENDS[:-1] if whole else (self.usual,), _best(rows)
        hardest = min(most.get(weight, 0.0) for weight in blends)
        return Measured(spec, index, record, whole, self._cost_us(rows, hardest), hardest)

    def _rows(
        self,
        space: Space,
        spec: IndexSpec,
        efforts: Sequence[int],
        weight: float,
        most_us: float,
        enough: float,
        so_far: Sequence[_CostedRow] = (),
        beside: Sequence[_CostedRow] = (),
    ) -> list[_CostedRow]:
        """Return what each effort finds at a blend, on from ``so_far``, until more of it is of no use.

        That is where enough is found, where the last step gained nothing, where it costs twice what finds
        no less ``beside`` it, or where more costs too much: above ``most_us``, or nearly what comparing
        with all rows does, unless nobody could rely on the index yet.
        """
        rows, queries = list(so_far), self.queries(weight)
        for effort in efforts:
            if so_far and effort <= so_far[-1][0].effort:
                continue
            if rows and (rows[-1][1] > most_us or self._suffices(rows, enough)):
                break
            if rows and _is_beaten(rows[-1], beside):
                break
            n_listed = space.index.n_listed(queries, effort) if spec.kind.has_lists else 0
            least_us = self._query_us(spec, effort, n_listed)
            reliable = bool(rows) and _worst(rows[-1][0]) >= MIN_RECALL
            if rows and least_us > (min(most_us, self.worthwhile_us) if reliable else most_us):
                break
            row, n_walked = self._row(space, spec, effort, weight)
            rows.append((row, self._query_us(spec, effort, n_listed + n_walked)))
        return rows

    def _suffices(self, rows: list[_CostedRow], enough: float) -> bool:
        """Return whether more effort than was measured last would gain nothing worth having."""
        row, _ = rows[-1]
        if _worst(row) >= enough:
            return True
        if len(rows) < 2 or (row.content_weight == self.usual and row.recall_at_10 < _USEFUL):
            return False
        before = rows[-2][0]
        at_10 = row.recall_at_10 - before.recall_at_10
        return max(at_10, row.recall_at_100 - before.recall_at_100) < _NO_GAIN

    def _cost_us(self, rows: list[_CostedRow], hardest: float) -> float:
        """Return what a usual query costs where that is least and holds; infinity if none does.

        Nor may any blend fall below the least recall that a query may name. In between, queries of a
        blend that the index does not serve well enough are answered by comparing with all rows.
        """
        if hardest < MIN_RECALL:
            return np.inf
        held = (
            cost_us
            for row, cost_us in rows
            if row.content_weight == self.usual and _worst(row) >= self.settings.recall_target
        )
        return min(held, default=np.inf)

    def _query_us(self, spec: IndexSpec, effort: int, n_compared: int) -> float:
        k = min(DEPTHS[0], len(self.vectors))
        return query_us(spec, self.shape, k, effort, n_compared / len(self.asking[0]))

    def _row(
        self, space: Space, spec: IndexSpec, effort: int, weight: float
    ) -> tuple[MeasuredRecall, int]:
        """Return what is found, and how many rows were met by links."""
        queries, truth = self.queries(weight), self.truths[weight]
        shallow, deep = (min(depth, len(space)) for depth in DEPTHS)
        found, n_met = counting(lambda: space.nearest(queries, shallow, effort))
        # Whoever asks, well known or not, is promised what is told.
        at_10 = min(
            _recall(found.scores[half], truth[half], shallow)
            for half in np.array_split(np.arange(len(queries)), 2)
            if len(half)
        )
        few = np.ascontiguousarray(queries[::_DEEP_STEP])
        at_100 = _recall(space.nearest(few, deep, effort).scores, truth[::_DEEP_STEP], deep)
        timed = queries[:_N_TIMED, None]
        with one_thread():
            spent_s = _cpu_s(lambda: [space.nearest(q, shallow, effort) for q in timed])
        n_rows, dim = self.shape
        row = MeasuredRecall(
            self.key.name,
            spec.describe(n_rows, dim),
            effort,
            weight,
            at_10,
            at_100,
            cpu_us=round(1e6 * spent_s / len(timed), 1),
        )
        return row, n_met if spec.kind is IndexKind.HNSW else 0


def nearest_blend(weight: float) -> float:
    """Return the measured blend that is nearest to a content weight."""
    return min(BLENDS, key=lambda w: abs(w - weight))


def _efforts(spec: IndexSpec, n_rows: int, at: int) -> list[int]:
    """Return the efforts worth measuring in one partition, cheapest first."""
    return [effort for effort in spec.efforts(n_rows) if partition(effort) == at]


def _walking(kind: IndexKind) -> contextlib.AbstractContextManager[object]:
    """Let nobody else walk along links meanwhile: faiss counts what is met for the whole process."""
    return _WALKS if kind is IndexKind.HNSW else contextlib.nullcontext()


def _drawn(n_able: int, n_queries: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return who asks: half drawn evenly, half by how well they are known, or all if they are few."""
    if n_able <= n_queries:
        return np.arange(n_able)
    half = n_queries // 2
    evenly = np.sort(rng.choice(n_able, half, replace=False))
    # Falls like the ranks of what is rated do: a tenth of the rows gets a third.
    known = np.sort((n_able * rng.random(half) * rng.random(half)).astype(np.int64))
    return np.concatenate((evenly, known))


def _truths(
    vectors: tuple[Float32Matrix, Float32Matrix], asking: tuple[Float32Matrix, Float32Matrix]
) -> dict[float, Float32Matrix]:
    return best_scores(vectors, asking, BLENDS, min(DEPTHS[-1], len(vectors[0])))


def _best(rows: list[_CostedRow]) -> dict[float, float]:
    """Return the most that any effort finds, by blend."""
    most: dict[float, float] = {}
    for row, _ in rows:
        most[row.content_weight] = max(_worst(row), most.get(row.content_weight, 0.0))
    return most


def _is_beaten(costed: _CostedRow, beside: Sequence[_CostedRow]) -> bool:
    """Return whether something ``beside`` it finds no less at half the cost."""
    row, cost_us = costed
    return any(us <= cost_us / 2 and _worst(other) >= _worst(row) for other, us in beside)


def _worst(row: MeasuredRecall) -> float:
    return min(row.recall_at_10, row.recall_at_100)


def _cpu_s(work: Callable[[], object]) -> float:
    """Return the least CPU seconds of a few calls by this thread: what else happens only adds."""
    spent = []
    for _ in range(_N_ROUNDS):
        began = time.thread_time()
        work()
        spent.append(time.thread_time() - began)
    return min(spent)


def _recall(found: Float32Matrix, truth: Float32Matrix, k: int) -> float:
    unknown = np.empty((len(found), 0), dtype=np.int64)
    scores = [RowNeighbors(unknown, found)], [RowNeighbors(unknown, truth)]
    return round(careful_recall(*scores, k), 6)
