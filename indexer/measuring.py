"""Knows how one candidate for a space's index is measured: what it finds, what it costs, what it took.

It refuses to know which candidates there are and which is kept.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ilk.ann import (
    Index,
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
_N_TIMED = 5
_N_ROUNDS = 2
# More effort is not measured past the highest recall that a query may name.
_ENOUGH = 0.999
# Effort that finds less at the usual blend is not measured at others, nor more of it at a blend where
# it gained nothing.
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
        drawn = able[_drawn(len(able), np.random.default_rng(settings.seed))]
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
        """Build a candidate and measure it, up to the effort that finds enough or costs too much."""
        n_rows, dim = self.shape
        began = time.perf_counter()
        index = Index.build(self.vectors, spec, self.settings.seed)
        build_s = time.perf_counter() - began
        space = Space(self.key, self.factors, self.content, index)
        usual = _nearest_blend(self.settings.content_weight)
        rows = self._rows(space, spec, most_us)
        record = IndexRecord(
            spec.kind.value,
            spec.describe(n_rows, dim),
            self.size_bytes(spec),
            round(build_s, 3),
            tuple(row for row, _ in rows),
            tuple(cost_us for _, cost_us in rows),
        )
        hardest = min(_best(rows).get(w, 0.0) for w in BLENDS[:-1])
        return Measured(index, record, self._cost_us(rows, usual), hardest)

    def _rows(self, space: Space, spec: IndexSpec, most_us: float) -> list[_CostedRow]:
        """Return what is found in each partition, tried first at the blend that it is made for."""
        rows: list[_CostedRow] = []
        for at, emphasis in enumerate(spec.emphases):
            efforts = [e for e in spec.efforts(len(space)) if partition(e) == at]
            own = emphasis if at and emphasis is not None else self.settings.content_weight
            rows += self._rows_of(space, spec, efforts, _nearest_blend(own), most_us)
        return rows

    def _rows_of(
        self, space: Space, spec: IndexSpec, efforts: list[int], usual: float, most_us: float
    ) -> list[_CostedRow]:
        """Return what each effort finds at each blend, until more of it gains nothing there."""
        rows: list[_CostedRow] = []
        before: dict[float, float] = dict.fromkeys(BLENDS, -np.inf)
        for effort in efforts:
            here = [self._row(space, spec, effort, usual)] if usual in before else []
            if not here or here[0][0].recall_at_10 >= _USEFUL:
                here += [self._row(space, spec, effort, w) for w in before if w != usual]
            rows += here
            for row, _ in here if len(here) > 1 or usual not in before else ():
                found = row.recall_at_10 + row.recall_at_100
                if _worst(row) >= _ENOUGH or found - before[row.content_weight] < _NO_GAIN:
                    del before[row.content_weight]
                else:
                    before[row.content_weight] = found
            if not before or min(cost_us for _, cost_us in here) > most_us:
                break
        return rows

    def _cost_us(self, rows: list[_CostedRow], usual: float) -> float:
        """Return what a usual query costs where that is least and holds; infinity if none does.

        Nor may any blend fall below the least recall that a query may name. In between, queries of a
        blend that the index does not serve well enough are answered by comparing with all rows.
        """
        most = _best(rows)
        # Items of equal content are found without an index: what it does at 1 decides nothing.
        if min(most.get(w, 0.0) for w in BLENDS[:-1]) < MIN_RECALL:
            return np.inf
        held = (
            cost_us
            for row, cost_us in rows
            if row.content_weight == usual and _worst(row) >= self.settings.recall_target
        )
        return min(held, default=np.inf)

    def _row(self, space: Space, spec: IndexSpec, effort: int, weight: float) -> _CostedRow:
        queries, truth = self.queries(weight), self.truths[weight]
        shallow, deep = (min(depth, len(space)) for depth in DEPTHS)
        found, n_compared = counting(lambda: space.nearest(queries, shallow, effort))
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
        return row, query_us(spec, self.shape, shallow, effort, n_compared / len(queries))


def _nearest_blend(weight: float) -> float:
    """Return the measured blend that is nearest to a content weight."""
    return min(BLENDS, key=lambda w: abs(w - weight))


def _drawn(n_able: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return who asks: half drawn evenly, half by how well they are known, or all if they are few."""
    if n_able <= _N_QUERIES:
        return np.arange(n_able)
    half = _N_QUERIES // 2
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


def _recall(found: Float32Matrix, truth: Float32Matrix, k: int) -> float:
    unknown = np.empty((len(found), 0), dtype=np.int64)
    scores = [RowNeighbors(unknown, found)], [RowNeighbors(unknown, truth)]
    return round(careful_recall(*scores, k), 6)
