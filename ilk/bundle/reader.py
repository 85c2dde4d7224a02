"""Knows how a bundle is opened: lease, verify, map, or refuse with a message that says what to do.

It refuses to know what is in the files, and queries.
"""

import stat
import tokenize
from pathlib import Path

from ilk.bundle import stamp
from ilk.bundle.lease import WHAT_TO_DO, raise_of_shortage, take
from ilk.bundle.manifest import MANIFEST_NAME, MAX_MANIFEST_BYTES, Manifest
from ilk.bundle.mapping import Bundle, map_bundle
from ilk.bundle.store import Store
from ilk.bundle.verification import verify
from ilk.errors import BundleCorrupt, BundleMissing, SettingsError

# What numpy and we raise over headers and values that no writer of ours wrote.
_UNSOUND = (
    ArithmeticError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RecursionError,
    SettingsError,
    SyntaxError,
    TypeError,
    ValueError,
    tokenize.TokenError,
)
_ATTEMPTS = 10


def open_bundle(path: Path, version: str | None = None, *, trust_stamps: bool = True) -> Bundle:
    """Open the live bundle of a store, or the ``version`` named.

    Parameters
    ----------
    trust_stamps
        False reads every file to the last byte, even those that were verified before and have not
        changed since (`ilk.bundle.stamp`).

    Raises
    ------
    BundleMissing
        If there is none.
    BundleCorrupt, BundleUnsupported
        If it is not what was published, or in a format this version does not read.
    BundleError
        If the system has no files or memory left to open it with.
    """
    store = Store(path)
    for _ in range(_ATTEMPTS):
        named = version or store.current_version()
        try:
            return open_folder(
                store.folder_of(named), store.stamp_of(named), trust_stamps=trust_stamps
            )
        except BundleMissing as error:
            there = store.list_versions()
            if version is not None and version not in there:
                told = f"{path} holds no version {version}; it holds {', '.join(there) or 'none'}"
                raise BundleMissing(told) from error
            # CURRENT may have moved on, and what it named been deleted, between the two steps.
            if version is not None or store.current_version() == named:
                raise
    raise BundleMissing(f"{path}: CURRENT changes faster than a version can be opened")


def open_folder(
    folder: Path, stamp_file: Path | None = None, *, trust_stamps: bool = True
) -> Bundle:
    """Open the bundle in ``folder``; errors as :func:`open_bundle`.

    Parameters
    ----------
    stamp_file
        Where it is kept what was verified; None verifies everything and keeps nothing.
    """
    if folder.is_symlink():
        raise BundleCorrupt(f"{folder} is a link; put the folder itself in its place")
    lease = take(folder)
    data, manifest = _read_manifest(folder)
    if manifest.version != folder.name:
        raise BundleCorrupt(f"{folder.name} holds the bundle {manifest.version!r}; rename it back")
    stamping = stamp.Stamping.of(stamp_file, data, manifest, trusted=trust_stamps)
    try:
        fresh = verify(folder, manifest, stamping.believed)
        bundle = map_bundle(folder, manifest, fresh, lease)
    except _UNSOUND as error:
        raise_of_shortage(folder, error)
        raise BundleCorrupt(f"{folder.name}: {error}; build it again") from error
    stamping.keep(fresh)
    return bundle


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of the bundle in ``folder``; errors as :func:`open_bundle`."""
    return _read_manifest(folder)[1]


def _read_manifest(folder: Path) -> tuple[bytes, Manifest]:
    path = folder / MANIFEST_NAME
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode):
            raise BundleCorrupt(f"{path} is not a plain file; restore it, or build again")
        if found.st_size > MAX_MANIFEST_BYTES:
            raise BundleCorrupt(f"{path}: larger than {MAX_MANIFEST_BYTES} bytes; build again")
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BundleMissing(f"{folder} holds no {MANIFEST_NAME}; {WHAT_TO_DO}") from error
    except OSError as error:
        raise_of_shortage(folder, error)
        raise BundleCorrupt(f"{path} cannot be read: {error}") from error
    return data, Manifest.from_json(data)
