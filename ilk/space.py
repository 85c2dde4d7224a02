"""Knows one (likeness or affinity, items or users) space: its vectors, its index, its measured recall.

It refuses to know who asks, filters and ids.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ilk.ann import (
    Index,
    IndexKind,
    Refined,
    RowNeighbors,
    best_of,
    inner_products,
)
from ilk.efforts import DEEPER, Efforts
from ilk.errors import BundleCorrupt
from ilk.types import MeasuredRecall, Target
from ilk.vectors import Float32Matrix, Float32Vector, Rows, concatenate, unit_rows

_CHUNK_ROWS = 65_536
# Where an index has codes, its rows' vectors are held side by side up to so many bytes a space.
_MOST_HELD_BYTES = 40 << 20
# Of so many items it pays to ask which can be among the best before any is compared with (ADR 26).
_MANY_ITEMS = 20_000
# By likeness the factors of most are as long, and below this content weight most can be.
_LEAST_WEIGHT = 0.3
# An exact answer then takes so much of what comparing with all does, times what content leaves.
_SHARE_BY_AFFINITY, _SHARE_BY_LIKENESS = 0.4, 0.8
_LEAST_SHARE = 0.03
# Beyond this content weight recall is measured of pure content alone.
MOST_CONTENT = 0.9
# Of those who ask, in falling order of positives, the first one in so many are well known.
_WELL_KNOWN = 10


@dataclass(frozen=True, slots=True)
class SpaceKey:
    """Which space: what is looked for, and whether by likeness (else by affinity)."""

    target: Target
    by_likeness: bool

    @property
    def name(self) -> str:
        """The name in manifests and on the wire, such as ``items.likeness``."""
        return f"{self.target.value}.{'likeness' if self.by_likeness else 'affinity'}"


SPACE_KEYS = tuple(SpaceKey(target, alike) for target in Target for alike in (True, False))


@dataclass(frozen=True, slots=True)
class Space:
    """The vectors that answers come from.

    Attributes
    ----------
    key
        Which space.
    factors
        Shape ``(n, n_factors)``, float32: directions for likeness, ALS factors for affinity.
    content
        Shape ``(n, dim_content)``, float32.
    index
        Over ``[factors ‖ content]``.
    recall, costs_us
        Measured recall, by effort and content weight, and what a query costs there, if that is known.
    efforts
        The same, as queries look it up.
    refined
        The index with a copy of its rows' vectors, where it has codes and they are few.
    vectors
        ``[factors ‖ content]`` by row, as wide as the index, if they lie side by side anywhere.
    """

    key: SpaceKey
    factors: Float32Matrix
    content: Float32Matrix
    index: Index
    recall: tuple[MeasuredRecall, ...] = ()
    costs_us: tuple[float, ...] = ()
    efforts: Efforts = field(init=False)
    refined: Refined | None = field(init=False)
    vectors: Float32Matrix | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "efforts", Efforts(self.recall, self.costs_us))
        few = 4 * self.index.width * len(self) <= _MOST_HELD_BYTES
        refined = None
        if self.index.kind.has_codes and few:
            refined = Refined(self.index, concatenate(self.factors, self.content))
        object.__setattr__(self, "refined", refined)
        vectors = self.index.vectors if refined is None else refined.vectors
        object.__setattr__(self, "vectors", vectors)

    def __len__(self) -> int:
        return len(self.factors)

    def components(
        self, rows: Rows, collaborative: Float32Vector, content: Float32Vector
    ) -> tuple[Float32Vector, Float32Vector]:
        """Return the collaborative and content components of ``rows``, each shape ``(n,)``, float32.

        Parameters
        ----------
        rows
            Rows of this space.
        collaborative, content
            The query's parts.
        """
        return self.factors[rows] @ collaborative, self.content[rows] @ content

    def scores(
        self,
        rows: Rows | None,
        collaborative: npt.NDArray[np.floating[Any]],
        content: npt.NDArray[np.floating[Any]],
        content_weight: float,
    ) -> Float32Vector:
        """Return the blended scores of ``rows``, or of all, in bounded memory; shape ``(n,)``, float32.

        Sums are as precise as the query's parts: float32 or float64.
        """
        scores = np.empty(len(self) if rows is None else len(rows), dtype=np.float32)
        collaborative, content = (1 - content_weight) * collaborative, content_weight * content
        for start in range(0, len(scores), _CHUNK_ROWS):
            here = slice(start, start + _CHUNK_ROWS)
            part = here if rows is None else rows[here]
            scores[here] = self.factors[part] @ collaborative + self.content[part] @ content
        return scores

    def nearest(self, queries: Float32Matrix, k: int, effort: int) -> RowNeighbors:
        """Return the best ``k`` rows by true scores among the candidates that the index finds.

        ``queries`` are blended, of shape ``(n_queries, n_factors + dim_content)``; ``k <= len(self)``.
        """
        return self.best(queries, self.index.candidates(k, effort), k, effort)

    def best(
        self, queries: Float32Matrix, n_fetched: int, n_best: int, effort: int
    ) -> RowNeighbors:
        """Return the best ``n_best`` rows by true scores among ``n_fetched`` that the index finds.

        ``n_best`` is at most ``n_fetched``, which is at most ``len(self)``; queries and errors as
        :meth:`nearest` and :meth:`rescored` have them.
        """
        if self.refined is not None:
            return self.refined.nearest(queries, n_fetched, n_best, effort)
        if self.index.kind is IndexKind.FLAT:
            return self.index.nearest(queries, n_best)
        found = self.index.nearest(queries, n_fetched, effort)
        if self.index.kind.has_codes:
            return self.rescored(queries, found, n_best)
        return RowNeighbors(found.rows[:, :n_best], found.scores[:, :n_best])

    def rescored(
        self, queries: Float32Matrix, candidates: RowNeighbors, n_best: int
    ) -> RowNeighbors:
        """Return the best of some candidates with their true scores, best first.

        Parameters
        ----------
        queries
            Blended, as :meth:`ilk.ann.Index.nearest` takes them.
        candidates
            What the index found, scores near the truth.

        Raises
        ------
        BundleCorrupt
            If a row is not of this space.
        """
        rows, (n, n_factors) = candidates.rows, self.factors.shape
        if rows.item(rows.argmax()) >= n:
            raise BundleCorrupt(f"{self.key.name}: the index found rows that are not there")
        scores = inner_products(self.factors, queries[:, :n_factors], rows)
        by_content = queries[:, n_factors : self.index.dim]
        if by_content.any():
            scores += inner_products(self.content, by_content, rows)
        return best_of(rows, scores, n_best)

    def effort(
        self,
        content_weight: float,
        recall: float,
        n_wanted: int = DEEPER,
        *,
        well_known: bool | None = None,
    ) -> int | None:
        """Return the cheapest effort that reaches ``recall`` (:meth:`ilk.efforts.Efforts.least`).

        None where only comparing with all does, and that not by the index. The ``well_known`` are those
        that :func:`n_well_known` counts.
        """
        if self.index.exhaustive_effort == 0:
            return 0
        if self.key.target is Target.ITEMS and MOST_CONTENT < content_weight < 1:
            # Items of equal content tie at 1, which was measured; below, what is left of the factors
            # decides between them, and codes do not tell that.
            return self.exhaustive_effort(content_weight)
        effort = self.efforts.least(content_weight, recall, n_wanted, well_known=well_known)
        return self.exhaustive_effort(content_weight) if effort is None else effort

    def exhaustive_effort(self, content_weight: float) -> int | None:
        """Return the effort at which the index compares all rows; None if few need be compared with."""
        return None if self.few_contend(content_weight) else self.index.exhaustive_effort

    def few_contend(self, content_weight: float) -> bool:
        """Whether most likely few rows can be among the best, whoever asks (`ilk.query.pruning`)."""
        if self.key.target is not Target.ITEMS or len(self) < _MANY_ITEMS:
            return False
        return not self.key.by_likeness or content_weight >= _LEAST_WEIGHT

    def exact_share(self, content_weight: float) -> float:
        """Return about what share of comparing with all rows an exact answer takes."""
        if not self.few_contend(content_weight):
            return 1.0
        most = _SHARE_BY_LIKENESS if self.key.by_likeness else _SHARE_BY_AFFINITY
        return max(most * (1 - content_weight), _LEAST_SHARE)


def n_well_known(n_rows: int) -> int:
    """Return how many of the first rows of a side, items or users, are told recall of their own."""
    return n_rows // _WELL_KNOWN


def likeness_vectors(
    factors: Float32Matrix, content: Float32Matrix, content_weight: float
) -> npt.NDArray[np.float32]:
    """Return vectors whose inner products are blended likeness: of rows with each other."""
    by_factors = np.float32(np.sqrt(1 - content_weight)) * unit_rows(factors)
    return concatenate(by_factors, np.float32(np.sqrt(content_weight)) * content)
