"""Knows what a column of ids or texts may hold: all of it at once, or one cell's text.

It refuses to know files and their layouts, and what may be counted (`quantities` does). ``sound``
is quick and says only yes or no; ``parser`` is slow and says what is wrong; what the one takes, the
other takes as the same value.
"""

import abc
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ilk.types import MAX_ID_BYTES


@dataclass(frozen=True, slots=True)
class CodedIds:
    """Ids as codes into their distinct values, in order of first appearance.

    Attributes
    ----------
    ids
        Distinct ids, a pyarrow array of strings.
    codes
        Shape ``(n_rows,)``, int32: positions in ``ids``.
    """

    ids: Any
    codes: npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Column(abc.ABC):
    """One wanted column.

    Attributes
    ----------
    name
        What messages call it, and the key of its values in :class:`indexer.readers.rows.Rows`.
    position
        Its place among the file's columns, from 0.
    """

    name: str
    position: int

    @property
    @abc.abstractmethod
    def arrow_type(self) -> Any:
        """The pyarrow type that the whole column is read as."""

    @abc.abstractmethod
    def sound(self, values: Any) -> bool:
        """Whether every value of a pyarrow column of ``arrow_type`` may be taken."""

    @abc.abstractmethod
    def parser(self) -> Callable[[str], Any]:
        """Return a function from a cell's text to its value; it raises ValueError with a reason."""

    @abc.abstractmethod
    def taken(self, values: Any) -> Any:
        """Return a sound pyarrow column as what the rest of the indexer works on."""


@dataclass(frozen=True, slots=True)
class IdColumn(Column):
    """Ids: exact strings of 1 to 256 bytes; taken as :class:`CodedIds`.

    Attributes
    ----------
    known
        If given, a pyarrow array of the only ids allowed, and the name of the file that has them.
    unique
        Whether an id may appear only once.
    """

    known: tuple[Any, str] | None = None
    unique: bool = False

    @property
    def arrow_type(self) -> Any:
        """Strings, each distinct one held once."""
        return pa.dictionary(pa.int32(), pa.string())

    def sound(self, values: Any) -> bool:
        """Look at each distinct id once."""
        if values.null_count:
            return False
        ids = _distinct(values)
        if not len(ids):
            return True
        size_bytes = pc.min_max(pc.binary_length(ids)).as_py()
        if size_bytes["min"] < 1 or size_bytes["max"] > MAX_ID_BYTES:
            return False
        if self.unique and len(ids) != len(values):
            return False
        return self.known is None or not pc.index_in(ids, value_set=self.known[0]).null_count

    def parser(self) -> Callable[[str], str]:
        """Keep the text as it is: ``01`` is not ``1``."""
        known = None if self.known is None else set(self.known[0].to_pylist())
        seen: set[str] = set()

        def parse(text: str) -> str:
            if not text:
                raise ValueError(f"{self.name} is blank")
            if len(text) * 4 > MAX_ID_BYTES and len(text.encode()) > MAX_ID_BYTES:
                raise ValueError(
                    f"{self.name} {text[:20]!r}... has {len(text.encode())} bytes; "
                    f"at most {MAX_ID_BYTES}"
                )
            if known is not None and text not in known:
                assert self.known is not None
                raise ValueError(f"{self.name} {text!r} is not in {self.known[1]}")
            if self.unique:
                if text in seen:
                    raise ValueError(f"{self.name} {text!r} appears a second time")
                seen.add(text)
            return text

        return parse

    def taken(self, values: Any) -> CodedIds:
        """Give each distinct id a code that holds across all chunks."""
        chunks = _unified(values).chunks
        codes = pa.chunked_array([chunk.indices for chunk in chunks]).to_numpy()
        return CodedIds(chunks[-1].dictionary, codes)


@dataclass(frozen=True, slots=True)
class TextColumn(Column):
    """Any text, or all of a cell as ``pattern`` says; taken as a list of strings."""

    pattern: str = ""
    meaning: str = ""

    @property
    def arrow_type(self) -> Any:
        """Strings."""
        return pa.string()

    def sound(self, values: Any) -> bool:
        """Match every text with the pattern, if there is one."""
        if values.null_count:
            return False
        if not self.pattern:
            return True
        matches = pc.match_substring_regex(values, f"^(?:{self.pattern})$")
        return bool(pc.all(matches, min_count=0).as_py())

    def parser(self) -> Callable[[str], str]:
        """Keep the text as it is."""

        def parse(text: str) -> str:
            if self.pattern and not re.fullmatch(self.pattern, text, re.ASCII):
                raise ValueError(f"{self.name} {text!r} is not {self.meaning or 'well-formed'}")
            return text

        return parse

    def taken(self, values: Any) -> list[str]:
        """Hand over as Python strings."""
        texts: list[str] = values.to_pylist()
        return texts


def _distinct(ids: Any) -> Any:
    chunks = _unified(ids).chunks
    return chunks[-1].dictionary if chunks else pa.array([], pa.string())


def _unified(ids: Any) -> Any:
    """Return ids whose chunks share one dictionary; pyarrow would work it out anew each time."""
    if len({_place(chunk.dictionary) for chunk in ids.chunks}) < 2:
        return ids
    return ids.unify_dictionaries()


def _place(dictionary: Any) -> tuple[int, ...]:
    """Return where in memory the distinct ids are."""
    return (len(dictionary), *(b.address if b else 0 for b in dictionary.buffers()))
