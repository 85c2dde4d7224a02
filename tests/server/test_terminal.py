"""What becomes of a server when the terminal it was started from is closed."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ilk import SimilarityClient
from server.cores import can_share_port

if TYPE_CHECKING:
    from tests.server.conftest import Start

pty = pytest.importorskip("pty", reason="there are no terminals here")
n_workers = pytest.mark.parametrize(
    "n_workers",
    ["1", pytest.param("2", marks=pytest.mark.skipif(not can_share_port(), reason="one port"))],
)


class Terminal:
    """A terminal; whoever executes ``take`` has it as his own."""

    def __init__(self) -> None:
        self._ours, theirs = pty.openpty()
        name = os.ttyname(theirs)
        os.close(theirs)
        self.take = f"import os, signal; os.setsid(); os.open({name!r}, os.O_RDWR)"

    def close(self) -> None:
        """Close it, once."""
        if self._ours >= 0:
            os.close(self._ours)
        self._ours = -1


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    opened = Terminal()
    yield opened
    opened.close()


@n_workers
def test_a_server_ends_with_its_terminal(
    start: "Start", sample_store: Path, terminal: Terminal, n_workers: str
) -> None:
    flags = ("--store", str(sample_store), "--port", "0", "--workers", n_workers)
    program = start(*flags, first=terminal.take)
    program.address()
    terminal.close()
    code, log = program.ended()
    assert (code, "Traceback" in log) == (0, False), log


@n_workers
def test_under_nohup_it_outlives_it(
    start: "Start", sample_store: Path, terminal: Terminal, n_workers: str
) -> None:
    nohup = f"{terminal.take}; signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    flags = ("--store", str(sample_store), "--port", "0", "--workers", n_workers)
    program = start(*flags, first=nohup)
    address = program.address()
    terminal.close()
    time.sleep(0.5)
    with SimilarityClient(address) as client:
        assert client.get_bundle().version
    assert program.process.poll() is None
