"""Knows how each space gets its index: of the candidates that are worth trying, the cheapest that holds.

It refuses to know how vectors were made and how candidates are measured; faiss stays behind `ilk.ann`.
"""

import math
from dataclasses import replace

import numpy as np

from ilk.ann import Index, IndexKind, IndexSpec
from ilk.bundle.manifest import IndexRecord
from ilk.space import SpaceKey
from ilk.types import Target
from ilk.vectors import Float32Matrix
from indexer.indexing.bench import PART_ROWS, Bench
from indexer.indexing.measuring import Measured, completed, measure
from indexer.settings import BuildSettings

# A candidate must be so many times as cheap as one of a simpler kind: what is close is not worth it.
_MARGIN = 1.3
_MB = 1_000_000
# Effort that costs more is not measured.
_TOO_SLOW_US = 20_000.0
# Up to how many rows each is tried where the settings name no kind, and from how many on; from simple
# to intricate. Below, comparing with all is quickest; above, building takes too long or searching does.
# A code for each dimension leaves fewer candidates, whose true scores are read from far away.
_TRIED = (
    (IndexSpec(IndexKind.FLAT), 0, 100_000),
    (IndexSpec(IndexKind.PQ), 4_000, 500_000),
    (IndexSpec(IndexKind.PQ, dims_per_code=1), 4_000, 50_000),
    (IndexSpec(IndexKind.IVF), 4_000, 50_000),
    (IndexSpec(IndexKind.IVF_PQ, dims_per_code=1), 20_000, 500_000),
    (IndexSpec(IndexKind.IVF_PQ, dims_per_code=1, lists_per_root=4), 20_000, 150_000),
    (IndexSpec(IndexKind.IVF_PQ_2, dims_per_code=1), 500_000, 1 << 62),
    (IndexSpec(IndexKind.HNSW), 20_000, 50_000),
)
# The blend that lists of content are made for: of users it varies half as much as of items (ADR 22).
_CONTENT_EMPHASIS = {Target.ITEMS: 0.6, Target.USERS: 0.9}
# Kinds that take long to build are first tried on a part of the rows: all cost no less.
_SLOW_TO_BUILD = frozenset({IndexKind.HNSW})


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
    built, or not measured further: at other blends only what would be kept. Candidates above
    ``settings.index_memory_mb`` are not built.
    """
    bench = Bench.of(key, factors, content, asking, settings)
    specs = _candidates(key, factors.shape[1], bench.shape, settings)
    measured: dict[IndexSpec, Measured] = {}
    while True:
        unbuilt = _measure_each(bench, specs, measured)
        best = _cheapest(specs, measured)
        if best.whole:
            break
        measured[best.spec] = completed(bench, best, _TOO_SLOW_US)
        if measured[best.spec].cost_us > best.cost_us:
            _give_another_chance(measured)
    rejected = [m.record for m in measured.values() if m is not best]
    return best.index, best.record, rejected + unbuilt


def _measure_each(
    bench: Bench, specs: list[IndexSpec], measured: dict[IndexSpec, Measured]
) -> list[IndexRecord]:
    """Measure, into ``measured``, what was not yet and may win; return the records of what may not."""
    unbuilt: list[IndexRecord] = []
    for spec in sorted(specs, key=lambda spec: (_coarser(spec) in specs, bench.likely_us(spec))):
        if spec in measured:
            continue
        most_us = _most_us(spec, specs, measured)
        if _coarser(spec) in measured and _cheapest(specs, measured).spec != _coarser(spec):
            unbuilt.append(_not_built(bench, spec))
        elif (hopeless := _hopeless(bench, spec, most_us)) is not None:
            unbuilt.append(hopeless)
        else:
            measured[spec] = measure(bench, spec, min(most_us, _TOO_SLOW_US))
    return unbuilt


def _coarser(spec: IndexSpec) -> IndexSpec | None:
    """Return what is like a candidate with fewer lists; it is tried where that is the cheapest."""
    fewer = IndexSpec().lists_per_root
    return None if spec.lists_per_root == fewer else replace(spec, lists_per_root=fewer)


def _give_another_chance(measured: dict[IndexSpec, Measured]) -> None:
    """Forget what may have been measured no further for the sake of one that does not hold after all."""
    for spec, found in list(measured.items()):
        if not found.whole and found.cost_us == np.inf:
            del measured[spec]


def _candidates(
    key: SpaceKey, n_factors: int, shape: tuple[int, int], settings: BuildSettings
) -> list[IndexSpec]:
    """Return what is worth trying, from simple to intricate."""
    n_rows, dim = shape
    if settings.index is not None:
        tried = [spec for spec, _, _ in _TRIED if spec.kind is settings.index][:1]
        small = tried or [IndexSpec(settings.index)]
    else:
        tried = [spec for spec, low, high in _TRIED if low <= n_rows <= high]
        most_bytes = settings.index_memory_mb * _MB
        small = [spec for spec in tried if n_rows * spec.bytes_per_row(dim) <= most_bytes]
    # Where nothing fits, the smallest is the least of evils.
    some = small or [min(tried, key=lambda spec: spec.bytes_per_row(dim))]
    emphasis = _CONTENT_EMPHASIS[key.target]
    return [
        replace(spec, n_factors=n_factors, content_emphasis=emphasis)
        if spec.kind is IndexKind.IVF_PQ_2
        else replace(spec, n_factors=n_factors, by_direction=key.by_likeness)
        for spec in some
    ]


def _most_us(spec: IndexSpec, specs: list[IndexSpec], measured: dict[IndexSpec, Measured]) -> float:
    """Return the cost above which a candidate cannot win against those that were measured."""
    simplicity = specs.index(spec)
    return min(
        (
            m.cost_us * _margin(spec, other)
            if simplicity < specs.index(other)
            else m.cost_us / _margin(spec, other)
            for other, m in measured.items()
        ),
        default=np.inf,
    )


def _margin(one: IndexSpec, other: IndexSpec) -> float:
    return 1.0 if one.kind is other.kind else _MARGIN


def _hopeless(bench: Bench, spec: IndexSpec, most_us: float) -> IndexRecord | None:
    """Return the record of a candidate that need not be built: it costs too much at best, or in part."""
    if bench.least_us(spec) > most_us:
        return _not_built(bench, spec)
    if spec.kind not in _SLOW_TO_BUILD or most_us == np.inf or len(bench.vectors) <= PART_ROWS:
        return None
    of_part = bench.part()
    part = completed(of_part, measure(of_part, spec, most_us), most_us)
    # A walk lengthens like the logarithm of the rows (Malkov & Yashunin, arXiv:1603.09320, section 4.2).
    if part.cost_us * math.log(len(bench.vectors)) / math.log(PART_ROWS) <= most_us:
        return None
    return replace(part.record, name=f"{part.record.name} of {PART_ROWS} rows")


def _not_built(bench: Bench, spec: IndexSpec) -> IndexRecord:
    name = spec.describe(*bench.shape)
    return IndexRecord(spec.kind.value, name, bench.size_bytes(spec), 0.0, ())


def _cheapest(specs: list[IndexSpec], measured: dict[IndexSpec, Measured]) -> Measured:
    """Return the cheapest candidate that keeps its promises, an intricate one only if cheaper by far.

    If none does, the one that comes nearest.
    """
    built = [measured[spec] for spec in specs if spec in measured]
    if all(m.cost_us == np.inf for m in built):
        return max(built, key=lambda m: m.recall)
    best = built[0]
    for found in built[1:]:
        if found.cost_us * _margin(found.spec, best.spec) < best.cost_us:
            best = found
    return best
