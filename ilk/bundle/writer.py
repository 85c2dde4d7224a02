"""Knows how a bundle is published: stage, fsync, rename, flip ``CURRENT`` last.

It refuses to know how the contents were made. Until the last rename a reader sees the version before.
"""

import hashlib
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from ilk.ann import Index
from ilk.bundle.contents import Arrays
from ilk.bundle.manifest import MANIFEST_NAME, FileRecord, Manifest
from ilk.bundle.store import Store, sync_folder
from ilk.errors import BundleError

_CHUNK_BYTES = 1 << 20


def publish(store: Store, manifest: Manifest, arrays: Arrays, indices: dict[str, Index]) -> Path:
    """Write one bundle, publish it and make it the live one.

    Parameters
    ----------
    store
        Where to; made if it does not exist.
    manifest
        Without ``files``, which is filled in here.
    arrays
        By dotted name, as :func:`ilk.bundle.contents.flatten` gives them.
    indices
        By the name of the space.

    Returns
    -------
    Path
        The published folder.

    Raises
    ------
    BundleError
        If another indexer is writing, the version exists, or the disk refuses; ``CURRENT`` is then
        as it was.
    """
    folder = store.folder_of(manifest.version)
    try:
        with store.writing():
            if folder.exists():
                raise BundleError(f"{store.path} already holds a version {manifest.version}")
            _remove_leftovers(store)
            staged = store.path / f".staging-{manifest.version}"
            staged.mkdir()
            _write_files(staged, arrays, indices)
            _write_bytes(
                staged / MANIFEST_NAME, replace(manifest, files=_records(staged)).to_json()
            )
            sync_folder(staged)
            staged.rename(folder)
            sync_folder(store.versions)
            store.point_current_at(manifest.version)
    except OSError as error:
        raise BundleError(f"cannot publish to {store.path}: {error}") from error
    return folder


def _remove_leftovers(store: Store) -> None:
    """Delete what killed builds left behind; the lock says that no other build is running."""
    for leftover in store.path.glob(".staging-*"):
        shutil.rmtree(leftover)
    for leftover in store.path.glob(".CURRENT.*"):
        leftover.unlink()


def _write_files(folder: Path, arrays: Arrays, indices: dict[str, Index]) -> None:
    for name, array in arrays.items():
        with (folder / f"{name}.npy").open("wb") as file:
            np.save(file, np.ascontiguousarray(array), allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
    for name, index in indices.items():
        index.save(folder / f"{name}.faiss")


def _write_bytes(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _records(folder: Path) -> dict[str, FileRecord]:
    return {p.name: FileRecord(p.stat().st_size, sha256_of(p)) for p in sorted(folder.iterdir())}


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
