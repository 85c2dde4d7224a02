"""Knows how the files of a version are held against its manifest: names, kinds, sizes, checksums.

It refuses to know what is in them.
"""

import hashlib
import os
import stat
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ilk.bundle.manifest import MANIFEST_NAME, FileRecord, Manifest
from ilk.bundle.stamp import Identity, identity_of
from ilk.errors import BundleCorrupt

_CHUNK_BYTES = 1 << 20
# Below this, threads cost more than they bring.
_PARALLEL_FROM_BYTES = 64 << 20
_WHAT_TO_DO = "point CURRENT at another version (python -m indexer rollback), or build again"


def verify(
    folder: Path, manifest: Manifest, stamped: Mapping[str, Identity]
) -> dict[str, Identity]:
    """Refuse a version whose files are not those that were published.

    Parameters
    ----------
    stamped
        Files that were verified before, by name: they are not read if they are still the same.

    Returns
    -------
    dict
        By name, the identity of each file that was read now.

    Raises
    ------
    BundleCorrupt
        If a file is missing, unexpected, no plain file, or has another size or checksum.
    """
    found = _plain_files(folder, manifest)
    fresh = {name: identity for name, identity in found.items() if stamped.get(name) != identity}
    # Small files first: most of what can be wrong shows before gigabytes are read.
    names = sorted(fresh, key=lambda name: fresh[name][1])
    if sum(identity[1] for identity in fresh.values()) < _PARALLEL_FROM_BYTES:
        for name in names:
            _check(folder / name, manifest.files[name], fresh[name])
        return fresh
    with ThreadPoolExecutor(os.cpu_count() or 1, "verify") as executor:
        checks = [
            executor.submit(_check, folder / name, manifest.files[name], fresh[name])
            for name in names
        ]
        try:
            for check in checks:
                check.result()
        finally:
            executor.shutdown(cancel_futures=True)
    return fresh


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        buffer = bytearray(_CHUNK_BYTES)
        while n_read := file.readinto(buffer):
            digest.update(memoryview(buffer)[:n_read])
    return digest.hexdigest()


def _plain_files(folder: Path, manifest: Manifest) -> dict[str, Identity]:
    strange = [name for name in manifest.files if Path(name).name != name or name == MANIFEST_NAME]
    if strange:
        raise BundleCorrupt(f"{folder.name}: {strange} lead out of the folder; {_WHAT_TO_DO}")
    found = {entry.name for entry in os.scandir(folder)} - {MANIFEST_NAME}
    if found != manifest.files.keys():
        missing = sorted(manifest.files.keys() - found)
        extra = sorted(found - manifest.files.keys())
        raise BundleCorrupt(
            f"{folder.name}: missing files {missing}, unexpected files {extra}; "
            f"restore the folder as it was published, or {_WHAT_TO_DO}"
        )
    return {name: _identity_of_plain(folder / name) for name in manifest.files}


def _identity_of_plain(path: Path) -> Identity:
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise BundleCorrupt(f"{path.parent.name}: {path.name} is not a plain file; {_WHAT_TO_DO}")
    return identity_of(found)


def _check(path: Path, record: FileRecord, identity: Identity) -> None:
    unchanged = (
        identity[1] == record.size_bytes
        and sha256_of(path) == record.sha256
        and _identity_of_plain(path) == identity
    )
    if not unchanged:
        raise BundleCorrupt(
            f"{path.parent.name}: {path.name} is not the file that was published; {_WHAT_TO_DO}"
        )
