"""Knows how a peer's program is waited for, and ended with all that it has started.

It refuses to know which program it is, and what is asked of it.
"""

import contextlib
import time
from collections.abc import Callable

import psutil

_START_TIMEOUT_S = 120.0


def wait_until(answers: Callable[[], object], what: str) -> None:
    """Call ``answers`` until it raises nothing.

    Raises
    ------
    TimeoutError
        If it never does.
    """
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        try:
            answers()
        except Exception as error:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what} did not start") from error
            time.sleep(0.2)
        else:
            return


def end(pid: int) -> None:
    """End a process and its children by their ids, at first politely."""
    try:
        process = psutil.Process(pid)
    except psutil.NoSuchProcess:
        return
    family = [*process.children(recursive=True), process]
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.terminate()
    _, alive = psutil.wait_procs(family, timeout=20)
    for member in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(alive, timeout=20)
