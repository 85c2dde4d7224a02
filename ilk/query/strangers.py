"""Knows how hard is searched for who asks otherwise than as a row: by a profile, examples or a text.

It refuses to know what a search is. Recall was measured of rows, and others lie elsewhere: who told three
ratings stands between the tastes that lists are made of, and who names one genre is more content, at any
content weight, than any row.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from ilk.ann import harder
from ilk.bundle import Bundle
from ilk.query.seeker import Seeker
from ilk.space import MOST_CONTENT, SpaceKey
from ilk.types import Target
from ilk.vectors import Float32Matrix

# So many times as hard as for rows (ADR 28).
HARDER: Final = 6
# From here on a profile that names a genre leaves codes little to tell its items apart by.
_MUCH_CONTENT: Final = 0.7
# What rows are made of is told by so many of them.
_SAMPLED: Final = 512


def stranger_effort(
    bundle: Bundle, seeker: Seeker, target: Target, content_weight: float, recall: float
) -> int | None:
    """Return the effort for one who is no row; None: comparing with all.

    That for rows which at a higher content weight are as much content, six times as hard.
    """
    key = SpaceKey(target, seeker.kind is target)
    space = bundle.spaces[key]
    as_much = _as_much_content(bundle, seeker, key, content_weight)
    if as_much > _MUCH_CONTENT and space.few_contend(as_much):
        # Of many items a great deal are as good by content, and codes do not tell those apart.
        return None
    as_much = max(content_weight, min(as_much, MOST_CONTENT))
    effort = space.effort(as_much, recall)
    if effort is None and not space.few_contend(as_much):
        effort = space.effort(content_weight, recall)
    if not effort:
        return effort
    return harder(effort, HARDER)


def _as_much_content(bundle: Bundle, seeker: Seeker, key: SpaceKey, content_weight: float) -> float:
    """Return the content weight at which rows are as much content as this is at the given one."""
    if content_weight in (0, 1):
        return content_weight
    usual = bundle.shares.get(key)
    if usual is None:
        bundle.shares[key] = usual = _usual_share(bundle, seeker.kind, key)
    own = _shares(seeker.content[None], seeker.collaborative[None]).item()
    odds = content_weight / (1 - content_weight) * own / usual
    return odds / (1 + odds) if odds < np.inf else 1.0


def _usual_share(bundle: Bundle, kind: Target, key: SpaceKey) -> float:
    side = bundle.side(kind)
    rows = np.linspace(0, len(side) - 1, min(_SAMPLED, len(side))).astype(np.int64)
    factors = side.directions if key.by_likeness else side.factors
    shares = _shares(side.content[rows], factors[rows])
    told = shares[(shares > 0) & (shares < np.inf)]
    return float(np.median(told)) if len(told) else 1.0


def _shares(content: Float32Matrix, factors: Float32Matrix) -> npt.NDArray[np.float64]:
    """Return how long the content of each row is for one of its factors; infinite where it has none."""
    lengths = np.linalg.norm(factors, axis=1).astype(np.float64)
    none = np.full(len(lengths), np.inf)
    shares: npt.NDArray[np.float64] = np.divide(
        np.linalg.norm(content, axis=1), lengths, out=none, where=lengths > 0
    )
    return shares
