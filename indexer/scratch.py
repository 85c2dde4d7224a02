"""Knows where bundles are made that nobody is to see, and that none of them outlives its maker for long.

It refuses to know what is in them: ids and ratings of people, as in every bundle. A maker that is killed
cannot clean up, so the next one does.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_PREFIX = "ilk-scratch-"


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield an empty folder that is deleted at the end, and :func:`clean_up` before."""
    clean_up()
    # Under its name it is locked from the first moment, or another would take it for left behind.
    made = Path(tempfile.mkdtemp(prefix="ilk-new-"))
    folder = made.with_name(_PREFIX + made.name.removeprefix("ilk-new-"))
    lock = _locked(made)
    try:
        made.rename(folder)
        yield folder
    finally:
        for path in (made, folder):
            shutil.rmtree(path, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def clean_up() -> None:
    """Delete the folders that killed programs left."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            # What is not ours, or a link to elsewhere, is nothing that a maker of ours left.
            if folder.lstat().st_uid != os.getuid() or folder.is_symlink():
                continue
            lock = _locked(folder)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


def _locked(folder: Path) -> int | None:
    """Return a descriptor that holds the lock on a folder; None if there is none to be had."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
