"""Knows that results can be written where they are wanted, before work is done for them.

It refuses to know what is written.
"""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ilk.errors import IlkError


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses into an error that names the path."""
    try:
        yield
    except OSError as error:
        raise IlkError(f"{path} cannot be written: {error.strerror or error}") from error


def expect_file(path: Path) -> None:
    """Make the folder of a file, and refuse the file if it could not be written; it is left as it is.

    Raises
    ------
    IlkError
        If the folder or the file cannot be written to.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            path.open("ab").close()
        else:
            _try(path.parent)


def expect_folder(path: Path) -> None:
    """Make a folder, and refuse it if files could not be written to it; errors as ``expect_file``."""
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
        _try(path)


def _try(folder: Path) -> None:
    # Permissions do not tell of file systems that are read-only or full.
    with tempfile.TemporaryFile(dir=folder):
        pass
