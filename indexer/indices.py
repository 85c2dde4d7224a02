"""Knows how each space gets its index, and measures the recall that the index really has.

It refuses to know how vectors were made; faiss stays behind `ilk.ann`.
"""

import numpy as np

from ilk.ann import Index, IndexKind, IndexSpec, RowNeighbors, recall
from ilk.bundle.manifest import IndexRecord
from ilk.space import SpaceKey
from ilk.types import MeasuredRecall
from ilk.vectors import Float32Matrix
from indexer.settings import BuildSettings

BLENDS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
_FLAT_UP_TO_ROWS = 50_000
_N_QUERIES = 200


def build_index(
    key: SpaceKey,
    vectors: Float32Matrix,
    asking: Float32Matrix,
    settings: BuildSettings,
) -> tuple[Index, IndexRecord]:
    """Return the index of a space and its record with the measured recall.

    Parameters
    ----------
    vectors
        Shape ``(n, n_factors + dim_content)``: the rows to be found.
    asking
        Of the same width: rows that will ask, of the same side for likeness, of the other for
        affinity. Queries to measure with are drawn from them.
    """
    kind = settings.index
    if kind is None:
        kind = IndexKind.FLAT if len(vectors) <= _FLAT_UP_TO_ROWS else IndexKind.IVF
    spec = IndexSpec(kind)
    index = Index.build(vectors, spec, settings.seed)
    table = _measure(key, index, spec, vectors, asking, settings)
    return index, IndexRecord(kind.value, spec.describe(len(vectors)), table)


def _measure(
    key: SpaceKey,
    index: Index,
    spec: IndexSpec,
    vectors: Float32Matrix,
    asking: Float32Matrix,
    settings: BuildSettings,
) -> tuple[MeasuredRecall, ...]:
    """Return recall by effort and blend, up to the first effort that finds everything."""
    rng = np.random.default_rng(settings.seed)
    drawn = np.sort(rng.choice(len(asking), min(_N_QUERIES, len(asking)), replace=False))
    exact = Index.build(vectors, IndexSpec(), settings.seed)
    k = min(100, index.n_rows)
    truths = {w: exact.nearest(_weighted(asking[drawn], settings.factors, w), k) for w in BLENDS}
    name = spec.describe(index.n_rows)
    table: list[MeasuredRecall] = []
    for effort in spec.efforts(index.n_rows):
        rows = []
        for weight, truth in truths.items():
            found = index.nearest(_weighted(asking[drawn], settings.factors, weight), k, effort)
            at_10, at_100 = (_recall(found, truth, min(depth, k)) for depth in (10, 100))
            rows.append(MeasuredRecall(key.name, name, effort, weight, at_10, at_100))
        table += rows
        if all(min(row.recall_at_10, row.recall_at_100) >= 1 for row in rows):
            break
    return tuple(table)


def _recall(found: RowNeighbors, truth: RowNeighbors, k: int) -> float:
    return round(recall([found], [truth], k), 6)


def _weighted(queries: Float32Matrix, n_factors: int, content_weight: float) -> Float32Matrix:
    weights = np.full(queries.shape[1], content_weight, dtype=np.float32)
    weights[:n_factors] = 1 - content_weight
    return queries * weights
