"""Real servers on loopback, in this process and as programs, and ways to ask them."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from ilk import SimilarityClient
from ilk.bundle import Bundle, Store
from indexer.interactions import Interactions
from indexer.progress import Progress
from indexer.publishing import assemble_and_publish
from indexer.settings import BuildSettings
from server.processes.app import serving
from server.settings import ServerSettings
from server.wire.loop import CompletionLoop

SERVICE = "ilk.v1.SimilarityService"
REPOSITORY = Path(__file__).parents[2]
TIMEOUT_S = 30.0


class Answer(NamedTuple):
    """How a call ended; ``field`` is the one that its BadRequest detail names, if it has one."""

    code: str
    body: bytes = b""
    message: str = ""
    field: str = ""


Serve: TypeAlias = Callable[[ServerSettings], contextlib.AbstractContextManager[str]]
Ask: TypeAlias = Callable[[str, bytes], Answer]
Stream: TypeAlias = Callable[[list[bytes]], list[Answer]]


@pytest.fixture(scope="session")
def serve() -> Iterator[Serve]:
    """Run servers in a thread with an event loop of its own, each as long as its context lasts."""
    loop = CompletionLoop()
    thread = threading.Thread(target=loop.run_forever, name="servers")
    thread.start()

    @contextlib.contextmanager
    def served(settings: ServerSettings) -> Iterator[str]:
        context = serving(settings)
        entering = asyncio.run_coroutine_threadsafe(context.__aenter__(), loop)
        running = entering.result(TIMEOUT_S)
        try:
            yield f"{settings.host}:{running.port}"
        finally:
            leaving = context.__aexit__(None, None, None)
            asyncio.run_coroutine_threadsafe(leaving, loop).result(TIMEOUT_S)

    yield served
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture(scope="session")
def target(serve: Serve, sample_store: Path) -> Iterator[str]:
    """Yield the address of a server of the sample."""
    # It looks for no other bundle: tests of this process break what it would look with.
    settings = ServerSettings(
        sample_store, port=0, reflection=True, grace_s=0.5, poll_interval_s=3600
    )
    with serve(settings) as address:
        yield address


@pytest.fixture(scope="session")
def client(target: str) -> Iterator[SimilarityClient]:
    with SimilarityClient(target, timeout_s=TIMEOUT_S) as connected:
        yield connected


@pytest.fixture(scope="session")
def channel(target: str) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(target) as connected:
        yield connected


@pytest.fixture(scope="session")
def ask(channel: grpc.Channel) -> Ask:
    """Send bytes to an rpc as no client of ours would."""

    def put(rpc: str, data: bytes) -> Answer:
        call: Any = channel.unary_unary(f"/{SERVICE}/{rpc}")
        try:
            return Answer("OK", call(data, timeout=TIMEOUT_S))
        except grpc.RpcError as error:
            return ended(error)

    return put


@pytest.fixture(scope="session")
def stream(channel: grpc.Channel) -> Stream:
    """Send bytes as the messages of one stream; if it fails, that is the last answer."""

    def put(messages: list[bytes]) -> list[Answer]:
        call: Any = channel.stream_stream(f"/{SERVICE}/StreamFindNeighbors")
        answers: list[Answer] = []
        try:
            answers.extend(Answer("OK", body) for body in call(iter(messages), timeout=TIMEOUT_S))
        except grpc.RpcError as error:
            answers.append(ended(error))
        return answers

    return put


def ended(error: Any) -> Answer:
    """Return how a failed call ended, its details read as a caller would."""
    try:
        status = rpc_status.from_call(error)
    except ValueError:  # another status came to stand above the one that was sent
        status = None
    named = ""
    for detail in [] if status is None else status.details:
        bad_request = error_details_pb2.BadRequest()
        if detail.Unpack(bad_request):
            (violation,) = bad_request.field_violations
            assert violation.description in error.details()
            named = violation.field
    return Answer(error.code().name, message=error.details(), field=named)


@pytest.fixture(scope="session")
def user_id(bundle: Bundle) -> str:
    """Return the user of the sample with the first row."""
    return bundle.users.vocabulary.id_of(0)


@pytest.fixture(scope="session")
def item_id(bundle: Bundle) -> str:
    """Return the item of the sample with the first row."""
    return bundle.items.vocabulary.id_of(0)


@pytest.fixture(scope="session")
def two_versions(sample: Interactions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with two versions of the sample."""
    path = tmp_path_factory.mktemp("two")
    settings = BuildSettings(factors=8, iterations=2, evaluate=False)
    for seed in (1, 2):
        assemble_and_publish(sample, path, replace(settings, seed=seed), {}, Progress(quiet=True))
    return path


@pytest.fixture
def store(two_versions: Path, tmp_path: Path) -> Store:
    """Return a store of its own with two versions; the first in ``list_versions`` is the live one."""
    shutil.copytree(two_versions, tmp_path / "store")
    copied = Store(tmp_path / "store")
    copied.point_current_at(copied.list_versions()[0])
    return copied


@pytest.fixture(scope="session")
def wait_until() -> Callable[[Callable[[], bool]], None]:
    """Wait for something that another thread or process is about to bring about."""

    def wait(happened: Callable[[], bool]) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while not happened():
            assert time.monotonic() < deadline, "it never happened"
            time.sleep(0.01)

    return wait


@dataclass(frozen=True)
class Program:
    """``python -m server``, its stderr in ``log``."""

    process: "subprocess.Popen[bytes]"
    log: Path
    ready_file: Path

    def address(self) -> str:
        """Return HOST:PORT once the ready file names it."""
        deadline = time.monotonic() + TIMEOUT_S
        while not (self.ready_file.exists() and self.ready_file.read_text().endswith("\n")):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, f"never ready:\n{self.log.read_text()}"
            time.sleep(0.02)
        return self.ready_file.read_text().strip()

    def ended(self) -> tuple[int, str]:
        """Wait for the end; return the exit code and what was logged."""
        code = self.process.wait(TIMEOUT_S)
        return code, self.log.read_text()


Start: TypeAlias = Callable[..., Program]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start ``python -m server`` with flags and environment; what still runs at the end is killed.

    What is given as ``first`` is executed before it.
    """
    programs: list[Program] = []

    def started(*flags: str, first: str = "", **environment: str) -> Program:
        folder = tmp_path / f"program-{len(programs)}"
        folder.mkdir()
        log, ready_file = folder / "log", folder / "ready"
        own = {"PYTHONPATH": str(REPOSITORY), "ILK_SERVER_READY_FILE": str(ready_file)}
        begin = f"{first}; import runpy; runpy.run_module('server', run_name='__main__')"
        command = ["-c", begin] if first else ["-m", "server"]
        with log.open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, *command, *flags],
                cwd=folder,
                env={**os.environ, **own, **environment},
                stderr=stderr,
            )
        programs.append(Program(process, log, ready_file))
        return programs[-1]

    yield started
    for program in programs:
        program.process.kill()
        program.process.wait()
