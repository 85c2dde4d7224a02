"""Knows how a reader says that it uses a version, so that nobody deletes it meanwhile.

It refuses to know which versions are worth keeping. A lease is a shared lock on the version's manifest:
it works across processes and in folders that cannot be written, and dies with the process that held it.
"""

import os
import weakref
from pathlib import Path

from ilk.bundle.manifest import MANIFEST_NAME
from ilk.errors import BundleMissing

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be deleted anyway
    fcntl = None  # type: ignore[assignment]

# Where a version is not to be had.
WHAT_TO_DO = "restore it, or point CURRENT at another version: python -m indexer rollback"


class Lease:
    """A lock on one version, held until :meth:`release` or until nobody refers to it.

    Parameters
    ----------
    descriptor
        The open, locked manifest.
    """

    __slots__ = ("__weakref__", "_close", "_descriptor")

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._close = weakref.finalize(self, os.close, descriptor)

    def release(self) -> None:
        """Let the version go; a second call does nothing."""
        self._close()

    @property
    def is_held(self) -> bool:
        """Whether it was not released yet."""
        return self._close.alive

    def leads_to(self, folder: Path) -> bool:
        """Whether the version that is locked is still the one in ``folder``."""
        held = os.fstat(self._descriptor)
        try:
            found = (folder / MANIFEST_NAME).lstat()
        except OSError:
            return False
        return (held.st_dev, held.st_ino) == (found.st_dev, found.st_ino)


def take(folder: Path) -> Lease:
    """Return a lease on the version in ``folder``; many may hold one at a time.

    Raises
    ------
    BundleMissing
        If there is no manifest, or the version is being deleted.

    Notes
    -----
    A file system that knows no locks gives a lease that protects nothing; the one who deletes then
    cannot lock either, and keeps the version.
    """
    lease = Lease(_open_manifest(folder, os.O_RDONLY))
    if not _lock(lease, shared=True) or not lease.leads_to(folder):
        lease.release()
        raise BundleMissing(f"{folder} is being deleted; open the version that CURRENT names")
    return lease


def take_alone(folder: Path) -> Lease | None:
    """Return a lease that shuts out all others, to delete the version, or None if it is in use.

    None also where the file system knows no locks, for then nobody can tell. BundleMissing if there
    is no manifest.
    """
    # Over NFS a file must be open for writing to be locked for one alone; nothing is written.
    lease = Lease(_open_manifest(folder, os.O_RDWR))
    if fcntl is None or not _lock(lease, shared=False):
        lease.release()
        return None
    return lease


def _open_manifest(folder: Path, flags: int) -> int:
    try:
        return os.open(folder / MANIFEST_NAME, flags | getattr(os, "O_NOFOLLOW", 0))
    except OSError as error:
        raise BundleMissing(
            f"{folder} holds no {MANIFEST_NAME} that can be opened; {WHAT_TO_DO}"
        ) from error


def _lock(lease: Lease, *, shared: bool) -> bool:
    if fcntl is None:
        return shared
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(lease._descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return shared
    return True
