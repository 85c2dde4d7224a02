"""Knows how a bundle is published: stage, fsync, check, rename, flip ``CURRENT`` last.

It refuses to know how the contents were made. Until the last rename a reader sees the version before.
"""

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from ilk.bundle.contents import Arrays
from ilk.bundle.manifest import MANIFEST_NAME, FileRecord, Manifest
from ilk.bundle.mapping import Bundle
from ilk.bundle.reader import open_folder
from ilk.bundle.retention import clean_up, remove, surplus
from ilk.bundle.stamp import SETTLED_AFTER_NS, STAMPED_FROM_BYTES
from ilk.bundle.store import Store, sync_folder
from ilk.bundle.verification import sha256_of
from ilk.errors import BundleError

# Another indexer publishes in less, and what was trained is not thrown away for that.
WAIT_S: Final = 120.0

Check = Callable[[Bundle], None]


class Savable(Protocol):
    """What is saved to a file, and survives a power cut there, as :meth:`ilk.ann.Index.save` does."""

    def save(self, path: Path) -> None:
        """Write it to ``path``; OSError if the disk refuses."""


def publish(
    store: Store,
    manifest: Manifest,
    arrays: Arrays,
    indices: Mapping[str, Savable],
    *,
    check: Check | None = None,
    keep: int | None = None,
) -> Path:
    """Write one bundle, publish it and make it the live one.

    Parameters
    ----------
    store
        Where to; made if it does not exist.
    manifest
        Without ``files``, which is filled in here. An empty ``version`` is filled in too: the time of
        creation and a digest of the contents.
    arrays
        By dotted name, as :func:`ilk.bundle.contents.flatten` gives them.
    indices
        By the name of the space.
    check
        Called with the bundle as a reader would open it, before anybody can; what it raises ends the
        publication. None publishes what was written without reading it back.
    keep
        Versions to keep: this many of the newest, and the one that was live before. Others are
        deleted unless a reader has them open. None keeps all.

    Returns
    -------
    Path
        The published folder.

    Raises
    ------
    BundleError
        If another indexer goes on writing, the version exists, or the disk refuses. The message says if
        the new version is live all the same; if it does not, ``CURRENT`` is as it was.
    """
    if manifest.version:
        store.folder_of(manifest.version)
    try:
        store.make()
        with store.writing(wait_s=WAIT_S):
            clean_up(store)
            try:
                staged = _stage(store, manifest, arrays, indices)
                if check is not None:
                    _settle(staged)
                    check(open_folder(staged, store.stamp_of(staged.name)))
                folder = staged.rename(store.folder_of(staged.name))
            finally:
                shutil.rmtree(store.staging, ignore_errors=True)
            sync_folder(store.versions)
            before = _live(store)
            store.point_current_at(folder.name)
            if keep is not None:
                _prune(store, folder.name, keep, before)
    except OSError as error:
        raise BundleError(f"cannot publish to {store.path}: {error}") from error
    return folder


def _stage(
    store: Store, manifest: Manifest, arrays: Arrays, indices: Mapping[str, Savable]
) -> Path:
    """Write a whole version, all of it on disk, to a folder of its name that no reader looks into."""
    if manifest.version and store.folder_of(manifest.version).exists():
        raise BundleError(
            f"{store.path} already holds a version {manifest.version}; publish under another"
        )
    store.staging.mkdir()
    unnamed = store.staging / ".unnamed"
    unnamed.mkdir()
    records = _write_files(unnamed, arrays, indices)
    manifest = replace(
        manifest, files=records, version=manifest.version or _name(manifest, records)
    )
    if store.folder_of(manifest.version).exists():
        raise BundleError(
            f"{store.path} holds {manifest.version}, the same made in the same second"
        )
    _write_bytes(unnamed / MANIFEST_NAME, manifest.to_json())
    sync_folder(unnamed)
    return unnamed.rename(store.staging / manifest.version)


def _name(manifest: Manifest, records: dict[str, FileRecord]) -> str:
    digest = hashlib.sha256()
    for name, record in sorted(records.items()):
        digest.update(f"{name} {record.sha256}\n".encode())
    moment = datetime.fromtimestamp(manifest.created_at_s, tz=timezone.utc)
    return f"{moment:%Y%m%dT%H%M%SZ}-{digest.hexdigest()[:8]}"


def _live(store: Store) -> tuple[str, ...]:
    try:
        return (store.current_version(),)
    except BundleError:
        return ()


def _settle(folder: Path) -> None:
    """Let the file system's clock move on where a file is large enough to be stamped when verified."""
    found = [entry.stat() for entry in os.scandir(folder)]
    changed_ns = [
        max(of.st_mtime_ns, of.st_ctime_ns) for of in found if of.st_size >= STAMPED_FROM_BYTES
    ]
    if changed_ns:
        enough_ns = int(1.1 * SETTLED_AFTER_NS)
        left_ns = max(changed_ns) + enough_ns - time.time_ns()
        time.sleep(1e-9 * min(max(left_ns, 0), enough_ns))


def _prune(store: Store, live: str, keep: int, spared: Collection[str]) -> None:
    try:
        for version in surplus(store, keep, spared):
            remove(store, version)
    except (OSError, BundleError) as error:
        raise BundleError(
            f"{live} is live, but older versions could not be deleted: {error}"
        ) from error


def _write_files(
    folder: Path, arrays: Arrays, indices: Mapping[str, Savable]
) -> dict[str, FileRecord]:
    names = [folder / f"{name}.npy" for name in arrays]
    # To hash a file takes as long as to write it, and threads of the system do the rest.
    with (
        contextlib.ExitStack() as opened,
        ThreadPoolExecutor(os.cpu_count() or 1, "write") as executor,
    ):
        saved = {folder / f"{name}.faiss": index for name, index in indices.items()}
        records = dict(zip(saved, executor.map(_save, saved.values(), saved), strict=True))
        files = [opened.enter_context(path.open("wb")) for path in names]
        written = executor.map(_write_array, arrays.values(), files)
        records |= dict(zip(names, written, strict=True))
        # Not before all are written: while the disk is waited for, they grow old enough to be stamped.
        list(executor.map(os.fsync, [file.fileno() for file in files]))
    return {path.name: record for path, record in records.items()}


def _write_array(array: npt.NDArray[Any], file: IO[bytes]) -> FileRecord:
    hashed = _HashedFile(file)
    np.save(hashed, np.ascontiguousarray(array), allow_pickle=False)
    file.flush()
    return FileRecord(hashed.size_bytes, hashed.digest.hexdigest())


def _save(index: Savable, path: Path) -> FileRecord:
    index.save(path)
    return FileRecord(path.stat().st_size, sha256_of(path))


class _HashedFile:
    """A file that is hashed as it is written: what is vouched for is what was meant, not what got there.

    Parameters
    ----------
    file
        Written to.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.size_bytes = 0

    def write(self, data: bytes) -> int:
        """Write and hash ``data``."""
        self.digest.update(data)
        self.size_bytes += len(data)
        return self._file.write(data)


def _write_bytes(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
