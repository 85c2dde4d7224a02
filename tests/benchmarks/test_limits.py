"""A noisy caller beside a quiet one, for a moment: the noisy one is turned away, the quiet one never."""

import sys
from pathlib import Path

import pytest

from benchmarks.limits import Plan, measure, table


@pytest.mark.skipif(sys.platform != "linux", reason="pins processes to cores")
def test_only_the_noisy_are_turned_away(sample_store: Path) -> None:
    plan = Plan(rate=50, limit=20, multiple=10, n_rounds=1, duration_s=1)
    cost, (measured,) = measure(sample_store, plan)
    assert set(measured.alone.statuses) == set(measured.limited.statuses) == {"OK"}
    # Beside what it may ask, what is saved up for half a second.
    assert measured.noise["OK"] <= 2 * 20
    assert measured.noise["RESOURCE_EXHAUSTED"] > measured.noise["OK"]
    lines = table(cost, plan, [measured])
    assert any(line.startswith("beside it, limited") for line in lines)
