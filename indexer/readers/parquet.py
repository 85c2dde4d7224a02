"""Knows Parquet files of rows.

It refuses to know what the columns mean. Rows have no lines here: messages count rows, from 1.
"""

import contextlib
import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ilk.errors import DataError
from indexer.readers.columns import Column, IdColumn
from indexer.readers.delimited import reading
from indexer.readers.rows import BATCH_ROWS, Record

LIST_SEPARATOR = "|"


@dataclass(frozen=True)
class ParquetRows:
    """A Parquet file; lists of strings are read as texts joined by ``|``."""

    path: Path

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    @cached_property
    def column_names(self) -> Sequence[str]:
        """Names by position."""
        names = tuple(self._schema.names)
        if len(set(names)) < len(names):
            raise DataError(self.name, f"has columns of the same name among {', '.join(names)}")
        return names

    def is_text(self, position: int) -> bool:
        """Whether a column holds strings or lists of strings, as opposed to numbers or times."""
        return _is_string(_plain(self._schema.field(position).type))

    def error(self, number: int, problem: str) -> DataError:
        """Return the error that names the file and the row."""
        return DataError(f"{self.name}, row {number}", problem)

    def whole(self, columns: Sequence[Column]) -> list[Any] | None:
        """Read only what is wanted; None if a value does not fit its column."""
        for column in columns:
            self._check_type(column)
        with self._opened() as file:
            table = file.read(columns=[self.column_names[c.position] for c in columns])
        try:
            return [
                _as_type(table.column(self.column_names[c.position]), c.arrow_type) for c in columns
            ]
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return None

    def records(self) -> Iterator[Record]:
        """Yield every row as text; what is missing as an empty one."""
        number = 0
        with self._opened() as file:
            for batch in file.iter_batches(BATCH_ROWS):
                columns = [_without_nanoseconds(column).to_pylist() for column in batch.columns]
                for cells in zip(*columns, strict=True):
                    number += 1
                    yield Record(number, 1, [_text(cell) for cell in cells])

    @cached_property
    def _schema(self) -> Any:
        with self._opened() as file:
            return file.schema_arrow

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Any]:
        with reading(self.name):
            # Much of what is wrong with a file shows only as it is read.
            try:
                with pq.ParquetFile(self.path) as file:
                    yield file
            except (pa.ArrowException, UnicodeDecodeError) as error:
                raise DataError(self.name, f"is not a sound Parquet file: {error}") from error

    def _check_type(self, column: Column) -> None:
        arrow_type = self._schema.field(column.position).type
        if not isinstance(column, IdColumn):
            inner = _plain(arrow_type)
            if pa.types.is_nested(inner) or _is_binary(inner):
                raise DataError(
                    self.name,
                    f"{column.name} is of type {arrow_type}; expected strings, numbers or lists of them",
                )
            return
        if pa.types.is_dictionary(arrow_type):
            arrow_type = arrow_type.value_type
        if not (_is_string(arrow_type) or pa.types.is_integer(arrow_type)):
            raise DataError(
                self.name, f"{column.name} is of type {arrow_type}; expected strings or integers"
            )


def _plain(arrow_type: Any) -> Any:
    while pa.types.is_dictionary(arrow_type) or _is_list(arrow_type):
        arrow_type = arrow_type.value_type
    return arrow_type


def _is_list(arrow_type: Any) -> bool:
    kinds = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(is_kind(arrow_type) for is_kind in kinds)


def _is_string(arrow_type: Any) -> bool:
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(is_kind(arrow_type) for is_kind in kinds)


def _is_binary(arrow_type: Any) -> bool:
    return bool(pa.types.is_binary(arrow_type) or pa.types.is_large_binary(arrow_type))


def _as_type(values: Any, arrow_type: Any) -> Any:
    if _is_list(values.type):
        texts = [_text(value) for value in values.to_pylist()]
        return pa.chunked_array([pa.array(texts, pa.string())])
    if pa.types.is_dictionary(arrow_type):
        return values.cast(pa.string()).dictionary_encode()
    if pa.types.is_string(arrow_type):
        return values.cast(pa.string()).fill_null("")
    # Half a microsecond may be lost; a fraction of a second may not be, where whole ones are due.
    safe = not (pa.types.is_timestamp(arrow_type) or pa.types.is_floating(arrow_type))
    return values.cast(arrow_type, safe=safe)


def _without_nanoseconds(values: Any) -> Any:
    if not pa.types.is_timestamp(values.type):
        return values
    return values.cast(pa.timestamp("us", values.type.tz), safe=False)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return LIST_SEPARATOR.join(str(part) for part in value if part is not None)
    if isinstance(value, datetime.date):
        return value.isoformat()
    return str(value)
