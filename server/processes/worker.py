"""Knows the life of a worker: a server process that answers to a supervisor.

It refuses to know how it is watched. When the supervisor is gone, so is the worker.
"""

import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection

from ilk.errors import IlkError, SettingsError
from server.observability import logs
from server.processes import app
from server.processes.link import Failed, Report, take_orders, tell
from server.processes.pulse import BEAT_S

# How much longer than the grace a worker may live that its supervisor has left behind.
_ORPHAN_S = 5.0


class Reporter:
    """Tells the supervisor what the worker serves, and the worker when the supervisor is gone.

    Parameters
    ----------
    connection
        To the supervisor.
    grace_s
        How long the worker takes to stop.
    """

    def __init__(self, connection: Connection, grace_s: float) -> None:
        self._connection = connection
        self._grace_s = grace_s
        self._hurry = threading.Event()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, address: str, report: Callable[[], Report], stop: Callable[[], object]) -> None:
        """Report now and every second; call ``stop``, from another thread, if nobody listens."""
        tell(self._connection, report())
        arguments = (report, stop)
        self._thread = threading.Thread(target=self._watch, args=arguments, name="reporter")
        self._thread.start()

    def drain(self) -> None:
        """Report at once that no more calls are taken."""
        self._hurry.set()

    def end(self) -> None:
        """Report for the last time."""
        self._ended.set()
        self._hurry.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self, report: Callable[[], Report], stop: Callable[[], object]) -> None:
        try:
            while not self._ended.is_set():
                self._hurry.wait(BEAT_S)
                self._hurry.clear()
                # Nothing is ever sent this way: what can be read is the end.
                if self._connection.poll():
                    self._connection.recv_bytes()
                tell(self._connection, report())
        except (EOFError, OSError):
            stop()
            if not self._ended.wait(self._grace_s + _ORPHAN_S):
                os._exit(3)


def main(descriptor: int) -> int:
    """Serve as told over the socket ``descriptor``; return the exit code."""
    faulthandler.enable()
    # Until there is a bundle to look after, there is none to look for.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    connection = Connection(descriptor)
    try:
        orders = take_orders(connection)
    except (EOFError, OSError):  # it stood by for a supervisor that is gone
        return 0
    logs.configure(orders.settings.log_format, worker=orders.number)
    try:
        app.start(
            orders.settings,
            Reporter(connection, orders.settings.grace_s),
            fallback_version=orders.fallback_version,
            shared_port=True,
            ledger=orders.ledger,
        )
    except IlkError as error:
        # Imported late: with it comes the command line, which a worker that starts has no use for.
        from ilk.program import exits

        code = exits.USAGE if isinstance(error, SettingsError) else exits.FAILURE
        tell(connection, Failed(code, str(error)))
        return code
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
