"""Knows the folder that bundles live in: ``versions/<version>/``, ``CURRENT``, the indexer's lock.

It refuses to know what is inside a version.
"""

import contextlib
import os
import re
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ilk.errors import BundleError, BundleMissing

_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_MAX_CURRENT_BYTES = 129
_LOCK_LOOKED_AT_S = 0.1
_HOW_TO_POINT = "point it at a version with: python -m indexer rollback --to VERSION"


@dataclass(frozen=True, slots=True)
class Store:
    """A folder of published bundles."""

    path: Path

    @property
    def versions(self) -> Path:
        """The folder of published versions."""
        return self.path / "versions"

    @property
    def current_file(self) -> Path:
        """The file that names the live version."""
        return self.path / "CURRENT"

    @property
    def stamps(self) -> Path:
        """The folder of what was verified; see `ilk.bundle.stamp`."""
        return self.path / "stamps"

    @property
    def staging(self) -> Path:
        """The folder that a version is written in before it is published."""
        return self.path / ".staging"

    def folder_of(self, version: str) -> Path:
        """Return the folder of a version; the name may not lead out of the store."""
        if not _VERSION.fullmatch(version):
            raise BundleError(f"{version!r} is not a version name")
        return self.versions / version

    def stamp_of(self, version: str) -> Path:
        """Return the file of a version's stamp."""
        return self.stamps / f"{self.folder_of(version).name}.json"

    def current_version(self) -> str:
        """Return the live version's name.

        Raises
        ------
        BundleMissing
            If nothing was published here yet, or what names the live version is gone.
        """
        try:
            if not stat.S_ISREG(self.current_file.lstat().st_mode):
                raise BundleError(f"{self.current_file} is no plain file; {_HOW_TO_POINT}")
            with self.current_file.open("rb") as file:
                data = file.read(_MAX_CURRENT_BYTES + 1)
        except FileNotFoundError as error:
            raise self._missing() from error
        except OSError as error:
            raise BundleError(f"{self.current_file} cannot be read: {error}") from error
        version, end = data[:-1].decode("ascii", "replace"), data[-1:]
        # To the byte: a file that is cut short or flipped names nothing, rather than something near.
        if not _VERSION.fullmatch(version) or end != b"\n":
            shown = data[:40]
            raise BundleError(
                f"{self.current_file} holds {shown!r}, which is not a version name and a line end; "
                f"{_HOW_TO_POINT}"
            )
        return version

    def list_versions(self) -> list[str]:
        """Return the published versions by name, oldest first."""
        if not self.versions.is_dir():
            return []
        return sorted(p.name for p in self.versions.iterdir() if _VERSION.fullmatch(p.name))

    def point_current_at(self, version: str) -> None:
        """Make ``version`` the live one, in one rename that survives a power cut.

        Raises
        ------
        BundleMissing
            If there is no such version.
        BundleError
            If it is live, but the system would not promise that it still is after a power cut.
        OSError
            If the disk refuses; what was live stays live.
        """
        if not self.folder_of(version).is_dir():
            held = ", ".join(self.list_versions()) or "none"
            raise BundleMissing(f"{self.path} holds no version {version!r}; it holds {held}")
        staged = self.path / f".CURRENT.{os.getpid()}"
        with staged.open("w", encoding="utf-8") as file:
            file.write(version + "\n")
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self.path)
        staged.replace(self.current_file)
        try:
            sync_folder(self.path)
        except OSError as error:
            raise BundleError(
                f"{version} is live, but a power cut could bring back the version before it: {error}"
            ) from error

    def make(self) -> None:
        """Make the store's folders where they are not; OSError if the disk refuses."""
        if not self.versions.is_dir():
            self.versions.mkdir(parents=True, exist_ok=True)
            sync_folder(self.path)
            sync_folder(self.path.parent)

    @contextlib.contextmanager
    def writing(self, wait_s: float = 0.0) -> Iterator[None]:
        """Hold the store for one writer, once another has ended, if that is within ``wait_s`` seconds.

        Raises
        ------
        BundleMissing
            If it was never made: nothing is, so that a path that is mistyped leaves nothing behind.
        BundleError
            If another process holds it.
        """
        # POSIX only, and only the indexer needs it: a server on any system can import this module.
        import fcntl

        if not self.versions.is_dir():
            raise self._missing()
        with (self.path / ".lock").open("w") as lock:
            until_s = time.monotonic() + wait_s
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() >= until_s:
                        raise BundleError(
                            f"another indexer is writing to {self.path}; try again when it has ended"
                        ) from error
                    time.sleep(_LOCK_LOOKED_AT_S)
            yield

    def _missing(self) -> BundleMissing:
        held = ", ".join(self.list_versions())
        if held:
            return BundleMissing(f"{self.current_file} is gone; {_HOW_TO_POINT}, one of {held}")
        return BundleMissing(
            f"{self.path} holds no published bundle; make one with: "
            f"python -m indexer build --store {self.path} ..."
        )


def sync_folder(path: Path) -> None:
    """Make renames within a folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
