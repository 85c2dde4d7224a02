"""Several workers on one port: they start together, fall and come back alone, and end together."""

import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ilk import SimilarityClient
from ilk.bundle import Store
from ilk.errors import SettingsError, Unavailable
from ilk.types import ItemId, Query
from server.address import reserved
from server.cores import can_share_port, usable_cores
from server.observability.metrics import Counts, Snapshot
from server.processes.link import Report
from server.processes.pulse import SILENCE_S
from server.processes.slot import Slot, pause_s
from server.settings import ServerSettings

if TYPE_CHECKING:
    from tests.server.conftest import Program, Start

MATRIX = Query(ItemId("the-matrix-1999"), neighbor_count=3)
Wait = Callable[[Callable[[], bool]], None]

shared = pytest.mark.skipif(
    not can_share_port(), reason="only Linux deals out a port's connections"
)


def workers_of(program: "Program") -> list[int]:
    """Return the process ids of the workers of a server, in the order of their start."""
    return [pid for pid in children_of(program) if listens(pid)]


def children_of(program: "Program") -> list[int]:
    children = Path(f"/proc/{program.process.pid}/task/{program.process.pid}/children")
    return [int(pid) for pid in children.read_text().split()]


def listens(pid: int) -> bool:
    """Whether a process answers calls; the one that stands by does not."""
    try:
        return any(c.status == "LISTEN" for c in psutil.Process(pid).net_connections("tcp"))
    except psutil.NoSuchProcess:
        return False


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the latter between opening and reading
        return False


def two_workers(start: "Start", store: Path, *flags: str, first: str = "") -> "Program":
    return start("--store", str(store), "--port", "0", "--workers", "2", *flags, first=first)


def version_of_a_new_connection(address: str) -> str:
    with SimilarityClient(address) as client:
        return client.find_neighbors(MATRIX).bundle_version


@shared
def test_a_fallen_worker_is_restarted_and_the_other_goes_on_serving(
    start: "Start", sample_store: Path, wait_until: Wait
) -> None:
    program = two_workers(start, sample_store)
    address = program.address()
    before = workers_of(program)
    assert len(before) == 2
    os.kill(before[0], signal.SIGKILL)
    wait_until(lambda: "was ended by signal 9; restarting it in 0.1 s" in program.log.read_text())
    for _ in range(20):
        assert version_of_a_new_connection(address)
    # A worker has a bundle before it listens.
    wait_until(lambda: len(workers_of(program)) == 2)
    after = workers_of(program)
    assert program.log.read_text().count("serving bundle") == 3
    assert set(before) & set(after) == {before[1]}
    program.process.terminate()
    code, log = program.ended()
    assert (code, "Traceback" in log) == (0, False), log
    assert not any(map(is_alive, after))


@shared
def test_a_fallen_workers_place_is_taken_by_one_that_stood_by(
    start: "Start", sample_store: Path, wait_until: Wait
) -> None:
    program = two_workers(start, sample_store)
    program.address()
    workers = workers_of(program)
    wait_until(lambda: len(children_of(program)) == 3)
    (spare,) = set(children_of(program)) - set(workers)
    os.kill(workers[0], signal.SIGKILL)
    wait_until(lambda: set(workers_of(program)) == {spare, workers[1]})
    wait_until(lambda: len(children_of(program)) == 3)
    family = children_of(program)
    program.process.terminate()
    code, log = program.ended()
    assert (code, "spare" in log, "Traceback" in log) == (0, False, False), log
    assert not any(map(is_alive, family))


@shared
def test_who_stands_by_is_replaced_when_it_falls_and_counts_as_no_worker(
    start: "Start", sample_store: Path, wait_until: Wait
) -> None:
    program = two_workers(start, sample_store)
    program.address()
    workers = workers_of(program)
    wait_until(lambda: len(children_of(program)) == 3)
    (spare,) = set(children_of(program)) - set(workers)
    os.kill(spare, signal.SIGKILL)
    wait_until(lambda: not {spare} & set(children_of(program)) and len(children_of(program)) == 3)
    fall = "the spare worker was ended by signal 9; restarting it in 0.1 s"
    assert fall in program.log.read_text()
    assert workers_of(program) == workers
    program.process.kill()
    wait_until(lambda: not any(map(is_alive, workers)))


@shared
def test_sighup_makes_every_worker_look_for_a_new_bundle(
    start: "Start", store: Store, wait_until: Wait
) -> None:
    first, second = store.list_versions()
    program = two_workers(start, store.path, "--poll-interval-s", "3600")
    address = program.address()
    assert version_of_a_new_connection(address) == first
    store.point_current_at(second)
    program.process.send_signal(signal.SIGHUP)
    wait_until(lambda: program.log.read_text().count(f"serving bundle {second}") == 2)
    assert {version_of_a_new_connection(address) for _ in range(8)} == {second}


@shared
def test_a_restarted_worker_serves_what_the_others_do_where_the_current_bundle_is_unsound(
    start: "Start", store: Store, wait_until: Wait
) -> None:
    first, second = store.list_versions()
    program = two_workers(start, store.path, "--poll-interval-s", "0.05")
    address = program.address()
    (store.folder_of(second) / "gram.npy").unlink()
    store.point_current_at(second)
    wait_until(lambda: program.log.read_text().count("refused") == 2)
    os.kill(workers_of(program)[0], signal.SIGKILL)
    wait_until(lambda: program.log.read_text().count(f"serving bundle {first}") == 3)
    assert {version_of_a_new_connection(address) for _ in range(8)} == {first}


@shared
def test_workers_end_when_their_supervisor_is_killed(
    start: "Start", sample_store: Path, wait_until: Wait
) -> None:
    program = two_workers(start, sample_store, "--grace-s", "0.2")
    program.address()
    wait_until(lambda: len(children_of(program)) == 3)
    family = children_of(program)
    program.process.kill()
    wait_until(lambda: not any(map(is_alive, family)))
    assert "Traceback" not in program.log.read_text()


@shared
def test_workers_that_do_not_end_are_killed_once(start: "Start", sample_store: Path) -> None:
    program = two_workers(start, sample_store, "--grace-s", "0.1")
    program.address()
    frozen = workers_of(program)
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    program.process.terminate()
    code, log = program.ended()
    assert (code, log.count("killing the workers")) == (0, 1), log
    assert not any(map(is_alive, frozen))


@shared
def test_a_worker_that_hangs_is_replaced(
    start: "Start", sample_store: Path, wait_until: Wait
) -> None:
    hurried = "import server.processes.supervisor; server.processes.supervisor._HANGS_AFTER_S = 0.5"
    program = two_workers(start, sample_store, "--grace-s", "0.1", first=hurried)
    program.address()
    frozen, sound = workers_of(program)
    os.kill(frozen, signal.SIGSTOP)
    wait_until(lambda: "worker 0 hangs; killing it" in program.log.read_text())
    wait_until(lambda: len(set(workers_of(program)) - {frozen}) == 2)
    assert sound in workers_of(program)
    assert program.log.read_text().count("hangs") == 1


@shared
def test_where_no_process_can_be_started_the_others_serve_on(
    start: "Start", sample_store: Path, wait_until: Wait
) -> None:
    short = (
        "import errno, itertools, subprocess; import server.processes.supervisor as supervisor; "
        "supervisor._SHORT_OF_S = 0.2; really, n = subprocess.Popen, itertools.count(); "
        "refuse = lambda: os.close(-1); import os; "
        # Two workers and the spare begin; then there are no processes left, twice.
        "subprocess.Popen = lambda *args, **more: "
        "refuse() if next(n) in (3, 4) else really(*args, **more)"
    )
    program = two_workers(start, sample_store, first=short)
    address = program.address()
    wait_until(lambda: len(children_of(program)) == 3)
    os.kill(workers_of(program)[0], signal.SIGKILL)
    wait_until(lambda: program.log.read_text().count("no worker can be started") == 2)
    with SimilarityClient(address) as client:
        assert client.get_bundle()
    wait_until(lambda: len(children_of(program)) == 3)
    program.process.terminate()
    assert program.ended()[0] == 0


@pytest.mark.parametrize("n_workers", ["1", pytest.param("2", marks=shared)])
def test_what_peers_say_as_they_leave_is_in_no_log(
    start: "Start", sample_store: Path, n_workers: str
) -> None:
    program = start("--store", str(sample_store), "--port", "0", "--workers", n_workers)
    host, _, port = program.address().rpartition(":")
    said = b"user 42 likes Alien"
    goaway = b"\0" * 7 + b"\x0b" + said
    with socket.create_connection((host, int(port)), timeout=1) as peer:
        peer.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04" + b"\0" * 5)
        peer.sendall(len(goaway).to_bytes(3, "big") + b"\x07" + b"\0" * 5 + goaway)
        with contextlib.suppress(TimeoutError):
            while peer.recv(4096):
                pass
    program.process.terminate()
    code, log = program.ended()
    assert code == 0
    assert "Alien" not in log


@shared
def test_why_no_worker_can_start_is_told_once(start: "Start", tmp_path: Path) -> None:
    code, log = two_workers(start, tmp_path / "nowhere").ended()
    assert code == 3
    assert log.count("nowhere holds no published bundle") == 1
    assert "Traceback" not in log


@shared
def test_a_port_that_others_share_is_taken_all_the_same(start: "Start", sample_store: Path) -> None:
    address = two_workers(start, sample_store).address()
    port = address.rpartition(":")[2]
    code, log = start("--store", str(sample_store), "--port", port, "--workers", "2").ended()
    assert code == 2
    assert f"cannot listen on {address}: is another server there?" in log
    assert "Traceback" not in log


@shared
def test_a_reserved_port_takes_no_connections_and_is_let_go() -> None:
    with reserved("127.0.0.1", 0) as port:
        with (
            SimilarityClient(f"127.0.0.1:{port}") as client,
            pytest.raises(Unavailable),
        ):
            client.get_bundle()
        with pytest.raises(SettingsError, match=f"127.0.0.1:{port}"), reserved("127.0.0.1", port):
            pass
    with reserved("127.0.0.1", port) as again:
        assert again == port


@shared
def test_an_address_that_is_not_ours_cannot_be_reserved() -> None:
    with pytest.raises(SettingsError, match=r"192\.0\.2\.1"), reserved("192.0.2.1", 0):
        pass


@given(st.integers(1, 10_000))
def test_pauses_grow_with_each_fall_up_to_half_a_minute(falls: int) -> None:
    assert 0.1 <= pause_s(falls) <= pause_s(falls + 1) <= 30
    assert pause_s(falls + 1) <= 2 * pause_s(falls)


def test_a_worker_that_has_served_for_a_while_is_back_after_the_shortest_pause() -> None:
    report = Report(serving=True, snapshot=Snapshot(Counts(), 0, 0.0, 0, "v1", 0.0, 0.0, None))
    for served_s, falls in ((0.5, 6), (60.0, 1)):
        slot = Slot(0, report=report, served_since_s=100.0, falls=5)
        slot.empty(100.0 + served_s)
        assert (slot.falls, slot.report) == (falls, None)
        assert slot.restart_at_s == pytest.approx(100.0 + served_s + pause_s(falls))


def test_a_worker_is_doubted_from_when_it_was_first_seen_to_be_silent() -> None:
    report = Report(serving=True, snapshot=Snapshot(Counts(), 0, 0.0, 0, "v1", 0.0, 0.0, None))
    now_s = time.monotonic()
    assert Slot(0).doubted_for_s(now_s) == 0.0
    # As after a pause of the whole machine: it may well speak in a moment.
    slot = Slot(0, report=report, heard_at_s=now_s - 3600)
    assert slot.doubted_for_s(now_s) == 0.0
    assert slot.doubted_for_s(now_s + 7) == 7.0
    slot.heard_at_s = time.monotonic()
    assert slot.doubted_for_s(now_s + 8) == 0.0
    slot.heard_at_s = now_s - 3600
    assert slot.doubted_for_s(now_s + 9) == 0.0
    assert slot.doubted_for_s(now_s + 10) == 1.0


def test_a_worker_that_fell_silent_does_not_count_as_serving() -> None:
    report = Report(serving=True, snapshot=Snapshot(Counts(), 0, 0.0, 0, "v1", 0.0, 0.0, None))
    for silent_s, serves in ((0.0, True), (SILENCE_S + 1, False)):
        slot = Slot(0, report=report, heard_at_s=time.monotonic() - silent_s)
        assert slot.is_serving == serves


QUOTAS = {
    "no limit": ("max 100000", None),
    "no such file": (None, None),
    "a core": ("100000 100000", 1),
    "half a core": ("50000 100000", 1),
    "more than there are": ("10000000000 100000", None),
    "scrambled": ("what", None),
}


@pytest.mark.parametrize(("quota", "expected"), QUOTAS.values(), ids=QUOTAS)
def test_a_containers_quota_limits_the_cores(
    tmp_path: Path, quota: str | None, expected: int | None
) -> None:
    file = tmp_path / "cpu.max"
    if quota is not None:
        file.write_text(quota)
    unlimited = usable_cores(tmp_path / "nowhere")
    assert unlimited >= 1
    assert usable_cores(file) == (unlimited if expected is None else expected)


def test_several_workers_are_refused_where_a_port_cannot_be_shared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert ServerSettings().workers == 1
    with pytest.raises(SettingsError, match="--workers 2: this system"):
        ServerSettings(workers=2)
