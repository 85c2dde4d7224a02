"""Knows what an effort says in one number: how hard to search, and above that in which mode.

It refuses to know how many candidates a mode looks at; :class:`ilk.ann.IndexKind` does.
"""

from typing import Final

_MODE_BITS: Final = 16
_HARDEST: Final = (1 << _MODE_BITS) - 1
# Modes up to format 3 are told by this more.
FORMER: Final = 4


def effort_of(mode: int, how_hard: int) -> int:
    """Return the effort that searches so hard in a mode, or as hard as can be said."""
    return (mode << _MODE_BITS) + min(how_hard, _HARDEST)


def searched(effort: int) -> int:
    """Return how many lists an effort searches."""
    return effort & _HARDEST


def mode(effort: int) -> int:
    """Return how an effort searches: 0 but for IVFPQ2.

    Of that 0 is the first partition, 1 the second, and 2 and 3 the second with more candidates of each
    list. From :data:`FORMER` on, as bundles of before do.
    """
    return effort >> _MODE_BITS


def former(effort: int) -> int:
    """Return the effort that searches as one of a bundle up to format 3 did.

    Of IVFPQ, mode 1 fetched no more candidates for more lists. Of IVFPQ2, 0 was its first partition, 1
    its second, and 2 the second with more candidates of each list.
    """
    return effort + (FORMER << _MODE_BITS)


def partition(effort: int, n_partitions: int) -> int:
    """Return in which partition an effort searches: the modes beyond are of the last."""
    return min(mode(effort) % FORMER, n_partitions - 1)
