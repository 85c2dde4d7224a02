"""What is counted, that sums never fall, and that it is put before Prometheus as it reads it."""

import os
import pickle
import signal
import socket
import struct
import sys
import time
import urllib.request
from collections.abc import Callable
from itertools import count
from multiprocessing import Pipe
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import MagicMock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from ilk import SimilarityClient
from ilk.client.wire.requests import query_request
from ilk.errors import NotFound, SettingsError
from ilk.types import EXACT, ItemId, Neighbor, Neighbors, Query, Text, UserId
from server.bundles.answers import Question
from server.bundles.live import Live, Served
from server.bundles.shadow import Shadow, hits_and_places
from server.cores import can_share_port
from server.observability.exposition import Fleet, metrics_port
from server.observability.metrics import BOUNDS_S, Counts, Histogram, Snapshot, resident_bytes
from server.processes.link import Report
from server.processes.slot import Slot
from server.processes.supervisor import Supervisor
from server.settings import ServerSettings

if TYPE_CHECKING:
    from tests.server.conftest import Program, Start
from tests.server.test_workers import is_alive, workers_of

MATRIX = Query(ItemId("the-matrix-1999"))
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
Wait = Callable[[Callable[[], bool]], None]
durations = st.lists(st.floats(0, 100, allow_nan=False), max_size=30)


def read(port: int) -> Samples:
    """Return each sample by name and labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as told:
        families = text_string_to_metric_families(told.read().decode())
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in families
            for sample in family.samples
        }


def get(samples: Samples, name: str, **labels: str) -> float:
    return samples.get((name, tuple(sorted(labels.items()))), 0.0)


@given(durations)
def test_a_histogram_counts_each_duration_once_in_its_place(taken: list[float]) -> None:
    histogram = Histogram()
    for duration_s in taken:
        histogram.observe(duration_s)
    assert sum(histogram.counts) == len(taken)
    assert histogram.total_s == pytest.approx(sum(taken))
    for place, bound in enumerate(BOUNDS_S):
        assert sum(histogram.counts[: place + 1]) == sum(d <= bound for d in taken)


@given(durations, durations)
def test_counts_add_up(of_one: list[float], of_other: list[float]) -> None:
    one, other, both = Counts(), Counts(), Counts()
    for counts, taken in ((one, of_one), (other, of_other)):
        for duration_s in taken:
            for of in (counts, both):
                of.of("M", "item").latency.observe(duration_s)
                of.of("M", "item").statuses["OK"] += 1
                of.shed["queue"] += 1
                of.swaps += 1
    total = one.copy()
    total.add(other)
    for histogram in (total.of("M", "item").latency, both.of("M", "item").latency):
        histogram.total_s = round(histogram.total_s, 6)
    assert total == both


def test_a_copy_does_not_change_with_its_original() -> None:
    counts = Counts()
    counts.of("M", "item").statuses["OK"] += 1
    copied = counts.copy()
    before = pickle.dumps(copied)
    counts.of("M", "item").statuses["OK"] += 1
    counts.of("M", "item").latency.observe(1)
    counts.shed["queue"] += 1
    assert pickle.dumps(copied) == before


def test_resident_memory_is_told_in_bytes() -> None:
    assert 10 << 20 < resident_bytes() < 100 << 30


@pytest.mark.skipif(sys.platform == "win32", reason="has no such limit")
def test_a_process_that_has_run_out_of_files_still_tells_how_it_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import resource

    # Nothing more can be imported then.
    monkeypatch.setitem(sys.modules, "resource", None)
    resident_bytes()
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        told = resident_bytes()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert 10 << 20 < told < 100 << 30


def test_a_taken_metrics_port_is_a_settings_error() -> None:
    with (
        metrics_port("127.0.0.1", 0, Fleet) as port,
        pytest.raises(SettingsError, match=f"127.0.0.1:{port}"),
        metrics_port("127.0.0.1", port, Fleet),
    ):
        pass


def test_a_connection_that_breaks_off_leaves_nothing_in_the_log(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with metrics_port("127.0.0.1", 0, Fleet) as port:
        assert port is not None
        for sent in (b"", b"GET /metrics HTTP/1.1\r\nHost"):
            with socket.create_connection(("127.0.0.1", port)) as broken:
                broken.sendall(sent)
                # Closed by a reset, as many a probe does.
                broken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert get(read(port), "ilk_workers") == 0
    assert capfd.readouterr().err == caplog.text == ""


def test_a_fleet_is_told_whole() -> None:
    def worker(n_calls: int, version: str) -> Snapshot:
        counts = Counts()
        counts.of("FindNeighbors", "item").statuses["OK"] = n_calls
        return Snapshot(counts, 3, 0.25, 1 << 20, version, 1.0, 2.0)

    retired = Counts()
    retired.of("FindNeighbors", "item").statuses["OK"] = 100
    fleet = Fleet({0: worker(1, "a"), 1: worker(10, "b")}, 1, retired, 7)
    with metrics_port("127.0.0.1", 0, lambda: fleet) as port:
        assert port is not None
        samples = read(port)
    assert get(samples, "ilk_calls_total", method="FindNeighbors", code="OK") == 111
    assert get(samples, "ilk_workers") == 1
    assert get(samples, "ilk_worker_restarts_total") == 7
    assert get(samples, "ilk_bundle_info", version="a") == 1
    for worker_number in "01":
        assert get(samples, "ilk_in_flight", worker=worker_number) == 3
        assert get(samples, "ilk_waiting_seconds", worker=worker_number) == 0.25


def test_what_a_fallen_worker_counted_is_told_once_whoever_looks_meanwhile() -> None:
    counts = Counts()
    counts.of("FindNeighbors", "item").statuses["OK"] = 100
    supervisor = Supervisor(ServerSettings(workers=1))
    ours, theirs = Pipe()
    process = MagicMock(**{"wait.return_value": 0})
    slot = Slot(0, process, ours, Report(True, Snapshot(counts, 0, 0.0, 0, "a", 1.0, 2.0)))
    supervisor._slots[0] = slot
    before = supervisor._gather()
    with theirs:
        supervisor._bury(slot)
    for fleet in (before, supervisor._gather()):
        told = Counts()
        for part in (fleet.retired, *(snapshot.counts for snapshot in fleet.living.values())):
            told.add(part)
        assert told == counts


@pytest.fixture
def metered(start: "Start", sample_store: Path) -> Callable[..., tuple["Program", int]]:
    """Start a server with a metrics port; return it and the port."""

    def started(*flags: str) -> tuple["Program", int]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        common = ("--store", str(sample_store), "--port", "0", "--metrics-port", str(port))
        return start(*common, *flags), port

    return started


@pytest.mark.parametrize(
    "n_workers",
    ["1", pytest.param("2", marks=pytest.mark.skipif(not can_share_port(), reason="Linux only"))],
)
def test_calls_are_counted_by_rpc_status_and_kind_of_query_over_all_workers(
    metered: Callable[..., tuple["Program", int]],
    user_id: str,
    wait_until: Wait,
    n_workers: str,
) -> None:
    program, port = metered("--workers", n_workers)
    address = program.address()
    for _ in range(8):
        with SimilarityClient(address) as client:
            client.find_neighbors(MATRIX)
            client.find_neighbors(Query(UserId(user_id), neighbor_count=3))
            client.batch_find_neighbors([MATRIX, Query(ItemId("nobody")), Query(Text("comedy"))])
            list(client.stream_find_neighbors([MATRIX] * 2))
            with pytest.raises(NotFound):
                client.find_neighbors(Query(ItemId("nobody")))

    def counted(name: str, **labels: str) -> float:
        return get(read(port), name, **labels)

    found = {"method": "FindNeighbors"}
    wait_until(lambda: counted("ilk_calls_total", code="OK", **found) == 16)
    samples = read(port)
    assert get(samples, "ilk_calls_total", code="NOT_FOUND", **found) == 8
    assert get(samples, "ilk_queries_total", kind="item", code="OK", **found) == 8
    assert get(samples, "ilk_queries_total", kind="user", code="OK", **found) == 8
    assert get(samples, "ilk_queries_total", kind="item", code="NOT_FOUND", **found) == 8
    assert get(samples, "ilk_call_seconds_count", **found) == 24
    # Each worker looks once, and then remembers.
    assert 1 <= get(samples, "ilk_search_seconds_count", kind="item", **found) <= int(n_workers)
    assert get(samples, "ilk_neighbors_requested_total", kind="user", **found) == 24
    assert get(samples, "ilk_neighbors_returned_total", kind="user", **found) == 24
    batch = {"method": "BatchFindNeighbors"}
    assert get(samples, "ilk_calls_total", code="OK", **batch) == 8
    assert get(samples, "ilk_queries_total", kind="item", code="OK", **batch) == 8
    assert get(samples, "ilk_queries_total", kind="text", code="OK", **batch) == 8
    assert get(samples, "ilk_queries_total", kind="item", code="NOT_FOUND", **batch) == 8
    stream = {"method": "StreamFindNeighbors"}
    assert get(samples, "ilk_queries_total", kind="item", code="OK", **stream) == 16
    assert get(samples, "ilk_call_seconds_count", **stream) == 16
    assert get(samples, "ilk_workers") == int(n_workers)
    assert get(samples, "ilk_memory_bytes", worker="0") > 10 << 20
    since_s = get(samples, "ilk_bundle_live_timestamp_seconds", worker="0")
    assert get(samples, "ilk_bundle_created_timestamp_seconds", worker="0") < since_s < time.time()


@pytest.mark.skipif(not can_share_port(), reason="only Linux deals out a port's connections")
def test_sums_do_not_fall_when_a_worker_does(
    metered: Callable[..., tuple["Program", int]], wait_until: Wait
) -> None:
    program, port = metered("--workers", "2")
    address = program.address()
    for _ in range(10):
        with SimilarityClient(address) as client:
            client.find_neighbors(MATRIX)

    def answered() -> float:
        return get(read(port), "ilk_calls_total", method="FindNeighbors", code="OK")

    wait_until(lambda: answered() == 10)
    fallen = workers_of(program)
    for pid in fallen:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(map(is_alive, fallen)))
    # Until their fall is noticed, the fallen are counted as workers.
    wait_until(lambda: get(read(port), "ilk_worker_restarts_total") == 2)
    wait_until(lambda: get(read(port), "ilk_workers") == 2)
    assert answered() == 10


def a_list(*scores: float) -> Neighbors:
    return Neighbors([Neighbor(str(n), s) for n, s in enumerate(scores)], "v", 0.5)


@pytest.mark.parametrize(
    ("found", "exact", "expected"),
    [
        (a_list(0.9, 0.8), a_list(0.9, 0.8), (2, 2)),
        (a_list(0.9, 0.7), a_list(0.9, 0.8), (1, 2)),
        (a_list(0.5, 0.4), a_list(0.9, 0.8), (0, 2)),
        (a_list(0.9), a_list(0.9, 0.8), (1, 2)),
        # A tie with the last place is no miss, nor is rounding.
        (a_list(0.8, 0.8), a_list(0.9, 0.8), (2, 2)),
        (a_list(0.9, 0.8 - 1e-7), a_list(0.9, 0.8), (2, 2)),
    ],
)
def test_live_recall_is_the_share_of_places_that_are_right(
    found: Neighbors, exact: Neighbors, expected: tuple[int, int]
) -> None:
    assert hits_and_places(found, exact) == expected


def answered(served: Served, query: Query) -> Question:
    question = served.answers.question(query_request(query).SerializeToString())
    served.answers.find(question)
    return question


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_a_share_of_real_queries_is_asked_again_exactly(sample_store: Path, share: float) -> None:
    live, counts = Live(sample_store, 3600), Counts()
    live.start()
    shadow = Shadow(share, counts, seed=1, most_of_a_core=1)
    try:
        served = live.get()
        question = answered(served, MATRIX)
        n_looks = 300
        for _ in range(n_looks):
            shadow.look(served, question)
            while shadow.is_busy:
                time.sleep(0.001)
    finally:
        shadow.close()
        live.close()
    spread = 4 * (n_looks * share) ** 0.5 if share < 1 else 0
    assert abs(counts.shadowed - n_looks * share) <= spread
    assert counts.shadow_hits == counts.shadow_places == 10 * counts.shadowed


def test_threads_that_look_at_once_end_no_examination(sample_store: Path) -> None:
    """What two threads do to a number at once can take it past zero."""
    live, counts = Live(sample_store, 3600), Counts()
    live.start()
    shadow = Shadow(1.0, counts, most_of_a_core=1)
    try:
        question = answered(live.get(), MATRIX)
        shadow._until = -3
        shadow.look(live.get(), question)
    finally:
        shadow.close()
        live.close()
    assert counts.shadowed == 1


def test_examining_takes_no_more_of_a_core_than_it_may(
    sample_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each comparison takes 0.2 s; someone asks every 0.1 s.
    spent_s, now_s = count(0, 0.2), 0.0
    monkeypatch.setattr("server.bundles.shadow.thread_time", lambda: next(spent_s))
    monkeypatch.setattr("server.bundles.shadow.perf_counter", lambda: now_s)
    live, counts = Live(sample_store, 3600), Counts()
    live.start()
    shadow = Shadow(1.0, counts, most_of_a_core=0.02)
    try:
        served = live.get()
        question = answered(served, MATRIX)
        for _ in range(1000):
            shadow.look(served, question)
            while shadow.is_busy:
                time.sleep(0.0001)
            now_s += 0.1
    finally:
        shadow.close()
        live.close()
    # Of 100 s, it may take 2, and the rest after the last comparison is still to come.
    assert 0.2 * (counts.shadowed - 1) == pytest.approx(2, abs=0.1)


def test_what_cannot_be_wrong_or_is_ordered_otherwise_is_not_examined(sample_store: Path) -> None:
    live, counts = Live(sample_store, 3600), Counts()
    live.start()
    shadow = Shadow(1.0, counts)
    served = live.get()
    for query in (
        Query(MATRIX.whom, accuracy=EXACT),
        Query(MATRIX.whom, diversity=0.5),
        Query(MATRIX.whom, popularity_penalty=0.5),
    ):
        shadow.look(served, answered(served, query))
    shadow.close()
    live.close()
    assert counts.shadowed == 0


def test_a_silent_connection_to_the_metrics_port_is_hung_up_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("server.observability.exposition._SILENCE_S", 0.05)
    with metrics_port("127.0.0.1", 0, Fleet) as port:
        assert port is not None
        with socket.create_connection(("127.0.0.1", port), 30) as silent:
            silent.sendall(b"GET /metr")
            assert silent.recv(1) == b""
