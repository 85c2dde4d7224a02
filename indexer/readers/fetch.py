"""Knows where GroupLens publishes MovieLens, and how to tell a whole download from a broken one.

It refuses to know what is in the archives: `movielens` reads them as they are.
"""

import errno
import io
import logging
import os
import re
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pooch

from ilk.errors import DataError, SettingsError
from indexer.outputs import expect_folder

OFFICIAL = "https://files.grouplens.org/datasets/movielens/"
NAMES = (
    "ml-latest-small",
    "ml-latest",
    "ml-32m",
    "ml-25m",
    "ml-20m",
    "ml-10m",
    "ml-1m",
    "ml-100k",
)
TIMEOUT_S = 30.0
NOT_FOUND = 404
_MOST_CHECKSUM_BYTES = 65_536

_log = logging.getLogger(__name__)


def fetch(name: str, into: Path, *, base_url: str = OFFICIAL, progress: bool = True) -> Path:
    """Download a published data set and return the path of its zip, which `movielens` reads.

    Parameters
    ----------
    name
        One of ``NAMES``.
    into
        The folder for ``<name>.zip``; made if need be. A file there with the published checksum
        is not downloaded again. Nothing is left there by a download that failed.
    base_url
        Where the archives are, for mirrors.
    progress
        Show a bar on stderr.

    Raises
    ------
    SettingsError
        If the name is not known.
    DataError
        If the archive cannot be downloaded, or is not what was published: the MD5 checksum beside
        it differs or, where none is published, the checksums within it do.
    IlkError
        If the folder cannot be made or written to.
    """
    if name not in NAMES:
        raise SettingsError(f"unknown data set {name!r}; expected one of {', '.join(NAMES)}")
    url = f"{base_url.rstrip('/')}/{name}.zip"
    target = into / f"{name}.zip"
    checksum = _published_checksum(url)
    if checksum and target.is_file() and pooch.file_hash(str(target), alg="md5") == checksum:
        return target
    expect_folder(into)
    # Within the same folder, so that the last step is a rename.
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=into) as staging:
        staged = Path(staging, target.name)
        _download(url, str(staged), url, progress)
        _verify(staged, checksum, url)
        os.replace(staged, target)
    _log.info("%s is for research under GroupLens' terms: see the README in %s", name, target)
    return target


def _published_checksum(url: str) -> str | None:
    text = _ShortText()
    try:
        _download(f"{url}.md5", text, url)
    except DataError as error:
        if _status(error.__cause__) == NOT_FOUND:
            return None
        raise
    match = re.search(rb"\b[0-9a-fA-F]{32}\b", text.getvalue())
    return match.group().decode().lower() if match else None


class _ShortText(io.BytesIO):
    """What is no longer than a checksum's file can be, whatever a server sends."""

    def write(self, data: Any) -> int:
        """Append ``data``; OSError if it becomes too much."""
        if self.tell() + len(data) > _MOST_CHECKSUM_BYTES:
            raise OSError(errno.EFBIG, "what should be a checksum is too long for one")
        return super().write(data)


def _download(url: str, into: str | io.BytesIO, archive_url: str, progress: bool = False) -> None:
    downloader = pooch.HTTPDownloader(progressbar=progress, timeout=TIMEOUT_S)
    try:
        downloader(url, into, None)
    # What requests raises is an OSError, as is a full disk; headers that make no sense are a ValueError.
    except (OSError, ValueError) as error:
        status = _status(error)
        if status is not None:
            problem = f"the server answered {status}"
        else:
            told = (
                error.strerror
                if isinstance(error, OSError)
                else f"the answer makes no sense: {error}"
            )
            problem = told or f"there is no connection ({type(error).__name__})"
        raise DataError(
            url,
            f"cannot be downloaded: {problem}. Where there is no internet, download {archive_url} "
            "by hand elsewhere and pass the zip's path to `python -m indexer build`",
        ) from error


def _status(error: BaseException | None) -> int | None:
    status: int | None = getattr(getattr(error, "response", None), "status_code", None)
    return status


def _verify(archive: Path, checksum: str | None, url: str) -> None:
    again = "the download was damaged or replaced on its way; try again"
    if checksum:
        found = pooch.file_hash(str(archive), alg="md5")
        if found != checksum:
            raise DataError(url, f"has MD5 {found} where {checksum} was published: {again}")
        return
    try:
        with zipfile.ZipFile(archive) as members:
            damaged = members.testzip()
    except zipfile.BadZipFile as error:
        raise DataError(url, f"is not a zip archive: {again}") from error
    # What a damaged member leads to before its checksum is compared.
    except (OSError, EOFError, RuntimeError, zlib.error) as error:
        raise DataError(url, f"cannot be unpacked ({error}): {again}") from error
    if damaged:
        raise DataError(url, f"holds a damaged {damaged}: {again}")
