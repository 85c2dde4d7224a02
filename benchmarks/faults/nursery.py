"""Knows how indexers are made by the hundred, to be harmed: a process that is ready, and forks.

Run by itself, this module is that process. It has trained three bundles, of the same ratings with other
seeds, and for each line on stdin forks a child that publishes one of them, or runs a whole command of
the indexer, as ``python -m indexer`` would: what fails ends in a message and an exit code. OpenMP has
one thread here, for a pool of threads would not survive the fork.
"""

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, TypeAlias
from unittest import mock

from cyclopts import App

from examples.walkthrough import SETTINGS, five_users
from ilk.ann import use_threads
from ilk.bundle import Store
from ilk.bundle.contents import Arrays
from ilk.bundle.manifest import Manifest
from ilk.bundle.writer import Savable
from ilk.program import exits
from indexer import publishing
from indexer.__main__ import main as indexer_main
from indexer.acceptance.gate import GateSettings
from indexer.progress import Progress

Prepared: TypeAlias = tuple[Manifest, Arrays, Mapping[str, Savable]]

N_VARIANTS = 3
# Two children that do the same ask the same of the system, call by call: faults are put in by number.
_ALWAYS_THE_SAME = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
}
# What Python tells of before it asks the system: the moments at which a child may be harmed.
_EVENTS = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.scandir", "os.truncate")


@dataclass(frozen=True, slots=True)
class Job:
    """What a child does.

    Attributes
    ----------
    store
        Where it publishes.
    variant, version, keep
        Which bundle, under which name, and how many versions to keep.
    arguments
        A command of the indexer to run instead.
    stop_first
        Stop before the publication begins, for a tracer to take hold; SIGCONT lets it go on.
    harm, harm_at
        ``kill``, or the name of an error such as ``ENOSPC``, at the so-manieth thing it asks of the file
        system; empty for none.
    """

    store: str
    variant: int = 0
    version: str = ""
    keep: int = 3
    arguments: tuple[str, ...] = ()
    stop_first: bool = False
    harm: str = ""
    harm_at: int = 0


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended: its exit code, negative for a signal, and what it said on stderr."""

    code: int
    said: str


class Nursery:
    """A running nursery; a context manager."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="ilk-nursery-")
        self._said = Path(self._folder.name) / "stderr"
        self._process = subprocess.Popen(
            [sys.executable, "-m", __spec__.name, str(self._said)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **_ALWAYS_THE_SAME},
        )
        assert self._hear() == "ready"

    def __enter__(self) -> "Nursery":
        return self

    def __exit__(self, *_: object) -> None:
        self._stdin.close()
        self._process.wait()
        self._stdout.close()
        self._folder.cleanup()

    def start(self, job: Job) -> int:
        """Fork a child, and return its process id; :meth:`wait` must follow."""
        self._stdin.write(json.dumps(asdict(job)) + "\n")
        self._stdin.flush()
        return int(self._hear())

    def wait(self) -> Ended:
        """Return how the child ended."""
        code = int(self._hear())
        return Ended(code, self._said.read_text(encoding="utf-8", errors="replace"))

    def run(self, job: Job) -> Ended:
        """Let a child do ``job`` to its end."""
        self.start(job)
        return self.wait()

    @property
    def pid(self) -> int:
        """The process id of the nursery itself."""
        return self._process.pid

    @property
    def _stdin(self) -> IO[str]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def _stdout(self) -> IO[str]:
        assert self._process.stdout is not None
        return self._process.stdout

    def _hear(self) -> str:
        line = self._stdout.readline()
        if not line:
            raise RuntimeError("the nursery has died")
        return line.strip()


def kill_after(pid: int, delay_s: float) -> None:
    """Kill a child a little later; one that has ended already is left alone."""
    time.sleep(delay_s)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _prepare() -> list[Prepared]:
    """Return what training hands to publishing, for each variant."""
    prepared: list[Prepared] = []

    def keep(*handed: Any) -> str:
        _, manifest, arrays, indices, *_ = handed
        prepared.append((manifest, arrays, indices))
        return ""

    with mock.patch.object(publishing, "publish_checked", keep):
        for seed in range(N_VARIANTS):
            settings = replace(SETTINGS, seed=seed)
            publishing.assemble_and_publish(
                five_users(), Path("nowhere"), settings, {}, Progress(quiet=True)
            )
    return prepared


def _publish(job: Job, prepared: list[Prepared]) -> None:
    manifest, arrays, indices = prepared[job.variant]
    manifest = replace(manifest, version=job.version)
    asked = GateSettings(keep=job.keep, accept_drift=True)
    publishing.publish_checked(Store(Path(job.store)), manifest, arrays, indices, asked, seed=0)


def _child(job: Job, prepared: list[Prepared], said: Path) -> int:
    descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if job.stop_first:
        os.kill(os.getpid(), signal.SIGSTOP)
    if job.harm:
        sys.addaudithook(_Harm(job.harm, job.harm_at))
    if job.arguments:
        return indexer_main(job.arguments)
    app = App(version_flags=[])
    app.default(lambda: _publish(job, prepared))
    return exits.run(app, [])


class _Harm:
    """What is called by Python before it opens, renames, makes or removes."""

    def __init__(self, harm: str, at: int) -> None:
        self._harm, self._left = harm, at

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _EVENTS:
            return
        self._left -= 1
        if self._left:
            return
        if self._harm == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        number = getattr(errno, self._harm)
        raise OSError(number, os.strerror(number))


def _jobs() -> Iterator[Job]:
    for line in sys.stdin:
        values = json.loads(line)
        yield Job(**{**values, "arguments": tuple(values["arguments"])})


def main() -> None:
    """Fork a child for each job on stdin; say its process id, and later how it ended."""
    use_threads(1)
    said, prepared = Path(sys.argv[1]), _prepare()
    with tempfile.TemporaryDirectory() as folder:
        # Whatever is imported late is imported now.
        for version in ("one", "two"):
            _publish(Job(folder, 0, version), prepared)
    print("ready", flush=True)
    for job in _jobs():
        pid = os.fork()
        if not pid:
            code = exits.FAILURE
            try:
                code = _child(job, prepared, said)
            finally:
                sys.stderr.flush()
                os._exit(code)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
