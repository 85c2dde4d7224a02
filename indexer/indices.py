"""Knows how each space gets its index: candidates are built and measured, the cheapest that holds wins.

It refuses to know how vectors were made; faiss stays behind `ilk.ann`.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from ilk.ann import (
    Index,
    IndexKind,
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
from ilk.types import MeasuredRecall
from ilk.vectors import Float32Matrix, concatenate
from indexer.settings import BuildSettings

BLENDS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
DEPTHS = (10, 100)
# So many queries tell recall at 10, and so many recall at 100, each with ten times as much to find.
_N_QUERIES, _N_DEEP = 200, 50
_N_TIMED = 5
_N_ROUNDS = 2
# A candidate must be so many times as cheap as a simpler one: what is close is not worth the risk.
_MARGIN = 1.3
_MB = 1_000_000
# More effort is not measured past the highest recall that a query may name, nor past this cost.
_ENOUGH = 0.999
_TOO_SLOW_US = 20_000.0
# Effort that finds less at the usual blend is not measured at others, nor more of it that gains nothing.
_USEFUL = 0.8
_NO_GAIN = 0.001
# Up to how many rows each kind is tried where the settings name none, and from how many on; from simple
# to intricate. Below, comparing with all is quickest; above, building takes too long or searching does.
_TRIED = {
    IndexKind.FLAT: (0, 100_000),
    IndexKind.PQ: (4_000, 500_000),
    IndexKind.IVF: (4_000, 50_000),
    IndexKind.IVF_PQ: (20_000, 2_000_000),
    IndexKind.IVF_SQ: (50_000, 1 << 62),
    IndexKind.HNSW: (20_000, 100_000),
}
# Kinds that take long to build are first tried on so many of the rows: all cost no less.
_PART_ROWS = 4_096
_SLOW_TO_BUILD = frozenset({IndexKind.HNSW})

# What was measured of one effort at one blend, and what a query costs there by the table.
_CostedRow: TypeAlias = tuple[MeasuredRecall, float]


@dataclass(frozen=True, slots=True)
class _Measured:
    """A candidate with its record.

    Attributes
    ----------
    cost_us
        Of a usual query; infinity if a promise is broken.
    recall
        The worst that it finds at its greatest effort.
    """

    index: Index
    record: IndexRecord
    cost_us: float
    recall: float


def build_index(
    key: SpaceKey,
    factors: Float32Matrix,
    content: Float32Matrix,
    asking: tuple[Float32Matrix, Float32Matrix],
    settings: BuildSettings,
) -> tuple[Index, IndexRecord, list[IndexRecord]]:
    """Return the index of a space, its record with the measured recall, and the records of the others.

    Parameters
    ----------
    factors, content
        Shapes ``(n, n_factors)`` and ``(n, dim_content)``: the rows to be found.
    asking
        Factors and content of the rows that will ask, of the same side for likeness, of the other for
        affinity. Queries to measure with are drawn from them.

    Notes
    -----
    A candidate costs what `ilk.ann.query_us` says of a query at the blend that queries have by default,
    at the least effort that reaches ``settings.recall_target`` there. What cannot win any more is not
    built, or not measured further. Candidates above ``settings.index_memory_mb`` are not built.
    """
    bench = _Bench.of(key, factors, content, asking, settings)
    specs = [
        IndexSpec(kind, by_direction=key.by_likeness) for kind in _candidates(bench.shape, settings)
    ]
    measured: dict[IndexSpec, _Measured] = {}
    unbuilt: list[IndexRecord] = []
    for spec in sorted(specs, key=bench.likely_us):
        most_us = _most_us(spec, specs, measured)
        if (hopeless := _hopeless(bench, spec, most_us)) is not None:
            unbuilt.append(hopeless)
        else:
            measured[spec] = bench.measure(spec, min(most_us, _TOO_SLOW_US))
    best = _cheapest(specs, measured)
    return (
        best.index,
        best.record,
        [m.record for m in measured.values() if m is not best] + unbuilt,
    )


def _candidates(shape: tuple[int, int], settings: BuildSettings) -> list[IndexKind]:
    """Return what is worth trying, from simple to intricate."""
    if settings.index is not None:
        return [settings.index]
    n_rows, dim = shape
    small = [
        kind
        for kind in IndexKind
        if IndexSpec(kind).bytes_per_row(dim) * n_rows <= settings.index_memory_mb * _MB
    ]
    tried = [kind for kind, (low, high) in _TRIED.items() if low <= n_rows <= high]
    # Where nothing fits, what is tried of the smallest kinds is the least of evils.
    return [kind for kind in tried if kind in small] or tried[-1:]


def _most_us(
    spec: IndexSpec, specs: list[IndexSpec], measured: dict[IndexSpec, _Measured]
) -> float:
    """Return the cost above which a candidate cannot win against those that were measured."""
    simplicity = specs.index(spec)
    return min(
        (
            m.cost_us * (_MARGIN if simplicity < specs.index(other) else 1 / _MARGIN)
            for other, m in measured.items()
        ),
        default=np.inf,
    )


def _hopeless(bench: "_Bench", spec: IndexSpec, most_us: float) -> IndexRecord | None:
    """Return the record of a candidate that need not be built: it costs too much at best, or in part."""
    if bench.least_us(spec) > most_us:
        name = spec.describe(*bench.shape)
        return IndexRecord(spec.kind.value, name, bench.size_bytes(spec), 0.0, ())
    if spec.kind not in _SLOW_TO_BUILD or most_us == np.inf or len(bench.vectors) <= _PART_ROWS:
        return None
    part = bench.part().measure(spec, most_us)
    # A walk lengthens like the logarithm of the rows (Malkov & Yashunin, arXiv:1603.09320, section 4.2).
    if part.cost_us * math.log(len(bench.vectors)) / math.log(_PART_ROWS) <= most_us:
        return None
    return replace(part.record, name=f"{part.record.name} of {_PART_ROWS} rows")


def _cheapest(specs: list[IndexSpec], measured: dict[IndexSpec, _Measured]) -> _Measured:
    """Return the cheapest candidate that keeps its promises, an intricate one only if cheaper by far.

    If none does, the one that comes nearest.
    """
    built = [measured[spec] for spec in specs if spec in measured]
    if all(m.cost_us == np.inf for m in built):
        return max(built, key=lambda m: m.recall)
    best = built[0]
    for found in built[1:]:
        if found.cost_us * _MARGIN < best.cost_us:
            best = found
    return best


@dataclass(frozen=True, slots=True)
class _Bench:
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
    ) -> "_Bench":
        rng = np.random.default_rng(settings.seed)
        n_asking = len(asking[0])
        drawn = np.sort(rng.choice(n_asking, min(_N_QUERIES, n_asking), replace=False))
        queries = {
            w: concatenate(np.float32(1 - w) * asking[0][drawn], np.float32(w) * asking[1][drawn])
            for w in BLENDS
        }
        vectors = concatenate(factors, content)
        return cls(key, factors, content, vectors, queries, _truths(vectors, queries), settings)

    def part(self) -> "_Bench":
        """Return the same bench over a few of the rows, evenly spread."""
        rows = np.linspace(0, len(self.vectors) - 1, _PART_ROWS).astype(np.int64)
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

    def measure(self, spec: IndexSpec, most_us: float) -> _Measured:
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
        return _Measured(index, record, self._cost_us(rows, usual), hardest)

    def _cost_us(self, rows: list[_CostedRow], usual: float) -> float:
        """Return what a query costs at the least effort that holds; infinity if a promise is broken."""
        holding: dict[float, float] = {}
        for row, cost_us in rows:
            if _worst(row) >= self.settings.recall_target:
                holding.setdefault(row.content_weight, cost_us)
        if not holding.keys() >= set(BLENDS[:-1]):
            return np.inf
        return holding[usual]

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
