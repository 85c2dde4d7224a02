"""Knows how a reader says that it uses a version, so that nobody deletes it meanwhile.

It refuses to know which versions are worth keeping. A lease is a shared lock on the version's manifest:
it works across processes and in folders that cannot be written, and dies with the process that held it.
"""

import errno
import os
import weakref
from pathlib import Path

from ilk.bundle.manifest import MANIFEST_NAME
from ilk.errors import BundleError, BundleMissing

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be deleted anyway
    fcntl = None  # type: ignore[assignment]

# Where a version is not to be had.
WHAT_TO_DO = "restore it, or point CURRENT at another version: python -m indexer rollback"
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
# What the system is short of for the moment, or keeps back, says nothing of a bundle.
_SHORTAGES = (
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM),
    *(errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ETIMEDOUT),
)


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
        If there is no manifest that can be opened, or the version is being deleted.
    BundleError
        If the system has no files left to open it with.

    Notes
    -----
    A file system that knows no locks gives a lease that protects nothing; the one who deletes then
    cannot lock either, and keeps the version.
    """
    try:
        lease = Lease(_open_manifest(folder, os.O_RDONLY))
    except OSError as error:
        raise_of_shortage(folder, error)
        raise BundleMissing(
            f"{folder / MANIFEST_NAME} cannot be opened: {error.strerror}; {WHAT_TO_DO}"
        ) from error
    if not _lock(lease, shared=True) or not lease.leads_to(folder):
        lease.release()
        raise BundleMissing(f"{folder} is being deleted; open the version that CURRENT names")
    return lease


def take_alone(folder: Path) -> Lease | None:
    """Return a lease that shuts out all others, to delete the version, or None if it is in use.

    None also where nobody can tell: the file system knows no locks, or the manifest cannot be opened.
    BundleMissing if there is none.
    """
    try:
        try:
            # Over NFS a file must be open for writing to be locked for one alone; nothing is written.
            descriptor = _open_manifest(folder, os.O_RDWR)
        except PermissionError:
            descriptor = _open_manifest(folder, os.O_RDONLY)
    except OSError:
        return None
    lease = Lease(descriptor)
    if fcntl is None or not _lock(lease, shared=False):
        lease.release()
        return None
    return lease


def _open_manifest(folder: Path, flags: int) -> int:
    try:
        # What is no file, such as a pipe, must not be waited for; it is refused when it is read.
        careful = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        return os.open(folder / MANIFEST_NAME, flags | careful)
    except OSError as error:
        # A link is not followed: there is no manifest either.
        if error.errno not in _NOT_THERE:
            raise
        raise BundleMissing(f"{folder} holds no {MANIFEST_NAME}; {WHAT_TO_DO}") from error


def raise_of_shortage(folder: Path, error: Exception) -> None:
    """Raise BundleError if ``error`` is the system's alone, as want of memory is for verified files."""
    short = isinstance(error, OSError) and error.errno in _SHORTAGES
    if short or isinstance(error, MemoryError):
        why = str(error) or "out of memory"
        raise BundleError(f"{folder.name} cannot be opened for now: {why}; try again") from error


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
