"""What is measured of an index: of the well known and of others, and finer where queries ask."""

from itertools import pairwise

import numpy as np
import pytest

from ilk.ann import IndexKind, IndexSpec
from ilk.bundle.manifest import IndexRecord
from ilk.space import SpaceKey, n_well_known
from ilk.types import Target
from ilk.vectors import Float32Matrix, unit_rows
from indexer.indexing.bench import Bench
from indexer.indexing.indices import build_index
from indexer.indexing.measuring import measure
from indexer.settings import BuildSettings

N_ROWS, TARGET = 4_000, 0.97
KEY = SpaceKey(Target.ITEMS, by_likeness=True)
SETTINGS = BuildSettings(index=IndexKind.IVF, recall_target=TARGET, evaluate=False)


@pytest.fixture(scope="module")
def parts() -> tuple[Float32Matrix, Float32Matrix]:
    """Factors of which the first tenth are near others, and the rest are anywhere; little content."""
    rng = np.random.default_rng(11)
    factors = rng.standard_normal((N_ROWS, 12), dtype=np.float32)
    n_known = n_well_known(N_ROWS)
    around = rng.standard_normal((20, 12), dtype=np.float32)
    near = around[rng.integers(20, size=n_known)]
    factors[:n_known] = near + 0.1 * rng.standard_normal((n_known, 12), dtype=np.float32)
    return unit_rows(factors), unit_rows(rng.random((N_ROWS, 3), dtype=np.float32))


@pytest.fixture(scope="module")
def record(parts: tuple[Float32Matrix, Float32Matrix]) -> IndexRecord:
    _, record, _ = build_index(KEY, *parts, parts, SETTINGS)
    return record


def test_recall_is_told_of_the_well_known_and_of_others_and_the_worse_of_all(
    record: IndexRecord,
) -> None:
    for row in record.recall:
        assert row.by_sort == (row.well_known_at_10, row.others_at_10)
        assert row.recall_at_10 == min(row.by_sort)
    least = next(row for row in record.recall if row.content_weight == 0.1)
    well_known, others = least.by_sort
    assert well_known > others + 0.1


def test_efforts_are_measured_midway_where_a_step_reaches_what_is_asked(
    record: IndexRecord,
) -> None:
    grid = IndexSpec(IndexKind.IVF).efforts(N_ROWS)
    told = zip(record.recall, record.costs_us, strict=True)
    costs_us = {(row.effort, row.content_weight): cost_us for row, cost_us in told}
    n_midway = 0
    for weight in {row.content_weight for row in record.recall}:
        here = sorted(
            (row for row in record.recall if row.content_weight == weight), key=lambda r: r.effort
        )
        efforts = [row.effort for row in here]
        assert len(set(efforts)) == len(efforts)
        expected = {
            (low.effort + high.effort) // 2
            for low, high in pairwise([row for row in here if row.effort in grid])
            if costs_us[high.effort, weight] > 1.2 * costs_us[low.effort, weight]
            and any(
                before < asked <= after
                for asked in (0.95, TARGET, 0.98)
                for before, after in zip(low.by_sort, high.by_sort, strict=True)
            )
        }
        assert set(efforts) - set(grid) == expected - set(grid)
        n_midway += len(expected)
    assert n_midway > 3


def test_a_usual_query_costs_what_the_well_known_and_others_need_on_average(
    parts: tuple[Float32Matrix, Float32Matrix],
) -> None:
    found = measure(Bench.of(KEY, *parts, parts, SETTINGS), IndexSpec(IndexKind.IVF), np.inf)
    told = list(zip(found.record.recall, found.record.costs_us, strict=True))
    of_well_known, of_others = (
        min(cost_us for row, cost_us in told if row.by_sort[at] >= TARGET) for at in range(2)
    )
    assert of_well_known < of_others
    assert found.cost_us == (of_well_known + of_others) / 2


def test_half_of_those_who_are_asked_for_are_well_known(
    parts: tuple[Float32Matrix, Float32Matrix],
) -> None:
    bench = Bench.of(KEY, *parts, parts, SETTINGS)
    known = {row.tobytes() for row in parts[0][: n_well_known(N_ROWS)]}
    asked = [row.tobytes() in known for row in bench.asking[0]]
    assert asked == [True] * 100 + [False] * 100
    assert bench.n_well_known == 100


@pytest.mark.parametrize(("n_rows", "n_known"), [(5, 0), (150, 15), (260, 26)])
def test_where_few_may_ask_all_do_or_all_the_well_known(
    n_rows: int, n_known: int, parts: tuple[Float32Matrix, Float32Matrix]
) -> None:
    few = parts[0][:n_rows], parts[1][:n_rows]
    bench = Bench.of(KEY, *few, few, SETTINGS)
    assert len(bench.asking[0]) == min(n_rows, 200)
    assert bench.n_well_known == n_known
