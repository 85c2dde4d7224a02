"""Knows how it is remembered that large files were verified, so that the next opening need not read them.

It refuses to know how they are verified. A stamp names, for each large file of a version, the inode, size
and times that it had when its checksum was found right. The system changes one of them with every write,
truncation or replacement, and no program can set the time of change (``ctime``) back; a file of which all
are as they were is the file that was verified. What is not stamped is verified anew.
"""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from ilk.bundle.manifest import Manifest, sealed

# Smaller files are verified at every opening: all of them together take tenths of a second.
STAMPED_FROM_BYTES = 8 << 20
# A file that changed this shortly before it was verified is not stamped: its times are only as fine as
# the file system's clock, and a change within one tick of it would not show.
SETTLED_AFTER_NS = 2_000_000_000

# Inode, size in bytes, mtime and ctime in nanoseconds.
Identity: TypeAlias = tuple[int, int, int, int]


def identity_of(found: os.stat_result) -> Identity:
    """Return what tells a file from every other and from itself before a change.

    Notes
    -----
    Without the device, whose number changes when the same disk is mounted again.
    """
    return (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


@dataclass(frozen=True, slots=True)
class Stamping:
    """One opening of a version: what need not be verified, and what will not have to be next time.

    Attributes
    ----------
    believed
        Identities, by name, of files that were verified before.
    """

    believed: Mapping[str, Identity]
    _file: Path | None
    _manifest_sha256: str
    _started_ns: int

    @classmethod
    def of(
        cls, file: Path | None, manifest_bytes: bytes, manifest: Manifest, *, trusted: bool
    ) -> "Stamping":
        """Begin to open the version of a manifest, before its files are looked at.

        Parameters
        ----------
        file
            Where the stamp is kept; None keeps none.
        trusted
            False believes nothing that was kept before.
        """
        largest = max((record.size_bytes for record in manifest.files.values()), default=0)
        if file is None or largest < STAMPED_FROM_BYTES:
            return cls({}, None, "", 0)
        sha256 = hashlib.sha256(manifest_bytes).hexdigest()
        known = _read(file, sha256) if trusted else {}
        started_ns = _clock_ns(file.parent)
        return cls(known, None if started_ns is None else file, sha256, started_ns or 0)

    def keep(self, verified: Mapping[str, Identity]) -> None:
        """Keep what was verified since this was made, if the store can be written.

        The stamp need not survive a power cut: half of one says nothing, and costs a verification.
        """
        settled = {
            name: identity
            for name, identity in verified.items()
            if identity[1] >= STAMPED_FROM_BYTES
            and max(identity[2:]) + SETTLED_AFTER_NS < self._started_ns
        }
        if self._file is None or not settled:
            return
        values = {
            "manifest_sha256": self._manifest_sha256,
            "files": {**self.believed, **settled},
        }
        staged = self._file.with_name(f".{self._file.name}.{os.getpid()}")
        with contextlib.suppress(OSError):
            staged.write_bytes(sealed(values))
            staged.replace(self._file)


def _clock_ns(folder: Path) -> int | None:
    """Return the time by the file system's own clock, which stamps files; None if it is read-only."""
    try:
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            return os.fstat(file.fileno()).st_mtime_ns
    except OSError:
        return None


def _read(file: Path, manifest_sha256: str) -> dict[str, Identity]:
    """Return what is kept for the version with this manifest; an unsound stamp says nothing."""
    try:
        data = file.read_bytes()
        values: dict[str, Any] = json.loads(data)
        del values["digest"]
        if sealed(values) != data or values["manifest_sha256"] != manifest_sha256:
            return {}
        return {name: tuple(identity) for name, identity in values["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
