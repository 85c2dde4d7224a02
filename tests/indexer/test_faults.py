"""Failing disks, dying processes, lying files: small runs of the bars in ``benchmarks/faults``."""

from collections.abc import Iterator
from itertools import islice

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from benchmarks.faults import damaged_bundles, full_disk, syscalls
from benchmarks.faults.kills import kill_often
from benchmarks.faults.nursery import Nursery
from benchmarks.faults.store_machine import StoreMachine

SEED = 7


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as running:
        yield running


def test_a_fault_at_any_call_of_a_publication_leaves_one_whole_version(nursery: Nursery) -> None:
    try:
        syscalls.require_strace()
        results = list(islice(syscalls.sweep(nursery, 1, SEED), 15))
    except syscalls.NoTracer as reason:
        pytest.skip(str(reason))
    assert [result for result in results if result.violation] == []
    assert {result.outcome for result in results} >= {"killed", "refused"}


def test_a_file_that_may_not_grow_leaves_current_as_it_was(nursery: Nursery) -> None:
    outcomes, violations = full_disk.limit(nursery, 6, SEED)
    assert violations == []
    assert outcomes["full"] > 0


def test_indexers_that_are_killed_change_no_answer(nursery: Nursery) -> None:
    counted = kill_often(nursery, 4, SEED)
    assert counted.violations == []
    assert sum(n for name, n in counted.outcomes.items() if name.startswith("killed")) > 0
    assert counted.n_answers > 20


def test_a_flipped_bit_is_seen_before_faiss_is_called(nursery: Nursery) -> None:
    came_of = damaged_bundles.flip_everywhere(nursery, 60, SEED)
    assert came_of["refused"] == came_of.total() == 60


def test_a_store_is_whole_whatever_is_done_to_it_in_whatever_order(nursery: Nursery) -> None:
    StoreMachine.nursery = nursery
    few = settings(
        max_examples=4,
        stateful_step_count=10,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(seed(SEED)(StoreMachine), settings=few)
