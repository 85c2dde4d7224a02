"""Knows how neighbors are told so that none of them stands out: in crowds, and with coarse scores.

It refuses to know who they are. Within a crowd, and among equal scores, the order is that of a hash of
the ids, which says nothing of who is nearer.
"""

from collections.abc import Sequence
from hashlib import blake2b
from itertools import groupby

from ilk.types import Neighbor

_NOTHING = 1e-6


def in_crowds(neighbors: Sequence[Neighbor], size: int) -> list[Neighbor]:
    """Return the neighbors in crowds of ``size``, each as near as its crowd is on average.

    Parameters
    ----------
    neighbors
        From the first place on, nearest first.
    size
        Of a crowd. Those at the end who are too few for one are left out.
    """
    told: list[Neighbor] = []
    for at in range(0, len(neighbors) - size + 1, size):
        crowd = sorted(neighbors[at : at + size], key=_shuffled)
        score = sum(n.score for n in crowd) / size
        collaborative = _mean([n.collaborative for n in crowd])
        content = _mean([n.content for n in crowd])
        told += [Neighbor(n.id, score, collaborative, content, score <= _NOTHING) for n in crowd]
    return told


def rounded(neighbors: Sequence[Neighbor], step: float, *, crowded: bool) -> list[Neighbor]:
    """Return the neighbors with scores and components that are multiples of ``step``.

    Parameters
    ----------
    neighbors
        In the order in which they are told.
    step
        Of the scores that are told.
    crowded
        Whether they are told in crowds. Else those that stand together and have equal scores are put in
        an order that does not tell them apart.
    """
    told = [
        n._replace(
            score=_round(n.score, step),
            collaborative=None if n.collaborative is None else _round(n.collaborative, step),
            content=None if n.content is None else _round(n.content, step),
        )
        for n in neighbors
    ]
    if crowded:
        return told
    alike = groupby(told, key=lambda n: n.score)
    return [neighbor for _, some in alike for neighbor in sorted(some, key=_shuffled)]


def _shuffled(neighbor: Neighbor) -> bytes:
    return blake2b(neighbor.id.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _round(value: float, step: float) -> float:
    return round(value / step) * step
