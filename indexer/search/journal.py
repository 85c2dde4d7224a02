"""Knows the file that a search writes its trials to: whether it is one, and how a torn end is mended.

It refuses to know what is searched for.
"""

import fcntl
import json
import os
from pathlib import Path

from optuna.exceptions import OptunaError
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from ilk.errors import DataError

_BEGINS = b'{"op_code"'
_ADVICE = "give --journal another file, or take the line out"


def open_journal(path: Path) -> JournalStorage:
    """Return the trials that a file holds, ready for more; it is made if there is none.

    Parameters
    ----------
    path
        A line of JSON for each entry. What was being written when a search was killed, a last line
        that does not end, is cut off.

    Raises
    ------
    DataError
        If the file is no journal, cannot be gone on from, or can be neither read nor written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = _Lock(path)
        lock.acquire()
        try:
            _mend(path)
        finally:
            lock.release()
        # What optuna would have a lock be, it keeps to itself; it calls no more than these two.
        return JournalStorage(JournalFileBackend(str(path), lock))  # type: ignore[arg-type]
    except OSError as error:
        raise DataError(path, f"cannot be used as a journal: {error.strerror or error}") from error
    # Whole lines that do not follow from those before: optuna trusts, or asserts, what it has written.
    except (AssertionError, LookupError, TypeError, ValueError, OptunaError) as error:
        problem = (
            f"holds trials that cannot be gone on from ({error!r}); give --journal another file"
        )
        raise DataError(path, problem) from error


class _Lock:
    """Keeps out other searches that write to the same file: their last line is torn only for now.

    It ends with the process that holds it. A lock that is a file of its own outlives a search that is
    killed, and one of optuna's, beside a journal with a relative path, is waited for without end.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def acquire(self) -> bool:
        self._file = self._path.open("ab")
        fcntl.flock(self._file, fcntl.LOCK_EX)
        return True

    def release(self) -> None:
        self._file.close()


def _mend(path: Path) -> None:
    held = path.read_bytes()
    *lines, rest = held.split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not _is_entry(line):
            raise DataError(path, f"is no entry of a journal; {_ADVICE}", line=number)
    # What does not even begin like an entry is somebody else's, and is not cut.
    if not _BEGINS.startswith(rest[: len(_BEGINS)]):
        raise DataError(path, f"is no entry of a journal; {_ADVICE}", line=len(lines) + 1)
    if rest:
        os.truncate(path, len(held) - len(rest))


def _is_entry(line: bytes) -> bool:
    try:
        return line.startswith(_BEGINS) and bool(json.loads(line))
    except ValueError:
        return False
