"""Knows when files have changed, and lets those be told who depend on them.

It refuses to know what is in them. What is refused is logged, and what was there before stays in force.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from ilk.errors import SettingsError
from server.observability.logs import cause_of

log = logging.getLogger("ilk.server")


class Watched:
    """Some files that are read together.

    Parameters
    ----------
    flags
        The flags that named them, for messages.
    paths
        The files.
    load
        Takes their bytes into use, in the order of ``paths``; raises SettingsError if it cannot.
    """

    def __init__(
        self, flags: str, paths: Sequence[Path], load: Callable[[Sequence[bytes]], object]
    ) -> None:
        self._flags = flags
        self._paths = paths
        self._load = load
        self._read: list[bytes] | None = None
        self._told = ""

    def start(self) -> None:
        """Take the files into use for the first time.

        Raises
        ------
        SettingsError
            If they cannot be read or used.
        """
        try:
            self._read = [path.read_bytes() for path in self._paths]
            self._load(self._read)
        except OSError as error:
            raise SettingsError(f"{self._flags}: {error}; is the path right?") from error
        except SettingsError as error:
            raise SettingsError(f"{self._flags}: {error}") from error

    def look(self) -> None:
        """Take the files into use if they have changed and can be used."""
        # Their bytes are compared, not their times: those of a file that is put in place may be old.
        try:
            found = [path.read_bytes() for path in self._paths]
            if found == self._read:
                self._told = ""
                return
            self._load(found)
            self._read, self._told = found, ""
            log.info("%s: the changed files are in force", self._flags)
        # What cannot be used now may be later: a certificate that is not good yet.
        except (OSError, SettingsError) as error:
            self._tell(f"{error}; what was read before stays in force")
        except Exception as error:  # noqa: BLE001 - whoever looks has to look again
            self._tell(f"what was read before stays in force\n{cause_of(error)}")

    def _tell(self, why: str) -> None:
        """Log why files are not taken into use, once."""
        if why != self._told:
            log.error("%s: %s", self._flags, why)
        self._told = why


class Watcher:
    """Looks at files again and again, in a thread of its own.

    Parameters
    ----------
    watched
        What to look at; if there is nothing, no thread is started.
    interval_s
        How often.
    """

    def __init__(self, watched: Sequence[Watched], interval_s: float) -> None:
        self._watched = watched
        self._interval_s = interval_s
        self._wake = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(target=self._watch, name="access-watcher", daemon=True)
        if watched:
            self._thread.start()

    def look(self) -> None:
        """Let the thread look now; returns at once."""
        self._wake.set()

    def close(self) -> None:
        """Look no more."""
        self._stopped = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        while True:
            self._wake.wait(self._interval_s)
            self._wake.clear()
            if self._stopped:
                return
            for watched in self._watched:
                watched.look()
