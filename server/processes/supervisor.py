"""Knows how worker processes are started, watched, restarted and ended.

It refuses to know calls and bundles. It never forks: a process that has searched cannot be (libgomp
hangs in the child), so each worker is a new interpreter. What takes that long to start has started
before it is needed: one more stands by, without orders.
"""

import contextlib
import dataclasses
import logging
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing import connection

from ilk.errors import IlkError, SettingsError
from ilk.program import exits
from server.access.limits import shared_memory
from server.address import address_of, reserved
from server.observability.exposition import Fleet
from server.observability.metrics import Counts
from server.processes.front import Front, shown
from server.processes.link import Failed, Orders, Report, give_orders, hear
from server.processes.pulse import BEAT_S
from server.processes.signals import heard, never, reap_orphans
from server.processes.slot import Slot, pause_s
from server.settings import ServerSettings

log = logging.getLogger("ilk.server")

# So many deaths in a row before any worker has served mean that none will.
_MAX_STILLBORN = 5
# How much longer than the grace a worker may take to end before it is killed.
_KILL_AFTER_S = 5.0
# How much longer than the grace one may serve nothing, unasked: it hangs, and its port takes callers.
_HANGS_AFTER_S = 30.0
# How long to wait where the system has no process, memory or file left for a worker.
_SHORT_OF_S = 2.0
_ENDING = (signal.SIGTERM, signal.SIGINT)
_HEEDED = (*_ENDING, signal.SIGHUP, signal.SIGCHLD)


class Supervisor:
    """Keeps the workers of one server running.

    Parameters
    ----------
    settings
        Of the server; ``workers`` says how many.
    is_closed
        Asked at SIGHUP whether it says that the terminal is closed, and so the same as SIGTERM.
    """

    def __init__(self, settings: ServerSettings, is_closed: Callable[[], bool] = never) -> None:
        self._settings = settings
        self._is_closed = is_closed
        self._slots = [Slot(number) for number in range(settings.workers)]
        self._spare = Slot()
        self._stopping = False
        self._announced = False
        self._retired = Counts()
        # What a worker counted stands in one place, whenever somebody looks.
        self._counting = threading.Lock()
        self._restarts = 0
        self._ledger = -1

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT.

        Raises
        ------
        SettingsError, IlkError
            If the workers cannot start; told once, whichever of them said so.
        """
        with (
            heard(_HEEDED) as signals,
            shown(self._settings, self._gather) as front,
            reserved(self._settings.host, self._settings.port) as port,
            # What callers have asked for outlives the workers they asked.
            shared_memory() as self._ledger,
        ):
            self._settings = dataclasses.replace(self._settings, port=port)
            try:
                while not self._stopping:
                    self._fill_slots()
                    self._wait(signals)
                    self._end_hanging()
                    self._show(front)
            finally:
                front.tell(serving=False)
                self._end_workers()

    def _show(self, front: Front) -> None:
        serving = [slot for slot in self._slots if slot.is_serving]
        if not self._announced and len(serving) == len(self._slots):
            self._announced = True
            front.announce(address_of(self._settings.host, self._settings.port), len(serving))
        front.tell(serving=bool(serving))

    def _gather(self) -> Fleet:
        """Return what all workers count; called from the threads of the metrics port."""
        with self._counting:
            reports = [(slot.number, slot.report) for slot in self._slots]
            retired = self._retired.copy()
        living = {number: report.snapshot for number, report in reports if report is not None}
        n_serving = sum(slot.is_serving for slot in self._slots)
        return Fleet(living, n_serving, retired, self._restarts)

    @property
    def _places(self) -> list[Slot]:
        return [*self._slots, self._spare]

    def _is_wanted(self, slot: Slot) -> bool:
        """Whether an empty place is to be filled, if not at once; the spare's when all serve."""
        return slot.process is None and (
            slot is not self._spare or all(other.is_serving for other in self._slots)
        )

    def _fill_slots(self) -> None:
        now_s = time.monotonic()
        for slot in self._places:
            if self._is_wanted(slot) and slot.restart_at_s <= now_s:
                if self._spare.process is None and not self._has_launched():
                    return
                if slot is not self._spare:
                    self._order(slot)

    def _has_launched(self) -> bool:
        """Start a process that stands by; where the system has none left, try again in a while."""
        try:
            self._launch()
        except OSError as error:
            if not self._announced:
                raise
            log.error("no worker can be started: %s; trying again in %.0f s", error, _SHORT_OF_S)
            later_s = time.monotonic() + _SHORT_OF_S
            for slot in filter(self._is_wanted, self._places):
                slot.restart_at_s = later_s
            return False
        return True

    def _launch(self) -> None:
        """Start a process that stands by."""
        ours, theirs = connection.Pipe()
        with theirs, contextlib.ExitStack() as unless_it_starts:
            unless_it_starts.enter_context(ours)
            self._spare.process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-m", "server.processes.worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno(), self._ledger],
                stdin=subprocess.DEVNULL,
                # A terminal's Ctrl-C is for the supervisor, who passes it on.
                start_new_session=True,
            )
            unless_it_starts.pop_all()
        self._spare.link = ours

    def _order(self, slot: Slot) -> None:
        """Have who stands by fill the place of a worker."""
        assert self._spare.link is not None
        slot.process, slot.link = self._spare.process, self._spare.link
        self._spare = Slot()
        sound = next((s.report.snapshot.version for s in self._slots if s.report), None)
        with contextlib.suppress(OSError):  # it died at once: its end is read like any other
            give_orders(slot.link, Orders(slot.number, self._settings, sound, self._ledger))

    def _wait(self, signals: socket.socket) -> None:
        """Wait for a signal, a word of a worker or the end of one, or until a restart is due.

        Not longer than workers are silent between two words: that one is frozen, nothing tells.
        """
        due_s = [slot.restart_at_s for slot in self._places if self._is_wanted(slot)]
        now_s = time.monotonic()
        timeout_s = max(0.0, min([*due_s, now_s + BEAT_S]) - now_s)
        links = {slot.link: slot for slot in self._places if slot.link is not None}
        for ready in connection.wait([signals, *links], timeout_s):
            if ready is signals:
                self._heed(signals)
            else:
                self._listen(links[ready])  # type: ignore[index]
        reap_orphans({s.process.pid for s in self._places if s.process is not None})

    def _heed(self, signals: socket.socket) -> None:
        for number in signals.recv(64):
            if number in _ENDING or (number == signal.SIGHUP and self._is_closed()):
                self._stopping = True
            elif number == signal.SIGHUP:
                self._signal_workers(signal.SIGHUP, [s for s in self._slots if s.report])

    def _listen(self, slot: Slot) -> None:
        assert slot.link is not None
        try:
            word = hear(slot.link)
        except (EOFError, OSError):
            self._bury(slot)
            return
        if isinstance(word, Report):
            slot.heard_at_s = time.monotonic()
            if slot.report is None:
                slot.served_since_s = slot.heard_at_s
            slot.report = word
        elif not self._announced:
            raise _refusal(word)
        else:
            log.error("%s cannot start: %s", slot, word.message)

    def _bury(self, slot: Slot) -> None:
        """Take note of a worker's end, and of when its place is to be filled again."""
        assert slot.process is not None
        assert slot.link is not None
        slot.link.close()
        code = slot.process.wait()
        with self._counting:
            if slot.report is not None:
                self._retired.add(slot.report.snapshot.counts)
            slot.empty(time.monotonic())
        if self._stopping:
            return
        self._restarts += slot is not self._spare
        log.error(
            "%s %s; restarting it in %.1f s",
            slot,
            f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}",
            pause_s(slot.falls),
        )
        if not self._announced and slot.falls >= _MAX_STILLBORN:
            raise IlkError(f"{slot} ended {slot.falls} times before it served a call")

    def _end_hanging(self) -> None:
        """Kill the workers that have served nothing for longer than a stop would have taken."""
        now_s = time.monotonic()
        for slot in self._slots:
            if slot.doubted_for_s(now_s) > self._settings.grace_s + _HANGS_AFTER_S:
                log.error("%s hangs; killing it", slot)
                assert slot.process is not None
                slot.process.kill()
                # The system may take its time over that.
                slot.doubted_at_s = now_s

    def _signal_workers(self, number: signal.Signals, slots: list[Slot] | None = None) -> None:
        for slot in self._places if slots is None else slots:
            if slot.process is not None:
                slot.process.send_signal(number)

    def _end_workers(self) -> None:
        """Let the workers finish their calls and end; kill those that do not."""
        self._stopping = True
        self._signal_workers(signal.SIGTERM)
        deadline_s = time.monotonic() + self._settings.grace_s + _KILL_AFTER_S
        killed = False
        while links := {slot.link: slot for slot in self._places if slot.link is not None}:
            # Who was killed is waited for, however long the system takes over it.
            left_s = None if killed else max(0.0, deadline_s - time.monotonic())
            ended = connection.wait(list(links), left_s)
            for ready in ended:
                with contextlib.suppress(IlkError):
                    self._listen(links[ready])  # type: ignore[index]
            if not ended:
                log.error("killing the workers that did not end")
                self._signal_workers(signal.SIGKILL)
                killed = True


def _refusal(word: Failed) -> IlkError:
    kind = SettingsError if word.exit_code == exits.USAGE else IlkError
    return kind(word.message)
