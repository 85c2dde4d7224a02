"""Knows which external id stands for which row, both ways, straight from mapped arrays.

It refuses to know whether the ids are users or items. Large vocabularies are not decoded at opening, so
ten million ids cost no private memory: an id is found by binary search over its hash and compared byte by
byte. Small ones are held decoded, which makes an answer some microseconds cheaper.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ilk.errors import BundleCorrupt

# Strings of up to so many rows are held decoded: about 30 MB a worker at the most.
_HELD_IN_MEMORY = 200_000


class StringColumn:
    """``n`` strings as one block of UTF-8.

    Parameters
    ----------
    blob
        Shape ``(size_bytes,)``, uint8.
    offsets
        Shape ``(n + 1,)``, int64; string ``row`` is ``blob[offsets[row]:offsets[row + 1]]``.
    """

    __slots__ = ("_decoded", "_ends", "_text", "blob", "offsets")

    def __init__(self, blob: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> None:
        if not len(offsets) or offsets[0] != 0 or offsets[-1] != len(blob):
            raise BundleCorrupt("string offsets do not span their block of text")
        self.blob = blob
        self.offsets = offsets
        # Single elements of a memoryview are read several times as fast as those of an array.
        self._text = memoryview(blob)  # type: ignore[arg-type]
        self._ends = memoryview(offsets)  # type: ignore[arg-type]
        self._decoded: list[str] | None = None
        if len(self) <= _HELD_IN_MEMORY:
            self._decoded = self.to_list()

    @classmethod
    def of(cls, strings: Iterable[str]) -> "StringColumn":
        """Return ``strings`` as a column."""
        return cls.of_bytes([s.encode() for s in strings])

    @classmethod
    def of_bytes(cls, encoded: Sequence[bytes]) -> "StringColumn":
        """Return strings given in UTF-8 as a column."""
        offsets = np.zeros(len(encoded) + 1, dtype=np.int64)
        sizes = np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded))
        np.cumsum(sizes, out=offsets[1:])
        return cls(np.frombuffer(b"".join(encoded), dtype=np.uint8), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> str:
        if self._decoded is not None:
            return self._decoded[row]
        ends = self._ends
        return str(self._text[ends[row] : ends[row + 1]], "utf-8")

    def bytes_at(self, row: int) -> bytes:
        """Return the UTF-8 bytes of string ``row``."""
        return bytes(self._text[self._ends[row] : self._ends[row + 1]])

    def to_list(self) -> list[str]:
        """Return every string, decoded."""
        if self._decoded is not None:
            return self._decoded.copy()
        text, ends = self.blob.tobytes(), self.offsets.tolist()
        return [text[a:b].decode() for a, b in pairwise(ends)]


class Vocabulary:
    """Unique ids and their rows.

    Parameters
    ----------
    ids
        The ids by row.
    hashes
        Shape ``(n,)``, uint64, rising: the hash of every id.
    hash_rows
        Shape ``(n,)``, int64: the row of the id behind each hash.

    Notes
    -----
    Two ids with one hash stand side by side and are told apart by their bytes.
    """

    __slots__ = ("_hash_rows", "_hashes", "_known", "_sorted", "ids")

    def __init__(
        self,
        ids: StringColumn,
        hashes: npt.NDArray[np.uint64],
        hash_rows: npt.NDArray[np.int64],
    ) -> None:
        if not len(ids) == len(hashes) == len(hash_rows):
            raise BundleCorrupt(
                f"a vocabulary of {len(ids)} ids has {len(hashes)} hashes and {len(hash_rows)} rows"
            )
        self.ids = ids
        self._hashes = hashes
        self._sorted = memoryview(hashes)  # type: ignore[arg-type]
        small = len(ids) <= _HELD_IN_MEMORY
        self._known = dict(zip(ids.to_list(), range(len(ids)), strict=True)) if small else None
        self._hash_rows = hash_rows

    @classmethod
    def of(cls, ids: Iterable[str]) -> "Vocabulary":
        """Return the vocabulary that gives ``ids`` the rows 0, 1, 2...; they must be unique."""
        encoded = [i.encode() for i in ids]
        column = StringColumn.of_bytes(encoded)
        hashes = np.fromiter(map(_hash, encoded), dtype=np.uint64, count=len(encoded))
        order = np.argsort(hashes, kind="stable").astype(np.int64)
        return cls(column, hashes[order], order)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[np.generic]]) -> "Vocabulary":
        """Return the vocabulary that :meth:`arrays` was called on."""
        column = StringColumn(arrays["blob"], arrays["offsets"])  # type: ignore[arg-type]
        return cls(column, arrays["hashes"], arrays["hash_rows"])  # type: ignore[arg-type]

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return what a bundle stores, by name."""
        return {
            "blob": self.ids.blob,
            "offsets": self.ids.offsets,
            "hashes": self._hashes,
            "hash_rows": self._hash_rows,
        }

    def __len__(self) -> int:
        return len(self.ids)

    def id_of(self, row: int) -> str:
        """Return the id of a row in ``[0, n)``."""
        return self.ids[row]

    def row_of(self, external_id: str) -> int:
        """Return the row of an id, or -1 if the vocabulary does not hold it."""
        if self._known is not None:
            return self._known.get(external_id, -1)
        # A lone surrogate is no text and no id; encoded like this it matches none.
        encoded = external_id.encode("utf-8", "surrogatepass")
        wanted = _hash(encoded)
        hashes = self._sorted
        at = bisect_left(hashes, wanted)
        while at < len(hashes) and hashes[at] == wanted:
            row = self._hash_rows.item(at)
            if self.ids.bytes_at(row) == encoded:
                return row
            at += 1
        return -1

    def rows_of(self, external_ids: Iterable[str]) -> npt.NDArray[np.int64]:
        """Return the row of each id, -1 where the vocabulary does not hold it."""
        return np.array([self.row_of(i) for i in external_ids], dtype=np.int64)


def _hash(encoded: bytes) -> int:
    return int.from_bytes(blake2b(encoded, digest_size=8).digest(), "little")
