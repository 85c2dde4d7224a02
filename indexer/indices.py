"""Knows how each space gets its index: candidates are built and measured, the cheapest that holds wins.

It refuses to know how vectors were made; faiss stays behind `ilk.ann`.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ilk.ann import Index, IndexKind, IndexSpec, RowNeighbors, compare_with_all, recall
from ilk.bundle.manifest import IndexRecord
from ilk.space import Space, SpaceKey
from ilk.types import MeasuredRecall
from ilk.vectors import Float32Matrix, concatenate
from indexer.settings import BuildSettings

BLENDS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
DEPTHS = (10, 100)
_N_QUERIES = 100
_N_TIMED = 25
_N_ROUNDS = 2
# A candidate must be so many times as cheap as a simpler one: what is close is not worth the risk, and
# the noise of a measurement should not decide.
_MARGIN = 1.3
_MB = 1_000_000
# More effort is not measured past the highest recall that a query may name, nor past this.
_ENOUGH = 0.999
_TOO_SLOW_US = 20_000
# Nor where a query costs so many times what the best candidate so far takes.
_HOPELESS = 3
# Up to how many rows each kind is tried where the settings name none, and from how many on; from simple
# to intricate. Below, comparing with all is quickest; above, building takes too long or searching does.
_TRIED = {
    IndexKind.FLAT: (0, 100_000),
    IndexKind.PQ: (4_000, 500_000),
    IndexKind.HNSW: (4_000, 20_000),
    IndexKind.IVF: (4_000, 50_000),
    IndexKind.IVF_SQ: (50_000, 1 << 62),
}


@dataclass(frozen=True, slots=True)
class _Measured:
    """A candidate with its record, what a usual query costs, and whether it keeps every promise."""

    index: Index
    record: IndexRecord
    cost_us: float
    holds: bool


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
    A candidate costs the CPU time of a query at the blend that queries have by default, at the least
    effort that reaches ``settings.recall_target`` there. Candidates above
    ``settings.index_memory_mb`` are not built.
    """
    vectors = concatenate(factors, content)
    bench = _Bench.of(key, factors, content, vectors, asking, settings)
    measured: list[_Measured] = []
    best: _Measured | None = None
    for spec in _candidates(len(vectors), vectors.shape[1], settings):
        slowest_us = _HOPELESS * best.cost_us if best is not None and best.holds else np.inf
        measured.append(bench.measure(spec, min(slowest_us, _TOO_SLOW_US)))
        if best is None or _is_better(measured[-1], best):
            best = measured[-1]
    assert best is not None
    return best.index, best.record, [m.record for m in measured if m is not best]


def _candidates(n_rows: int, dim: int, settings: BuildSettings) -> Iterator[IndexSpec]:
    if settings.index is not None:
        yield IndexSpec(settings.index)
        return
    small = [
        kind
        for kind in IndexKind
        if IndexSpec(kind).bytes_per_row(dim) * n_rows <= settings.index_memory_mb * _MB
    ]
    tried = [kind for kind, (low, high) in _TRIED.items() if low <= n_rows <= high]
    # Where nothing fits, what is tried of the smallest kinds is the least of evils.
    yield from map(IndexSpec, [k for k in tried if k in small] or tried[-1:])


def _is_better(found: _Measured, best: _Measured) -> bool:
    """Whether a more intricate candidate deserves its place: it keeps a broken promise, or is cheaper."""
    if found.holds != best.holds:
        return found.holds
    return found.cost_us * _MARGIN < best.cost_us


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
        vectors: Float32Matrix,
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
        k = min(DEPTHS[-1], len(vectors))
        truths = {w: compare_with_all(vectors, q, k) for w, q in queries.items()}
        return cls(key, factors, content, vectors, queries, truths, settings)

    def measure(self, spec: IndexSpec, slowest_us: float) -> _Measured:
        """Build a candidate and measure it, up to the effort that finds enough or takes too long."""
        n_rows, dim = self.vectors.shape
        began = time.perf_counter()
        index = Index.build(self.vectors, spec, self.settings.seed)
        build_s = time.perf_counter() - began
        space = Space(self.key, self.factors, self.content, index)
        name = spec.describe(n_rows, dim)
        rows: list[MeasuredRecall] = []
        for effort in spec.efforts(n_rows):
            rows += (of_effort := [self._row(space, name, effort, w) for w in BLENDS])
            if min(min(row.recall_at_10, row.recall_at_100) for row in of_effort) >= _ENOUGH:
                break
            if min(row.cpu_us for row in of_effort) > slowest_us:
                break
        record = IndexRecord(
            spec.kind.value, name, n_rows * spec.bytes_per_row(dim), round(build_s, 3), tuple(rows)
        )
        usual = min(BLENDS, key=lambda w: abs(w - self.settings.content_weight))
        # Items of equal content are found without an index: what it does at 1 decides nothing.
        holds = all(self._cost(record, w) < np.inf for w in BLENDS[:-1])
        return _Measured(index, record, self._cost(record, usual), holds)

    def _cost(self, record: IndexRecord, weight: float) -> float:
        """Return the CPU time of a query at the least effort that holds; infinity if none does."""
        for row in record.recall:
            worst = min(row.recall_at_10, row.recall_at_100)
            if row.content_weight == weight and worst >= self.settings.recall_target:
                return row.cpu_us
        return np.inf

    def _row(self, space: Space, name: str, effort: int, weight: float) -> MeasuredRecall:
        queries, truth = self.queries[weight], self.truths[weight]
        at_10, at_100 = (
            _recall(space.nearest(queries, k, effort), truth, k)
            for k in (min(depth, len(space)) for depth in DEPTHS)
        )
        timed = queries[:_N_TIMED, None]
        k = min(DEPTHS[0], len(space))
        cpu_us = 1e6 * _cpu_s(lambda: [space.nearest(q, k, effort) for q in timed]) / len(timed)
        return MeasuredRecall(self.key.name, name, effort, weight, at_10, at_100, round(cpu_us, 1))


def _cpu_s(work: Callable[[], object]) -> float:
    """Return the least CPU seconds of a few calls: what else the machine did only adds."""
    spent = []
    for _ in range(_N_ROUNDS):
        began = time.process_time()
        work()
        spent.append(time.process_time() - began)
    return min(spent)


def _recall(found: RowNeighbors, truth: RowNeighbors, k: int) -> float:
    return round(recall([found], [truth], k), 6)
