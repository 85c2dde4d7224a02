"""Knows how a server to try things on is made: the embedded sample, built and served by our programs.

It refuses to know what is asked of it.
"""

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import grpc

from ilk.client.channel import past_proxies
from ilk.errors import IlkError

_START_TIMEOUT_S = 60.0


class NoServer(IlkError):
    """No server answers, or none could be started."""


def answers(
    target: str, credentials: grpc.ChannelCredentials | None = None, within_s: float = 1.0
) -> bool:
    """Whether something accepts connections at ``target``; with ``credentials``, by TLS."""
    with (
        grpc.insecure_channel(target, options=past_proxies(target))
        if credentials is None
        else grpc.secure_channel(target, credentials, options=past_proxies(target))
    ) as channel:
        try:
            grpc.channel_ready_future(channel).result(within_s)
        except grpc.FutureTimeoutError:
            return False
    return True


@contextlib.contextmanager
def sample_server() -> Iterator[str]:
    """Build the sample and serve it until the context ends; yield the address.

    Raises
    ------
    NoServer
        If a program fails; what it said is in the message.
    """
    with tempfile.TemporaryDirectory(prefix="ilk-load-") as folder:
        store = Path(folder) / "store"
        build = (
            "-m",
            "indexer",
            "build",
            "--sample",
            "--no-evaluate",
            "--quiet",
            "--store",
            str(store),
        )
        done = subprocess.run(
            [sys.executable, *build],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            raise NoServer(f"the sample could not be built:\n{done.stderr}")
        with served(store) as target:
            yield target


@contextlib.contextmanager
def served(store: Path, python: str = sys.executable) -> Iterator[str]:
    """Serve a store on a free loopback port until the context ends; yield the address.

    Parameters
    ----------
    python
        The Python that serves, with all that a server needs.

    Raises
    ------
    NoServer
        If the server does not start; what it said is in the message.
    """
    with tempfile.TemporaryDirectory(prefix="ilk-load-") as folder:
        ready, log = Path(folder) / "ready", Path(folder) / "log"
        serve = ("-m", "server", "--store", str(store), "--port", "0", "--ready-file", str(ready))
        with log.open("wb") as file:
            process = subprocess.Popen([python, *serve], stderr=file)
        try:
            yield _address(process, ready, log)
        finally:
            process.terminate()
            process.wait(timeout=_START_TIMEOUT_S)


def _address(process: "subprocess.Popen[bytes]", ready: Path, log: Path) -> str:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not (ready.exists() and ready.read_text().endswith("\n")):
        if process.poll() is not None or time.monotonic() > deadline:
            raise NoServer(f"the server did not start:\n{log.read_text()}")
        time.sleep(0.05)
    return ready.read_text().strip()
