"""Knows which effort of an index was measured to find as much as is asked, at any blend.

It refuses to know vectors, and what a search at an effort does but for how many lists it opens.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

from ilk.ann import mode, searched
from ilk.types import MeasuredRecall

# The depths that recall is measured at.
SHALLOW, DEEPER = 10, 100
# Of an effort at a content weight: that weight, recall at 10, the worse of that and recall at 100,
# recall at 10 of the well known and of others, and what it costs.
_Found: TypeAlias = tuple[float, ...]
_AT_10: Final = {None: 1, True: 3, False: 4}
_AT_100: Final = 2
# Content weights and recalls are the callers' to choose: so many are remembered.
_MOST_REMEMBERED: Final = 1024


class Efforts:
    """What was measured of the efforts of one index.

    Parameters
    ----------
    recall
        By effort and content weight.
    costs_us
        What each of those rows costs; none where that is unknown, and the lists that are searched tell.
    """

    __slots__ = ("_measured", "_remembered")

    def __init__(self, recall: Sequence[MeasuredRecall], costs_us: Sequence[float] = ()) -> None:
        known = len(costs_us) == len(recall)
        self._measured = _by_effort(recall, costs_us if known else [0.0] * len(recall))
        self._remembered: dict[tuple[float, float, int], int | None] = {}

    def __iter__(self) -> Iterator[int]:
        """Yield every effort that was measured."""
        return (effort for effort, _ in self._measured)

    def least(
        self, content_weight: float, recall: float, n_wanted: int, *, well_known: bool | None
    ) -> int | None:
        """Return the cheapest effort measured to reach ``recall`` at a blend; None if none does.

        Between two measured blends the effort must reach the target at both, which is no promise where
        much changes between them (:meth:`ilk.space.Space.effort`). Up to 10 neighbors recall
        at 10 counts, for more that at 100 too: of those who are ``well_known``, or of those who are not;
        None: of whoever finds less.
        """
        column = _AT_10[well_known] if n_wanted <= SHALLOW else _AT_100
        sought = content_weight, recall, column
        effort = self._remembered.get(sought, -1)
        if effort == -1:
            effort = self._least(*sought)
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            self._remembered[sought] = effort
        return effort

    def _least(self, content_weight: float, recall: float, column: int) -> int | None:
        """Return the cheapest, of equal ones that which searches the fewest lists, of what holds."""
        held = (
            (cost_us, searched(effort), effort)
            for effort, measured in self._measured
            if (cost_us := _cost_where_held(measured, content_weight, recall, column)) is not None
        )
        return min(held, default=(0.0, 0, None))[-1]


def _by_effort(
    recall: Sequence[MeasuredRecall], costs_us: Sequence[float]
) -> tuple[tuple[int, tuple[_Found, ...]], ...]:
    """Return what was measured by effort.

    In each mode, a blend that more was not measured of keeps what it had.
    """
    by_effort: dict[int, dict[float, _Found]] = {}
    known: dict[int, dict[float, _Found]] = defaultdict(dict)
    told = zip(recall, costs_us, strict=True)
    for row, cost_us in sorted(told, key=lambda costed: costed[0].effort):
        worst, here = row.worst, known[mode(row.effort)]
        found = (row.content_weight, row.recall_at_10, worst, *row.by_sort, cost_us)
        here[row.content_weight] = found
        by_effort[row.effort] = dict(here)
    return tuple((effort, tuple(sorted(found.values()))) for effort, found in by_effort.items())


def _cost_where_held(
    measured: Sequence[_Found], weight: float, recall: float, column: int
) -> float | None:
    weights = [row[0] for row in measured]
    below, above = bisect_right(weights, weight) - 1, bisect_left(weights, weight)
    if below < 0 or above >= len(weights):
        return None
    around = measured[below], measured[above]
    if any(row[column] < recall for row in around):
        return None
    return max(row[-1] for row in around)
