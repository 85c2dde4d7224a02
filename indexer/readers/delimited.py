"""Knows text files of rows: CSV and its kin, with any separator, quoting and encoding.

It refuses to know what the columns mean. pyarrow reads whole files; where that fails, Python's own
``csv`` goes line by line to say which line is at fault.
"""

import contextlib
import csv
import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, TypeAlias, cast

import pyarrow as pa
from pyarrow import csv as arrow_csv

from ilk.errors import DataError
from indexer.readers.columns import Column
from indexer.readers.quotes import QuoteWatch
from indexer.readers.rows import Record

BLOCK_BYTES = 1 << 24
# Stands in for a separator of several characters; the unit separator is not found in texts.
UNIT_SEPARATOR = "\x1f"
NOT_TEXT = "is not UTF-8 text"

Member: TypeAlias = Path | zipfile.Path


@dataclass(frozen=True)
class Delimited:
    """A delimited text file.

    Attributes
    ----------
    path
        The file, gzipped if it ends in ``.gz`` (or ``.GZ``), or a member of a zip archive.
    separator
        Between cells; more than one character only where ``quoted`` is False.
    quoted
        Whether cells may stand in double quotes, a quote within being doubled.
    names
        Column names of a file without a header line; None reads them from its first line.
    encoding
        ``utf-8`` or ``latin-1``.
    many_lines
        Whether a quoted cell may hold line breaks.
    """

    path: Member
    separator: str = ","
    quoted: bool = True
    names: Sequence[str] | None = None
    encoding: str = "utf-8"
    many_lines: bool = False

    @property
    def name(self) -> str:
        """The path, with that of the archive before it."""
        return str(self.path)

    @cached_property
    def column_names(self) -> Sequence[str]:
        """Names by position, as given or from the header."""
        return self.names if self.names is not None else self._header.cells

    @cached_property
    def _header(self) -> Record:
        for record in self._all_records():
            if record.problem:
                raise self.error(record.number, record.problem)
            if record.cells:
                return record
        raise DataError(self.name, "is empty; expected a header line")

    def error(self, number: int, problem: str) -> DataError:
        """Return the error that names the file and the line."""
        return DataError(self.name, problem, line=number)

    def whole(self, columns: Sequence[Column]) -> list[Any] | None:
        """Let pyarrow read everything; None if it cannot, or if a quote stands where none belongs."""
        names = [str(position) for position in range(len(self.column_names))]
        wanted = [str(column.position) for column in columns]
        types = {str(column.position): column.arrow_type for column in columns}
        with self._opened() as file:
            watched = QuoteWatch(file, self._delimiter, many_lines=self.many_lines)
            try:
                table = arrow_csv.read_csv(
                    watched,
                    arrow_csv.ReadOptions(
                        column_names=names,
                        skip_rows=self._n_header_lines,
                        block_size=BLOCK_BYTES,
                        encoding=self.encoding,
                    ),
                    arrow_csv.ParseOptions(
                        delimiter=self._delimiter,
                        quote_char='"' if self.quoted else False,
                        newlines_in_values=self.many_lines,
                    ),
                    arrow_csv.ConvertOptions(
                        column_types=types, include_columns=wanted, null_values=[]
                    ),
                )
            except (pa.ArrowInvalid, UnicodeDecodeError):
                return None
        if self.quoted and not watched.sound:
            return None
        # Once for all: each column's own unifying finds nothing left to do.
        table = table.unify_dictionaries()
        return [table.column(name) for name in wanted]

    def records(self) -> Iterator[Record]:
        """Yield every row below the header."""
        records = self._all_records()
        if self.names is None:
            next((record for record in records if record.cells), None)
        return records

    def _all_records(self) -> Iterator[Record]:
        # utf-8-sig passes over the mark that some editors put first.
        encoding = "utf-8-sig" if self.encoding == "utf-8" else self.encoding
        with self._opened() as file:
            text = io.TextIOWrapper(file, encoding, errors="surrogateescape", newline="")
            if self.many_lines:
                yield from _cut(text, self._delimiter, self.quoted)
                return
            for number, line in enumerate(text, start=1):
                yield self._cut_line(number, line)

    def _cut_line(self, number: int, line: str) -> Record:
        # Millions of lines pass here to find the bad one, and hardly any has a quote.
        if not (self.quoted and '"' in line):
            bare = line.rstrip("\r\n")
            cells = bare.split(self._delimiter) if bare else []
            return Record(number, 1, cells, "" if _encodable(bare) else NOT_TEXT)
        (record,) = _cut((line,), self._delimiter, self.quoted)
        return Record(number, 1, record.cells, record.problem)

    @property
    def _n_header_lines(self) -> int:
        """How many lines there are to the header's end: blank ones before it, and breaks in its cells."""
        return 0 if self.names is not None else self._header.number + self._header.n_lines - 1

    @property
    def _delimiter(self) -> str:
        return self.separator if len(self.separator) == 1 else UNIT_SEPARATOR

    @contextlib.contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        with reading(self.name), self.path.open("rb") as raw, contextlib.ExitStack() as stack:
            file: IO[bytes] = raw
            if self.path.name.lower().endswith(".gz"):
                file = cast(IO[bytes], stack.enter_context(gzip.open(raw)))
            if len(self.separator) > 1:
                ours, theirs = self._delimiter.encode(), self.separator.encode()
                file = io.BytesIO(file.read().replace(theirs, ours))
            yield file


@contextlib.contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn what the operating system or an archive refuses into :class:`ilk.errors.DataError`."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(name, "does not exist") from error
    # zipfile says RuntimeError for encrypted members.
    except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(name, f"cannot be read: {error}") from error


def _cut(lines: Any, delimiter: str, quoted: bool) -> Iterator[Record]:
    reader = csv.reader(
        lines,
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        strict=True,
    )
    while True:
        first = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Record(first, reader.line_num - first + 1, (), f"is malformed: {error}")
            continue
        problem = "" if _encodable("".join(cells)) else NOT_TEXT
        yield Record(first, reader.line_num - first + 1, cells, problem)


def _encodable(text: str) -> bool:
    # Bytes that are not UTF-8 were read as lone surrogates.
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
