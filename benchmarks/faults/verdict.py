"""Knows how the fault bars are judged, and how counts are shown.

It refuses to know what was counted.
"""

from collections import Counter
from collections.abc import Iterable

from ilk.errors import IlkError

SEED = 20261123


class Violated(IlkError):
    """A bar was not held."""


def counts(outcomes: Counter[str]) -> str:
    """Return counts by name for a line of output."""
    return ", ".join(f"{name} {count:,}" for name, count in sorted(outcomes.items()))


def judge(bar: str, n_tried: int, violations: Iterable[str]) -> None:
    """Say how many were tried, and raise :class:`Violated` if any violation is not empty."""
    found = [violation for violation in violations if violation]
    print(f"{bar}: {n_tried:,} tried, {len(found)} violations", flush=True)
    if found:
        raise Violated(f"{bar}: {Counter(found).most_common(3)}")
