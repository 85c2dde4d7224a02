"""Knows the queries that candidates of a space are measured with, and what one effort finds and costs.

It refuses to know how many efforts are worth measuring, and which candidate is kept.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ilk.ann import (
    IndexKind,
    IndexSpec,
    RowNeighbors,
    careful_recall,
    counting,
    least_us,
    likely_us,
    one_thread,
    query_us,
)
from ilk.space import Space, SpaceKey, n_well_known
from ilk.types import MeasuredRecall
from ilk.vectors import Float32Matrix, concatenate
from indexer.indexing.truth import best_scores
from indexer.settings import BuildSettings

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
# Effort that costs more than this share of comparing with all is not worth its misses.
_WORTHWHILE = 0.75

# What was measured of one effort at one blend, and what a query costs there by the table.
CostedRow: TypeAlias = tuple[MeasuredRecall, float]


@dataclass(frozen=True, slots=True)
class Bench:
    """What candidates of one space are measured with."""

    key: SpaceKey
    factors: Float32Matrix
    content: Float32Matrix
    vectors: Float32Matrix
    asking: tuple[Float32Matrix, Float32Matrix]
    n_well_known: int
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
        come first, and ask most; what serves others well may serve them badly, and they may need less.
        """
        told_apart = np.flatnonzero(asking[0].any(axis=1))
        able = told_apart if len(told_apart) else np.arange(len(asking[0]))
        n_queries = _N_QUERIES_OF_MANY if len(factors) >= _MANY_ROWS else _N_QUERIES
        first = int(np.searchsorted(able, n_well_known(len(asking[0]))))
        places = _drawn(len(able), first, n_queries, np.random.default_rng(settings.seed))
        drawn, of_first = able[places], int(np.searchsorted(places, first))
        queries = (asking[0][drawn], asking[1][drawn])
        vectors = concatenate(factors, content)
        truths = _truths((factors, content), queries)
        return cls(key, factors, content, vectors, queries, of_first, truths, settings)

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

    def n_listed(
        self, space: Space, spec: IndexSpec, efforts: Sequence[int], weight: float
    ) -> list[int]:
        """Return how many rows stand in the lists that all queries open at a blend, by effort.

        Efforts are of one partition; 0 without lists.
        """
        if not spec.kind.has_lists:
            return [0] * len(efforts)
        return space.index.n_listed(self.queries(weight), efforts)

    def query_us(self, spec: IndexSpec, effort: int, n_compared: int) -> float:
        """Return what a query costs by the table where all of them together compare so many rows."""
        k = min(DEPTHS[0], len(self.vectors))
        return query_us(spec, self.shape, k, effort, n_compared / len(self.asking[0]))

    def costed(
        self,
        space: Space,
        spec: IndexSpec,
        effort: int,
        weight: float,
        n_listed: int,
    ) -> CostedRow:
        """Return what an effort finds at a blend, and what that costs.

        ``space`` has the candidate; ``n_listed`` is :meth:`n_listed`.
        """
        queries, truth = self.queries(weight), self.truths[weight]
        shallow, deep = (min(depth, len(space)) for depth in DEPTHS)
        found, n_met = counting(lambda: space.nearest(queries, shallow, effort))
        # Whoever asks, well known or not, is promised what is told.
        at_10 = [
            _recall(found.scores[some], truth[some], shallow) if len(queries[some]) else None
            for some in (slice(None, self.n_well_known), slice(self.n_well_known, None))
        ]
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
            min(recall for recall in at_10 if recall is not None),
            at_100,
            cpu_us=round(1e6 * spent_s / len(timed), 1),
            well_known_at_10=at_10[0],
            others_at_10=at_10[1],
        )
        n_walked = n_met if spec.kind is IndexKind.HNSW else 0
        return row, self.query_us(spec, effort, n_listed + n_walked)


def nearest_blend(weight: float) -> float:
    """Return the measured blend that is nearest to a content weight."""
    return min(BLENDS, key=lambda w: abs(w - weight))


def _drawn(
    n_able: int, n_well_known: int, n_queries: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Return who asks, in order: half of them from the well known, the first; or all if they are few."""
    if n_able <= n_queries:
        return np.arange(n_able)
    half = min(n_queries // 2, n_well_known)
    some = rng.choice(n_well_known, half, replace=False)
    n_others = n_able - n_well_known
    rest = rng.choice(n_others, min(n_queries - half, n_others), replace=False)
    return np.sort(np.concatenate((some, n_well_known + rest)))


def _truths(
    vectors: tuple[Float32Matrix, Float32Matrix], asking: tuple[Float32Matrix, Float32Matrix]
) -> dict[float, Float32Matrix]:
    return best_scores(vectors, asking, BLENDS, min(DEPTHS[-1], len(vectors[0])))


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
