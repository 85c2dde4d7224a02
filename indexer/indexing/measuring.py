"""Knows what a candidate for a space's index costs and whether it holds, measured at which blends.

It refuses to know which candidates there are and which is kept.
"""

import contextlib
import threading
import time
from dataclasses import dataclass, replace

import numpy as np

from ilk.ann import Index, IndexKind, IndexSpec
from ilk.bundle.manifest import IndexRecord
from ilk.types import MIN_RECALL
from indexer.indexing.bench import BLENDS, Bench, CostedRow
from indexer.indexing.trial import ENOUGH, USEFUL, Trial

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
        trial = Trial.of(bench, spec, index)
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
        trial = Trial.of(bench, found.spec, found.index)
        useful: dict[int, list[int]] = {}
        for at, own in enumerate(trial.own_blends):
            efforts = trial.efforts(at)
            beside = [costed for costed in rows if costed[0].content_weight == own]
            found_here = trial.rows(efforts, own, most_us, ENOUGH, so_far, beside)
            worth_having = [r.effort for r, _ in found_here if max(r.by_sort) >= USEFUL]
            useful[at] = [e for e in efforts if worth_having and e >= worth_having[0]]
            rows, so_far = rows + found_here, []
        for weight in BLENDS:
            rows += trial.rows_at(useful, weight, most_us, rows)
        rows += trial.rows_between(rows)
    rows.sort(key=lambda costed: costed[0].effort)
    return _measured(bench, found.spec, found.index, found.record, rows, whole=True)


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
    if hardest < MIN_RECALL or all(row.worst < target for row, _ in usual):
        return np.inf
    by_sort = (
        min(cost_us for row, cost_us in usual if row.by_sort[at] >= target) for at in range(2)
    )
    return sum(by_sort) / 2


def _walking(kind: IndexKind) -> contextlib.AbstractContextManager[object]:
    """Let nobody else walk along links meanwhile: faiss counts what is met for the whole process."""
    return _WALKS if kind is IndexKind.HNSW else contextlib.nullcontext()


def _best(rows: list[CostedRow]) -> dict[float, float]:
    """Return the most that any effort finds, by blend."""
    most: dict[float, float] = {}
    for row, _ in rows:
        most[row.content_weight] = max(row.worst, most.get(row.content_weight, 0.0))
    return most
