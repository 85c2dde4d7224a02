"""Knows how to read rows strictly: all at once if all are sound, one by one to find what is not.

It refuses to know file formats (`delimited` and `parquet` do) and what the columns are for.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from ilk.errors import DataError
from indexer.progress import note
from indexer.readers.columns import Column

BATCH_ROWS = 65_536
# Of fewer, most may be malformed by chance.
_FEW_LINES = 10


@dataclass(frozen=True, slots=True)
class Record:
    """One row as text.

    Attributes
    ----------
    number
        Of its first line (or of the row, where the format has no lines), from 1.
    n_lines
        How many lines it spans.
    cells
        Texts by position; none for an empty line, which is passed over.
    problem
        Why the row cannot be cut into cells, or empty.
    """

    number: int
    n_lines: int
    cells: Sequence[str]
    problem: str = ""


class RowSource(Protocol):
    """A file with rows and named columns."""

    @property
    def name(self) -> str:
        """What messages call the file."""

    @property
    def column_names(self) -> Sequence[str]:
        """Names by position."""

    def whole(self, columns: Sequence[Column]) -> list[Any] | None:
        """Return a pyarrow column per wanted one, or None if some row does not fit."""

    def records(self) -> Iterator[Record]:
        """Yield every row below the header."""

    def error(self, number: int, problem: str) -> DataError:
        """Return the error that names the file and the record's number."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What was read.

    Attributes
    ----------
    values
        By column name, as the column's ``taken`` makes them.
    n_rows
        Rows kept.
    n_dropped
        Lines passed over because they were malformed.
    """

    values: dict[str, Any]
    n_rows: int
    n_dropped: int = 0


def read_rows(source: RowSource, columns: Sequence[Column], *, skip_bad_rows: bool = False) -> Rows:
    """Read the wanted columns.

    Parameters
    ----------
    source
        The file.
    columns
        What is wanted; cells are judged in this order, so unique ids come last.
    skip_bad_rows
        Pass over, count and tell of what is malformed, where the default is to refuse the file.

    Raises
    ------
    DataError
        At the first malformed row, by its line; if more is malformed than is not; or if no row is left.
    """
    arrays, n_dropped = source.whole(columns), 0
    if arrays is not None and not _all_sound(columns, arrays):
        arrays = None
    if arrays is None:
        arrays, n_dropped = _one_by_one(source, columns, skip_bad_rows)
    n_rows = len(arrays[0])
    if not n_rows:
        dropped = f" but {n_dropped} malformed lines" if n_dropped else ""
        raise DataError(source.name, f"holds no rows{dropped}")
    values = {}
    for column in columns:
        # Each column is let go as soon as it is converted: at most one is held twice.
        values[column.name] = column.taken(arrays.pop(0))
    return Rows(values, n_rows, n_dropped)


def _all_sound(columns: Sequence[Column], arrays: Sequence[Any]) -> bool:
    return all(column.sound(array) for column, array in zip(columns, arrays, strict=True))


def _one_by_one(
    source: RowSource, columns: Sequence[Column], skip_bad_rows: bool
) -> tuple[list[Any], int]:
    parse = _row_parser(source, columns)
    types = [column.arrow_type for column in columns]
    chunks: list[list[Any]] = [[] for _ in columns]
    batch: list[tuple[Any, ...]] = []
    n_dropped, first = 0, ""

    def flush() -> None:
        for values, arrow_type, pieces in zip(zip(*batch, strict=True), types, chunks, strict=True):
            pieces.append(pa.array(values, arrow_type))
        batch.clear()

    for record in source.records():
        if not record.cells and not record.problem:
            continue
        try:
            batch.append(parse(record))
        except ValueError as error:
            refused = source.error(record.number, str(error))
            if not skip_bad_rows:
                raise refused from error
            first = first or str(refused)
            n_dropped += record.n_lines
        if len(batch) == BATCH_ROWS:
            flush()
    if batch:
        flush()
    arrays = [pa.chunked_array(pieces, t) for pieces, t in zip(chunks, types, strict=True)]
    if n_dropped:
        _tell(source, n_dropped, len(arrays[0]), first)
    return arrays, n_dropped


def _tell(source: RowSource, n_dropped: int, n_kept: int, first: str) -> None:
    told = f"{n_dropped} malformed lines, the first is {first}"
    if n_dropped > max(n_kept, _FEW_LINES):
        raise DataError(source.name, f"holds more malformed lines than others: {told}")
    note(f"{source.name}: passed over {told}")


def _row_parser(
    source: RowSource, columns: Sequence[Column]
) -> Callable[[Record], tuple[Any, ...]]:
    n_columns = len(source.column_names)
    parsers = [(column.position, column.parser()) for column in columns]

    def parse(record: Record) -> tuple[Any, ...]:
        if record.problem:
            raise ValueError(record.problem)
        if len(record.cells) != n_columns:
            raise ValueError(f"has {len(record.cells)} columns; expected {n_columns}")
        return tuple(cell(record.cells[position]) for position, cell in parsers)

    return parse
