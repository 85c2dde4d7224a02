"""Exact answers beside comparing with all, on the sample."""

from pathlib import Path

from benchmarks import exact


def test_every_kind_of_query_is_answered_alike(sample_store: Path) -> None:
    found = exact.measure(sample_store, 5, seed=1)
    assert len(found) == len(exact.table(found)) == 12
    assert all(of.alike == 1 and of.ms > 0 for of in found)
