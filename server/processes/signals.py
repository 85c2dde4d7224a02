"""Knows how a server hears of signals and of its terminal's end, and takes in the orphans of a container.

It refuses to know what signals mean to it.
"""

import contextlib
import os
import signal
import socket
from collections.abc import Iterator, Sequence


@contextlib.contextmanager
def heard(numbers: Sequence[signal.Signals]) -> Iterator[socket.socket]:
    """Yield a socket on which the numbers of signals arrive, a byte each."""
    reader, writer = socket.socketpair()
    with reader, writer:
        for end in (reader, writer):
            end.setblocking(False)
        before = signal.set_wakeup_fd(writer.fileno())
        handlers = {number: signal.signal(number, lambda *_: None) for number in numbers}
        try:
            yield reader
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(before)


def reap_orphans(workers: set[int]) -> None:
    """As process 1, take in the ends of processes whose parents are gone; not those of workers."""
    if os.getpid() != 1:
        return
    with contextlib.suppress(ChildProcessError):
        while True:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None or ended.si_pid in workers:
                return
            os.waitpid(ended.si_pid, os.WNOHANG)


class Terminal:
    """The terminal that a program was started from, if any: a SIGHUP may say that it is closed.

    Parameters
    ----------
    outlived
        Whether the program was told to outlive it, as ``nohup`` does: it was started to ignore SIGHUP.
    """

    def __init__(self, *, outlived: bool) -> None:
        self._matters = not outlived and _terminal_is_there()

    def is_closed(self) -> bool:
        """Return whether there was one that the program is to end with, and it is gone."""
        return self._matters and not _terminal_is_there()


def _terminal_is_there() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | getattr(os, "O_NOCTTY", 0)))
    except OSError:
        return False
    return True


def never() -> bool:
    """Return False: for a program that was started from no terminal."""
    return False
