"""Knows what an effort says in one number: how hard to search, and above that in which mode.

It refuses to know what a mode does to a search; :class:`ilk.ann.IndexKind` does.
"""

from typing import Final

_MODE_BITS: Final = 16
_HARDEST: Final = (1 << _MODE_BITS) - 1


def effort_of(mode: int, how_hard: int) -> int:
    """Return the effort that searches so hard in a mode, or as hard as can be said."""
    return (mode << _MODE_BITS) + min(how_hard, _HARDEST)


def searched(effort: int) -> int:
    """Return how many lists an effort searches."""
    return effort & _HARDEST


def mode(effort: int) -> int:
    """Return how an effort searches: 0 but for IVFPQ and IVFPQ2.

    Of IVFPQ, 1 fetches no more candidates for more lists. Of IVFPQ2, 0 is its first partition, 1 its
    second, and 2 the second with more candidates of each list.
    """
    return effort >> _MODE_BITS


def partition(effort: int, n_partitions: int) -> int:
    """Return in which partition an effort searches: the modes beyond are of the last."""
    return min(mode(effort), n_partitions - 1)
