"""Knows what an effort says in one number: how hard to search, and above that in which mode.

It refuses to know how many candidates a mode looks at; :class:`ilk.ann.IndexKind` does.
"""

from typing import Final

_MODE_BITS: Final = 16
_HARDEST: Final = (1 << _MODE_BITS) - 1
# Each way in which bundles were measured has so many modes: that of now, of formats up to 3, of 4.
_MODES: Final = 4
UP_TO_3, OF_4 = 1, 2


def effort_of(mode: int, how_hard: int) -> int:
    """Return the effort that searches so hard in a mode, or as hard as can be said."""
    return (mode << _MODE_BITS) + min(how_hard, _HARDEST)


def searched(effort: int) -> int:
    """Return how many lists an effort searches."""
    return effort & _HARDEST


def mode(effort: int) -> int:
    """Return how an effort searches: 0 but for IVFPQ2.

    Of that 0 is the first partition, 1 the second, and 2 and 3 the second with more candidates of each
    list.
    """
    return (effort >> _MODE_BITS) % _MODES


def measured_as(effort: int) -> int:
    """Return how the bundle of an effort was measured: 0 as now, else :data:`UP_TO_3` or :data:`OF_4`."""
    return (effort >> _MODE_BITS) // _MODES


def former(effort: int, bundles: int) -> int:
    """Return the effort that searches as one of the ``bundles`` of before did.

    Of those up to format 3, mode 1 of IVFPQ fetched no more candidates for more lists.
    """
    return effort if measured_as(effort) else effort + (bundles * _MODES << _MODE_BITS)


def harder(effort: int, times: int) -> int:
    """Return the effort that searches so many times as many lists in the same mode, or as can be."""
    more = min(times * searched(effort), _HARDEST)
    return (effort >> _MODE_BITS << _MODE_BITS) + more


def partition(effort: int, n_partitions: int) -> int:
    """Return in which partition an effort searches: the modes beyond are of the last."""
    return min(mode(effort), n_partitions - 1)
