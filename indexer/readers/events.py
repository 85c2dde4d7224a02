"""Knows a table of interactions that stands alone: CSV and its kin or Parquet, with a header or without.

It refuses to know items and what the interactions are for. What a header calls its columns, `tabular`
says.
"""

from dataclasses import replace
from pathlib import Path

from ilk.errors import DataError
from indexer.progress import note
from indexer.readers.delimited import Delimited
from indexer.readers.pairs import Events
from indexer.readers.parquet import ParquetRows
from indexer.readers.tabular import ITEM, USER, Table, find, read_events_of

# The columns of a file without a header, by their place; MovieLens and published splits agree.
NAMES = ("user", "item", "rating", "timestamp")
_SEPARATORS = ("::", "\t", ",", ";", "|", " ")
_OF_SUFFIX = {".csv": (",",), ".tsv": ("\t",)}


def read_events(
    path: Path, *, rating_scale: tuple[float, float] | None = None, skip_bad_rows: bool = False
) -> Events:
    """Read a file of interactions.

    Parameters
    ----------
    path
        Parquet, or text in rows, gzipped if it ends in ``.gz``. The separator is the one that the
        first line has: that of the suffix, ``::``, a tab, a comma, ``;``, ``|`` or a space. A first
        line that names a user and an item is a header; else the columns are user, item and,
        optionally, rating and time.
    rating_scale
        ``(min, max)`` that the ratings must keep to.
    skip_bad_rows
        Pass over and count malformed rows, where the default is to refuse the file.

    Raises
    ------
    DataError
        If the file is missing or a row is malformed, if without a header it has fewer than two or
        more than four columns, or if all times are dates of eight digits.
    """
    return read_events_of(_table(path), None, rating_scale, skip_bad_rows=skip_bad_rows)


def _table(path: Path) -> Table:
    if not path.is_file():
        raise DataError(path, "is a folder" if path.is_dir() else "does not exist")
    if path.name.lower().endswith(".parquet"):
        return ParquetRows(path)
    separator = _separator(path)
    with_header = Delimited(path, separator, quoted=len(separator) == 1)
    if find(with_header, USER) is not None and find(with_header, ITEM) is not None:
        return with_header
    n_columns = len(with_header.column_names)
    if not 2 <= n_columns <= len(NAMES):
        raise DataError(
            path,
            f"has {n_columns} columns in its first line, which names no user and item; expected "
            f"a header, or rows of user, item and, optionally, rating and time",
        )
    note(
        f"{path}: its first line names no user and item, and is read as a row: "
        + ", ".join(map(repr, with_header.column_names))
    )
    return replace(with_header, names=NAMES[:n_columns])


def _separator(path: Path) -> str:
    whole_lines = Delimited(path, "\n", quoted=False, names=("line",))
    lines = (record.cells[0] for record in whole_lines.records() if record.cells)
    line = next(lines, "")
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    marks = (*_OF_SUFFIX.get(suffix, ()), *_SEPARATORS)
    return next((mark for mark in marks if mark in line), ",")
