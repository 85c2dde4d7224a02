"""Every fsync, rename, open, mkdir and write of a publication fails in turn, or is the last it does.

``strace`` puts the faults in. A child of the nursery stops where its publication begins, strace takes
hold of it, and lets one call of one kind fail with EIO or ENOSPC, or kills the process there. A fault
counts only where the log shows that it befell the very call, and the very file, that it was meant for.
Afterwards a reader must find one whole version, old or new.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.faults.nursery import Ended, Job, Nursery
from benchmarks.faults.oracle import Seen, leftovers, see
from ilk.bundle import Store
from ilk.bundle.retention import clean_up
from ilk.errors import BundleError

# One name each, for strace counts calls by name; which there are depends on the machine.
CALLS = (
    "fsync",
    "rename",
    "renameat",
    "renameat2",
    "open",
    "openat",
    "mkdir",
    "mkdirat",
    "write",
    "unlink",
    "unlinkat",
    "rmdir",
)
FAULTS = ("kill", "EIO", "ENOSPC")
_STDERR = re.compile(r"\bwrite\(2<")
# A call and what it asks, without what came of it; and what differs from one run to the next.
_CALL = re.compile(r"(\w+\(.*?)\)? += ")
_PASSING = re.compile(r"(\.CURRENT\.)\d+")
_STOP_TIMEOUT_S = 30.0
# A run that was disturbed from outside may be made again so often.
_ATTEMPTS = 3


class NoTracer(Exception):
    """Why no faults can be put in here."""


@dataclass(frozen=True, slots=True)
class Point:
    """One call of one kind, counted from the beginning of the publication, and what befalls it.

    ``asked`` is the call with what it asks, the store's folder taken out.
    """

    call: str
    number: int
    fault: str
    asked: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it; ``violation`` is empty where a reader saw one whole version."""

    point: Point
    outcome: str
    violation: str


def find_points(nursery: Nursery, base: Path) -> dict[str, dict[int, str]]:
    """Return, by kind of call, number and words of each; those that write to stderr are left out."""
    counted: dict[str, dict[int, str]] = {}
    for call in CALLS:
        with _copy(base) as store:
            ended, calls = _traced(nursery, store, call, "")
        if ended.code:
            raise NoTracer(f"a publication ended with {ended.code} under strace: {ended.said}")
        counted[call] = {n: asked for n, asked in enumerate(calls, 1) if not _STDERR.search(asked)}
    return counted


def harm(nursery: Nursery, base: Path, point: Point) -> Result:
    """Let one publication suffer one fault, and look at what is left."""
    injection = "signal=KILL" if point.fault == "kill" else f"error={point.fault}"
    options = f"{injection}:when={point.number}"
    met = "nothing"
    for _ in range(_ATTEMPTS):
        with _copy(base) as store:
            before = see(store.path)
            ended, calls = _traced(nursery, store, point.call, options)
            met = calls[point.number - 1] if len(calls) >= point.number else f"{len(calls)} calls"
            if met == point.asked:
                return Result(point, _outcome(ended), _violation(store, before, ended, point))
    return Result(point, "did not fire", f"{point.asked} was to be met, and {met} was")


def require_strace() -> None:
    """Raise NoTracer if faults cannot be put in here."""
    if shutil.which("strace") is None:
        raise NoTracer("strace is not installed")
    probe = subprocess.run(
        ["strace", "-e", "inject=fsync:error=EIO", "true"], capture_output=True, check=False
    )
    if probe.returncode:
        raise NoTracer(f"strace cannot trace here: {probe.stderr.decode()[:200]}")


def base_store(nursery: Nursery, folder: Path) -> Path:
    """Return a store of three versions in ``folder``, the last of them live."""
    store = folder / "base"
    for number in range(1, 4):
        ended = nursery.run(Job(str(store), number % 3, f"v{number}"))
        if ended.code:
            raise RuntimeError(ended.said)
    return store


def sweep(nursery: Nursery, every: int, seed: int) -> Iterator[Result]:
    """Yield what comes of every fault at every ``every``-th point, in an order drawn by ``seed``."""
    with tempfile.TemporaryDirectory() as name:
        base = base_store(nursery, Path(name))
        points = [
            Point(call, number, fault, asked)
            for call, counted in find_points(nursery, base).items()
            for number, asked in counted.items()
            for fault in FAULTS
        ]
        order = np.random.default_rng(seed).permutation(len(points))
        for at in order[::every].tolist():
            yield harm(nursery, base, points[at])


def tally(results: list[Result]) -> dict[str, Counter[str]]:
    """Return outcomes by kind of call and fault."""
    by_kind: dict[str, Counter[str]] = {}
    for result in results:
        name = f"{result.point.call} {result.point.fault}"
        by_kind.setdefault(name, Counter())[result.outcome] += 1
    return by_kind


def _outcome(ended: Ended) -> str:
    if ended.code == -signal.SIGKILL:
        return "killed"
    if ended.code:
        return "refused"
    return "warned" if "not measured" in ended.said else "published"


def _violation(store: Store, before: Seen, ended: Ended, point: Point) -> str:
    try:
        after = see(store.path)
    except BundleError as error:
        return f"a reader is refused: {error}"
    if after.version not in (before.version, "new"):
        return f"{after.version} is live"
    if after.version == before.version and after.answers != before.answers:
        return "the old version answers otherwise than before"
    if after.version == "new" and after.answers == before.answers:
        return "the new version answers as the old one did"
    problem = _told_wrongly(after, ended, point)
    if problem:
        return problem
    with store.writing():
        clean_up(store)
    return f"left behind: {leftovers(store)}" if leftovers(store) else ""


def _told_wrongly(after: Seen, ended: Ended, point: Point) -> str:
    if ended.code == -signal.SIGKILL:
        return "" if point.fault == "kill" else "killed by what was no kill"
    if "Traceback" in ended.said:
        return f"a traceback was shown: {ended.said[-300:]}"
    if ended.code == 0 and after.version != "new":
        return "it ended well, and the old version is live"
    if ended.code and not ended.said.strip():
        return f"it ended with {ended.code} and said nothing"
    said_live = "new is live" in ended.said
    if ended.code and said_live != (after.version == "new"):
        return f"{after.version} is live, and it said: {ended.said.strip()}"
    return ""


def _traced(nursery: Nursery, store: Store, call: str, options: str) -> tuple[Ended, list[str]]:
    """Publish version ``new`` under strace; return how that ended, and the calls, one by one.

    Where a fault is put in, the list ends with the call that it befell, or is empty if it befell none.
    """
    log = store.path.parent / "strace.log"
    pid = nursery.start(Job(str(store.path), 1, "new", keep=1, stop_first=True))
    command = ["strace", "-y", "-p", str(pid), "-o", str(log), "-e", f"trace=?{call}"]
    if options:
        command += ["-e", f"inject=?{call}:{options}"]
    _await_stop(pid)
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    with tracer:
        assert tracer.stderr is not None
        told = tracer.stderr.readline()
        os.kill(pid, signal.SIGCONT)
        ended = nursery.wait()
    if "attached" not in told:
        raise NoTracer(f"strace cannot take hold of a process here: {told.strip()}")
    return ended, _calls(log.read_text(errors="replace"), store, harmed=bool(options))


def _calls(log: str, store: Store, *, harmed: bool) -> list[str]:
    calls: list[str] = []
    hit = 0
    for line in log.replace(str(store.path.parent), "").splitlines():
        if found := _CALL.match(line):
            calls.append(_PASSING.sub(r"\1", found[1]))
        if "(INJECTED)" in line or "+++ killed by SIGKILL" in line:
            hit = len(calls)
    return calls[:hit] if harmed else calls


def _await_stop(pid: int) -> None:
    status, deadline = Path(f"/proc/{pid}/status"), time.monotonic() + _STOP_TIMEOUT_S
    while "State:\tT" not in status.read_text():
        if time.monotonic() > deadline:
            raise NoTracer("a child did not stop before its publication")
        time.sleep(0.002)


@contextlib.contextmanager
def _copy(base: Path) -> Iterator[Store]:
    with tempfile.TemporaryDirectory() as name:
        yield Store(shutil.copytree(base, Path(name) / "store"))
