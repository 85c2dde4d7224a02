"""Knows how many rows are drawn from few fitted ones, so that they lie about as those do.

It refuses to know bundles. A smoothed bootstrap (Efron & Tibshirani, "An Introduction to the Bootstrap",
1993, section 16.4) whose kernel has the shape of the data: a row is drawn, moved by part of the
difference of two others, and brought back to its own length. Norms and the popularity they go with,
clusters and the number of dimensions that matter stay; no two rows are the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ilk.vectors import Float32Matrix, norms

Ints: TypeAlias = npt.NDArray[np.int64]

CHUNK_ROWS = 1 << 18
# How far a row is moved, against the distance of two: at 0.5 clusters are blurred and still there.
_MOVED = 0.5
_LENGTHS_VARY = 0.1
_COUNTS_VARY = 0.3


@dataclass(frozen=True, slots=True)
class Drawn:
    """Which fitted row each drawn one comes from, and how much is known of it.

    Attributes
    ----------
    origins
        Shape ``(n,)``, int64.
    n_positives
        Shape ``(n,)``, int64, falling.
    """

    origins: Ints
    n_positives: Ints

    @classmethod
    def draw(cls, n_positives: Ints, n: int, growth: float, rng: np.random.Generator) -> "Drawn":
        """Draw ``n`` rows, most known first.

        Parameters
        ----------
        n_positives
            Shape ``(n_fitted,)``: of the fitted rows.
        growth
            How many times as many a drawn row has.
        """
        origins = rng.integers(0, len(n_positives), n)
        counts = n_positives[origins] * growth * rng.lognormal(0, _COUNTS_VARY, n)
        order = np.argsort(-counts, kind="stable")
        return cls(origins[order], np.rint(counts[order]).astype(np.int64))

    def __len__(self) -> int:
        return len(self.origins)

    def chunks(self) -> Iterator[slice]:
        """Yield the rows a part at a time, as much as memory should hold of wide matrices."""
        for start in range(0, len(self), CHUNK_ROWS):
            yield slice(start, min(start + CHUNK_ROWS, len(self)))


def moved_rows(fitted: Float32Matrix, origins: Ints, rng: np.random.Generator) -> Float32Matrix:
    """Return one row for each origin, near it and of about its length; zero rows stay zero.

    Parameters
    ----------
    fitted
        Shape ``(n_fitted, dim)``.
    origins
        Shape ``(n,)``: rows of ``fitted``.

    Returns
    -------
    Float32Matrix
        Shape ``(n, dim)``.
    """
    own = fitted[origins]
    one, other = (fitted[rng.integers(0, len(fitted), len(origins))] for _ in range(2))
    moved: Float32Matrix = own + np.float32(_MOVED) * (one - other)
    wanted = norms(own) * rng.lognormal(0, _LENGTHS_VARY, len(own)).astype(np.float32)
    lengths = norms(moved)
    moved *= np.divide(wanted, lengths, out=np.zeros_like(lengths), where=lengths > 0)[:, None]
    return moved
