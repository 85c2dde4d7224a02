"""Knows what a server shows beside its rpcs: the ready file, the health port, the metrics port.

It refuses to know whether one process serves or several.
"""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator

from ilk.errors import SettingsError
from server.address import address_of, remove_ready_file, write_ready_file
from server.observability.exposition import Fleet, Gather, metrics_port
from server.processes.health import HealthPort, health_port
from server.processes.link import Report
from server.processes.pulse import BEAT_S
from server.settings import ServerSettings

log = logging.getLogger("ilk.server")


class Front:
    """What is shown; made by :func:`shown`.

    Parameters
    ----------
    settings
        Of the server.
    health
        Its health port.
    """

    def __init__(self, settings: ServerSettings, health: HealthPort) -> None:
        self._settings = settings
        self._health = health
        self._announced = False

    def announce(self, address: str, n_workers: int) -> None:
        """Tell that the server answers; SettingsError if the ready file cannot be written."""
        several = f" with {n_workers} workers" if n_workers > 1 else ""
        log.info("listening on %s%s", address, several)
        self._health.tell(serving=True)
        if self._settings.ready_file is not None:
            self._announced = True
            write_ready_file(self._settings.ready_file, address)

    def take_back(self) -> None:
        """Tell nobody any more that the server answers."""
        if self._announced and self._settings.ready_file is not None:
            with contextlib.suppress(SettingsError):
                remove_ready_file(self._settings.ready_file)

    def tell(self, *, serving: bool) -> None:
        """Tell health checks whether the server serves."""
        self._health.tell(serving=serving)


@contextlib.contextmanager
def shown(settings: ServerSettings, gather: Gather) -> Iterator[Front]:
    """Open the health port and the metrics port, if there are to be any, until the context ends.

    A ready file is not there before the server is announced, nor after.

    Raises
    ------
    SettingsError
        If one of the ports cannot be listened on, or an old ready file cannot be removed.
    """
    if settings.ready_file is not None:
        remove_ready_file(settings.ready_file)
    with (
        health_port(settings.monitoring_host, settings.health_port) as health,
        metrics_port(settings.monitoring_host, settings.metrics_port, gather) as port,
    ):
        if health.port is not None:
            told = address_of(settings.monitoring_host, health.port)
            log.info("health checks on %s", told)
        if port is not None:
            log.info("metrics on http://%s/metrics", address_of(settings.monitoring_host, port))
        front = Front(settings, health)
        try:
            yield front
        finally:
            front.take_back()


class Alone:
    """A process that serves by itself, and so shows itself; a :class:`server.processes.app.Reporter`.

    Parameters
    ----------
    settings
        Of the server.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._open = contextlib.ExitStack()
        self._report: Callable[[], Report] | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="front")
        self._front = self._open.enter_context(shown(settings, self._gather))

    def begin(self, address: str, report: Callable[[], Report], stop: Callable[[], object]) -> None:
        """Tell that the server answers, as long as it does."""
        self._report = report
        self._front.announce(address, 1)
        self._thread.start()

    def drain(self) -> None:
        """Tell that it will not for much longer."""
        self._watch_no_more()
        self._front.tell(serving=False)

    def end(self) -> None:
        """Tell no more."""
        self._watch_no_more()
        self._open.close()

    def _gather(self) -> Fleet:
        if self._report is None:
            return Fleet()
        report = self._report()
        return Fleet({0: report.snapshot}, int(report.serving))

    def _watch(self) -> None:
        # An event loop that hangs cannot tell so itself.
        while not self._ended.wait(BEAT_S):
            assert self._report is not None
            self._front.tell(serving=self._report().serving)

    def _watch_no_more(self) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
