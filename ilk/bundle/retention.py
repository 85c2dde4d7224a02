"""Knows which versions of a store are kept, and deletes the others without anybody noticing.

It refuses to know how versions are made. Everything here is called by the one who holds the store's lock.
"""

import contextlib
import shutil
from collections.abc import Collection
from pathlib import Path

from ilk.bundle.lease import take_alone
from ilk.bundle.store import Store, sync_folder
from ilk.errors import BundleError, BundleMissing

_REMOVED = ".removed-"


def surplus(store: Store, keep: int, spared: Collection[str] = ()) -> list[str]:
    """Return the versions that need not be kept, oldest first.

    Parameters
    ----------
    keep
        How many of the newest to keep, at least 1. The live one is kept as well.
    spared
        Versions to be kept besides.
    """
    versions = store.list_versions()
    kept = {*versions[-keep:], *spared, store.current_version()}
    return [version for version in versions if version not in kept]


def remove(store: Store, version: str) -> bool:
    """Delete a version that is not live; False, and nothing done, if a reader has it open.

    A reader sees it whole or not at all: it is renamed out of its place before anything is deleted.

    Raises
    ------
    BundleError
        If it is live.
    OSError
        If the disk refuses.
    """
    if version == store.current_version():
        raise BundleError(f"{version} is live; point CURRENT at another version first")
    folder = store.folder_of(version)
    try:
        lease = take_alone(folder)
        if lease is None:
            return False
    except BundleMissing:  # nobody can have it open: it holds no manifest
        lease = None
    removed = store.path / f"{_REMOVED}{version}"
    try:
        folder.rename(removed)
        sync_folder(store.versions)
    finally:
        if lease is not None:
            lease.release()
    store.stamp_of(version).unlink(missing_ok=True)
    _delete(removed)
    return True


def clean_up(store: Store) -> None:
    """Delete what killed builds left behind; the lock says that no other build is running."""
    for pattern in (".staging*", ".CURRENT.*", f"{_REMOVED}*"):
        for leftover in store.path.glob(pattern):
            _delete(leftover)
    if store.stamps.is_dir():
        held = {store.stamp_of(version).name for version in store.list_versions()}
        for stamp in store.stamps.iterdir():
            if stamp.name not in held:
                with contextlib.suppress(OSError):
                    stamp.unlink()


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
