"""The long runs of ``benchmarks.steadiness`` and ``benchmarks.overload``, short."""

from pathlib import Path

import pytest

from benchmarks import overload
from benchmarks.http2 import NOT_SENT
from benchmarks.steadiness import agreement, changes, ends, soak
from ilk.ann import IndexKind
from indexer.interactions import Interactions
from indexer.sample import load_sample
from server.cores import can_share_port

pytestmark = pytest.mark.skipif(not can_share_port(), reason="two workers need one port")


@pytest.fixture(scope="module")
def store(sample: Interactions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("versions")
    changes.publish_versions(sample, path)
    return path


def test_every_answer_is_right_for_its_version_while_bundles_change(store: Path) -> None:
    found = changes.measure(store, n_swaps=5, n_rollbacks=1)
    assert found["changes that both workers made"] >= 6
    assert found["answers that were right for their version"] > 0
    for failure in ("answers that were mixed", "answers that were wrong", "calls that failed"):
        assert found[failure] == 0, found


def test_what_was_begun_is_finished_when_the_server_stops(store: Path) -> None:
    found = ends.measure_stops(store, n_stops=1, load_s=0.2)
    assert found["stops that ended with exit code 0"] == 1
    assert found["calls that the server began"] > 100
    assert found["calls that the server began"] == found["answers that reached their callers"]
    assert found["of them not finished"] == found["calls that ended otherwise"] == 0, found


@pytest.mark.parametrize(("n_callers", "n_clients"), [(8, 8), (64, 2)])
def test_callers_do_not_notice_that_a_worker_fell(
    store: Path, n_callers: int, n_clients: int
) -> None:
    found = ends.measure_kills(store, 2, 0.5, n_callers, n_clients)
    assert found["share that succeeded"] >= 0.999, found
    assert found["answers that were wrong"] == 0


def test_many_callers_get_the_answers_that_one_gets() -> None:
    kinds = (IndexKind.FLAT, IndexKind.IVF_SQ)
    found = agreement.measure(load_sample(n_users=80), n_queries=60, n_rounds=2, kinds=kinds)
    differing = {name: n for name, n in found.items() if name.endswith("differ")}
    assert len(differing) == len(kinds)
    assert not any(differing.values())


def test_cancelled_and_invalid_calls_leave_nothing_open(store: Path) -> None:
    found = soak.measure(store, n_calls=2000, n_settling=1000)
    assert found["calls that ended as INVALID_ARGUMENT"] == 200
    assert found["calls that ended as OK"] >= 1600
    assert found["open files grown"] <= 0.05
    assert found["threads grown"] <= 0.05


def test_at_five_times_its_capacity_a_worker_answers_in_time_what_it_answers(store: Path) -> None:
    plan = overload.Plan("batch", multiples=(5,), duration_s=1.5, timeout_s=0.5, probe_s=0.4)
    capacity, (offered,) = overload.measure(store, plan)
    assert capacity > 0
    statuses = offered.outcome.statuses
    assert offered.outcome.goodput > 0.2 * capacity
    assert offered.outcome.quantile_s(0.99) <= plan.timeout_s
    assert statuses[NOT_SENT] > offered.outcome.n_due / 4
    told = {"OK", NOT_SENT, "RESOURCE_EXHAUSTED", "CANCELLED", "DEADLINE_EXCEEDED"}
    assert set(statuses) <= told
