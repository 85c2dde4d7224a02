"""Knows how faiss lays out vectors, alone or with links between them.

It refuses to know codes and lists.
"""

from typing import Final

import numpy as np

from ilk.errors import BundleCorrupt
from ilk.index_file.contents import Contents, Graph
from ilk.index_file.cursor import Cursor

_INNER_PRODUCT: Final = 0
_MAX_LEVELS: Final = 64


def header(cursor: Cursor, n_rows: int, dim: int) -> None:
    """Take what every index begins with."""
    found_dim, found_rows = cursor.scalar("<i4"), cursor.scalar("<i8")
    if (found_rows, found_dim) != (n_rows, dim):
        raise BundleCorrupt(
            f"{cursor.name}: holds {found_rows} x {found_dim}, the manifest says {n_rows} x {dim}"
        )
    cursor.take("<i8", 2)
    cursor.expect("its mark of being trained", cursor.scalar("u1"), 1)
    if cursor.scalar("<i4") != _INNER_PRODUCT:
        raise BundleCorrupt(f"{cursor.name}: does not measure by inner product")


def flat(cursor: Cursor, contents: Contents, n_rows: int, dim: int) -> None:
    """Take vectors, one after the other."""
    header(cursor, n_rows, dim)
    cursor.expect("the number of its values", cursor.scalar("<u8"), n_rows * dim)
    contents.vectors.append(cursor.take("<f4", n_rows * dim))


def nested_flat(cursor: Cursor, contents: Contents, n_rows: int, dim: int) -> None:
    """Take vectors that lie inside another index."""
    cursor.expect("what lies inside it", cursor.take("S4", 1)[0], b"IxFI")
    flat(cursor, contents, n_rows, dim)


def hnsw(cursor: Cursor, contents: Contents, n_rows: int, dim: int) -> None:
    """Take links between rows, and then their vectors."""
    header(cursor, n_rows, dim)
    n_levels = len(cursor.vector("<f8"))
    places, levels = cursor.vector("<i4").astype(np.int64), cursor.vector("<i4").astype(np.int64)
    if not 1 <= n_levels < len(places) <= _MAX_LEVELS or places[0] or (np.diff(places) < 1).any():
        raise cursor.broken(f"its {n_levels} levels have no sound places")
    cursor.expect("the number of its rows with levels", len(levels), n_rows)
    if not 1 <= levels.min() <= levels.max() < len(places):
        raise cursor.broken("a row stands on a level that does not exist")
    offsets, links = cursor.vector("<u8"), cursor.vector("<i4")
    cursor.expect("the number of its offsets", len(offsets), n_rows + 1)
    if offsets[0] or (np.diff(offsets.astype(np.int64)) != places[levels]).any():
        raise cursor.broken("its offsets do not follow from its levels")
    cursor.expect("the number of its links", len(links), int(offsets[-1]))
    entry, top = cursor.scalar("<i4"), cursor.scalar("<i4")
    if not 0 <= entry < n_rows or not levels[entry] - 1 == top == levels.max() - 1:
        raise cursor.broken("its search begins at a row that is not on the highest level")
    cursor.take("<i4", 3)
    contents.graph = Graph(levels, offsets.astype(np.int64), links, places)
    nested_flat(cursor, contents, n_rows, dim)
