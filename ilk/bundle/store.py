"""Knows the folder that bundles live in: ``versions/<version>/``, ``CURRENT``, the indexer's lock.

It refuses to know what is inside a version.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ilk.errors import BundleError, BundleMissing

_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


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

    def folder_of(self, version: str) -> Path:
        """Return the folder of a version; the name may not lead out of the store."""
        if not _VERSION.fullmatch(version):
            raise BundleError(f"{version!r} is not a version name")
        return self.versions / version

    def current_version(self) -> str:
        """Return the live version's name.

        Raises
        ------
        BundleMissing
            If nothing was published here yet.
        """
        try:
            version = self.current_file.read_text(encoding="utf-8").strip()
        except FileNotFoundError as error:
            raise BundleMissing(
                f"{self.path} holds no published bundle; make one with: "
                f"python -m indexer build --store {self.path} ..."
            ) from error
        except (OSError, UnicodeDecodeError) as error:
            raise BundleError(f"{self.current_file} cannot be read: {error}") from error
        self.folder_of(version)
        return version

    def list_versions(self) -> list[str]:
        """Return the published versions by name, oldest first."""
        if not self.versions.is_dir():
            return []
        return sorted(p.name for p in self.versions.iterdir() if _VERSION.fullmatch(p.name))

    def point_current_at(self, version: str) -> None:
        """Make ``version`` the live one, in one rename that survives a power cut."""
        if not self.folder_of(version).is_dir():
            raise BundleMissing(f"{self.path} holds no version {version!r}")
        staged = self.path / f".CURRENT.{os.getpid()}"
        with staged.open("w", encoding="utf-8") as file:
            file.write(version + "\n")
            file.flush()
            os.fsync(file.fileno())
        # All that can fail comes before the rename. After it the new version is live; a power cut
        # before the system writes the folder back would at worst bring the old one back.
        sync_folder(self.path)
        staged.replace(self.current_file)
        with contextlib.suppress(OSError):
            sync_folder(self.path)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the store for one writer.

        Raises
        ------
        BundleError
            If another process holds it.
        """
        # POSIX only, and only the indexer needs it: a server on any system can import this module.
        import fcntl

        self.versions.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise BundleError(f"another indexer is writing to {self.path}") from error
            yield


def sync_folder(path: Path) -> None:
    """Make renames within a folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
