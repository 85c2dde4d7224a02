"""Knows how one candidate for a space's index is measured: what it finds, what it costs, what it took.

It refuses to know which candidates there are and which is kept.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from ilk.ann import (
    Index,
    IndexSpec,
    RowNeighbors,
    careful_recall,
    compare_with_all,
    counting,
    least_us,
    likely_us,
    query_us,
)
from ilk.bundle.manifest import IndexRecord
from ilk.space import Space, SpaceKey
from ilk.types import MIN_RECALL, MeasuredRecall
from ilk.vectors import Float32Matrix, concatenate
from indexer.settings import BuildSettings

BLENDS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
DEPTHS = (10, 100)
# So many of the rows, evenly spread, are a part.
PART_ROWS = 4_096
# So many queries tell recall at 10, and so many recall at 100, each with ten times as much to find.
_N_QUERIES, _N_DEEP = 200, 50
_N_TIMED = 5
_N_ROUNDS = 2
# More effort is not measured past the highest recall that a query may name.
_ENOUGH = 0.999
# Effort that finds less at the usual blend is not measured at others, nor more of it that gains nothing.
_USEFUL = 0.8
_NO_GAIN = 0.001

# What was measured of one effort at one blend, and what a query costs there by the table.
_CostedRow: TypeAlias = tuple[MeasuredRecall, float]


@dataclass(frozen=True, slots=True)
class Measured:
    """A candidate with its record.

    Attributes
    ----------
    cost_us
        Of a usual query; infinity if the index cannot be relied on.
    recall
        The worst that it finds at its greatest effort.
    """

    index: Index
    record: IndexRecord
    cost_us: float
    recall: float


@dataclass(frozen=True, slots=True)
class Bench:
    """What candidates of one space are measured with."""

    key: SpaceKey
    factors: Float32Matrix
    content: Float32Matrix
    vectors: Float32Matrix
    queries: dict[float, Float32Matrix]
    truths: dict[float, RowNeighbors]
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

        Whoever has no factors is answered without the index, and tells nothing of it.
        """
        rng = np.random.default_rng(settings.seed)
        told_apart = np.flatnonzero(asking[0].any(axis=1))
        able = told_apart if len(told_apart) else np.arange(len(asking[0]))
        drawn = np.sort(rng.choice(able, min(_N_QUERIES, len(able)), replace=False))
        queries = {
            w: concatenate(np.float32(1 - w) * asking[0][drawn], np.float32(w) * asking[1][drawn])
            for w in BLENDS
        }
        vectors = concatenate(factors, content)
        return cls(key, factors, content, vectors, queries, _truths(vectors, queries), settings)

    def part(self) -> "Bench":
        """Return the same bench over a few of the rows, evenly spread."""
        rows = np.linspace(0, len(self.vectors) - 1, PART_ROWS).astype(np.int64)
        vectors = self.vectors[rows]
        return replace(
            self,
            factors=self.factors[rows],
            content=self.content[rows],
            vectors=vectors,
            truths=_truths(vectors, self.queries),
        )

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
        """Build a candidate and measure it, up to the effort that finds enough or costs too much."""
        n_rows, dim = self.shape
        began = time.perf_counter()
        index = Index.build(self.vectors, spec, self.settings.seed)
        build_s = time.perf_counter() - began
        space = Space(self.key, self.factors, self.content, index)
        usual = min(BLENDS, key=lambda w: abs(w - self.settings.content_weight))
        rows: list[_CostedRow] = []
        before, hardest = 0.0, 0.0
        for effort in spec.efforts(n_rows):
            rows.append(at_usual := self._row(space, spec, effort, usual))
            if at_usual[0].recall_at_10 >= _USEFUL:
                others = [self._row(space, spec, effort, w) for w in BLENDS if w != usual]
                rows += others
                # Items of equal content are found without an index: what it does at 1 decides nothing.
                found = [_worst(row) for row, _ in (at_usual, *others) if row.content_weight < 1]
                hardest = min(found)
                if min(hardest, _worst(others[-1][0])) >= _ENOUGH or sum(found) - before < _NO_GAIN:
                    break
                before = sum(found)
            if at_usual[1] > most_us:
                break
        record = IndexRecord(
            spec.kind.value,
            spec.describe(n_rows, dim),
            self.size_bytes(spec),
            round(build_s, 3),
            tuple(row for row, _ in rows),
            tuple(cost_us for _, cost_us in rows),
        )
        return Measured(index, record, self._cost_us(rows, usual), hardest)

    def _cost_us(self, rows: list[_CostedRow], usual: float) -> float:
        """Return what a usual query costs at the least effort that holds; infinity if none does.

        Nor may any blend fall below the least recall that a query may name. In between, queries of a
        blend that the index does not serve well enough are answered by comparing with all rows.
        """
        most: dict[float, float] = {}
        for row, _ in rows:
            most[row.content_weight] = max(_worst(row), most.get(row.content_weight, 0.0))
        # Items of equal content are found without an index: what it does at 1 decides nothing.
        if min(most.get(w, 0.0) for w in BLENDS[:-1]) < MIN_RECALL:
            return np.inf
        held = (
            cost_us
            for row, cost_us in rows
            if row.content_weight == usual and _worst(row) >= self.settings.recall_target
        )
        return next(held, np.inf)

    def _row(self, space: Space, spec: IndexSpec, effort: int, weight: float) -> _CostedRow:
        queries, truth = self.queries[weight], self.truths[weight]
        shallow, deep = (min(depth, len(space)) for depth in DEPTHS)
        found, n_compared = counting(lambda: space.nearest(queries, shallow, effort))
        at_10 = _recall(found, truth, shallow)
        few = RowNeighbors(truth.rows[:_N_DEEP], truth.scores[:_N_DEEP])
        at_100 = _recall(space.nearest(queries[:_N_DEEP], deep, effort), few, deep)
        timed = queries[:_N_TIMED, None]
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
        return row, query_us(spec, self.shape, shallow, effort, n_compared / len(queries))


def _truths(
    vectors: Float32Matrix, queries: dict[float, Float32Matrix]
) -> dict[float, RowNeighbors]:
    k = min(DEPTHS[-1], len(vectors))
    return {w: compare_with_all(vectors, q, k) for w, q in queries.items()}


def _worst(row: MeasuredRecall) -> float:
    return min(row.recall_at_10, row.recall_at_100)


def _cpu_s(work: Callable[[], object]) -> float:
    """Return the least CPU seconds of a few calls: what else the machine did only adds."""
    spent = []
    for _ in range(_N_ROUNDS):
        began = time.process_time()
        work()
        spent.append(time.process_time() - began)
    return min(spent)


def _recall(found: RowNeighbors, truth: RowNeighbors, k: int) -> float:
    return round(careful_recall([found], [truth], k), 6)
