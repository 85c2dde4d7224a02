"""Knows how faiss lays an index out in a file: enough to say, before faiss parses it, that it may.

It refuses to know faiss itself, and how to search. faiss believes the counts, offsets and row numbers
that a file declares, and reads or writes outside its memory where they lie; here each of them is held
against the length of the file and against the rows and dimensions that the manifest promises.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from ilk.errors import BundleCorrupt
from ilk.index_file.codes import (
    CODES_TOGETHER,
    LISTS_BY_QUERY,
    ivf_pq,
    ivf_pq_2,
    ivf_sq,
    packed_places,
    pq,
)
from ilk.index_file.contents import Contents, Packed, look_through
from ilk.index_file.cursor import Cursor
from ilk.index_file.lists import ivf
from ilk.index_file.vectors import flat, hnsw

__all__ = [
    "CODES_TOGETHER",
    "LISTS_BY_QUERY",
    "Packed",
    "check_contents",
    "check_layout",
    "packed_places",
]


def check_layout(path: Path, kind: str, n_rows: int, dim: int) -> list[Packed]:
    """Refuse a file whose declared counts and offsets do not add up; vectors and links are not read.

    Returns the partitions of IVFPQ2, and nothing of other kinds.

    Parameters
    ----------
    kind
        Flat, PQ, IVF, IVFSQ, IVFPQ, IVFPQ2 or HNSW, by inner product.
    n_rows, dim
        What the manifest promises.

    Raises
    ------
    BundleCorrupt
        If faiss must not be given the file.

    Notes
    -----
    Reads a few bytes of a Flat index, 8 bytes for each list of an IVF index and 12 for each row of an
    HNSW index, which faiss itself reads at opening. The layout is that of faiss's ``write_index``.
    """
    return _parse(path, kind, n_rows, dim)[1].packed


def check_contents(path: Path, kind: str, n_rows: int, dim: int) -> None:
    """Refuse a file that :func:`check_layout` refuses, or whose vectors or row numbers are impossible.

    Reads all of it. Vectors must be finite; every row must stand in exactly one list; every link must
    lead to a row that stands on the link's level. Parameters and errors as :func:`check_layout`.
    """
    cursor, contents = _parse(path, kind, n_rows, dim)
    look_through(cursor, contents, n_rows)


def _parse(path: Path, kind: str, n_rows: int, dim: int) -> tuple[Cursor, Contents]:
    if not path.stat().st_size:
        raise BundleCorrupt(f"{path.name}: faiss cannot read it: the file is empty; build again")
    data = np.memmap(path, np.uint8, "r").view(np.ndarray)
    cursor, contents = Cursor(path.name, data), Contents()
    fourcc, parse = _KINDS[kind]
    found = cursor.take("S4", 1)[0]
    if found != fourcc:
        if found in _OTHERS:
            raise BundleCorrupt(
                f"{path.name}: expected {kind} by inner product, found {found.decode()}"
            )
        raise cursor.broken(f"begins with {found!r}")
    parse(cursor, contents, n_rows, dim)
    if cursor.at != len(data):
        raise cursor.broken(f"{len(data) - cursor.at} bytes follow its end")
    return cursor, contents


_Parser = Callable[[Cursor, Contents, int, int], None]
_KINDS: Final[dict[str, tuple[bytes, _Parser]]] = {
    "Flat": (b"IxFI", flat),
    "PQ": (b"IPfs", pq),
    "IVF": (b"IwFl", ivf),
    "IVFSQ": (b"IwSq", ivf_sq),
    "IVFPQ": (b"IwPf", ivf_pq),
    "IVFPQ2": (b"IwPf", ivf_pq_2),
    "HNSW": (b"IHNf", hnsw),
}
# What else faiss could make of a file that begins so; named so that a mistake is told from damage.
_OTHERS: Final = frozenset(b"IxFI IxF2 IxFl IwFl IHNf IxSQ IwSq IHNs IxPT IPfs IwPf".split())
