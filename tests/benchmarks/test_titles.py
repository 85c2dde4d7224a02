"""Finding titles beside comparing with all, on the sample."""

from pathlib import Path

from benchmarks import titles


def test_the_best_match_is_that_of_comparing_with_all(sample_store: Path) -> None:
    found = titles.measure(sample_store, 40, 20)
    assert found["names"] >= found["titles"] > 100
    assert found["search: CPU, ms"] > 0
    assert found["best match alike"] == 1
