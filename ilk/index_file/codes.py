"""Knows how codes of four and eight bits are laid out: by faiss, and by `ilk.ann.packed`.

It refuses to know how they are searched.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from ilk.errors import BundleCorrupt
from ilk.index_file.contents import Contents, Lists, Packed
from ilk.index_file.cursor import Cursor
from ilk.index_file.lists import check_sizes, ivf_header, lists_of
from ilk.index_file.vectors import header

# faiss's name for codes of eight bits with a range for each dimension.
_EIGHT_BITS: Final = 0
# faiss's way through lists of 4-bit codes: list after list for one query, the best sorted out late.
# Its own choice sorts lists by how they are searched, for whole batches: a quarter dearer for one query.
LISTS_BY_QUERY: Final = 11
# Rows whose codes, of a PQ, stand together: with 64 a query compares in nine tenths of the time that 32
# take, which bundles have that were built before.
CODES_TOGETHER: Final = 64
_FEWER_CODES_TOGETHER: Final = 32
# Rows whose codes stand together in lists.
_LISTED_TOGETHER: Final = 32
# Lists that are mapped begin at such places of a file: faiss reads codes from nowhere else.
_ALIGNED: Final = 64
_PARTITIONS: Final = 2


def pq(cursor: Cursor, contents: Contents, n_rows: int, dim: int) -> None:
    """Take codes of four bits, packed in blocks of rows for an even number of parts."""
    header(cursor, n_rows, dim)
    n_parts = parts_of_vectors(cursor, contents, dim)
    # How faiss searches it: the implementation it is to choose, rows to a block, queries to a block.
    way, block, together = cursor.take("<i4", 3).tolist()
    cursor.expect("how it is searched", (way, together), (0, 0))
    if block != _FEWER_CODES_TOGETHER:
        cursor.expect("how many rows stand in a block", block, CODES_TOGETHER)
    n_padded, n_even = -(-n_rows // block) * block, -(-n_parts // 2) * 2
    shape = (cursor.scalar("<u8"), cursor.scalar("<u8"))
    cursor.expect("the shape of its codes", shape, (n_padded, n_even))
    cursor.expect("the bytes of its codes", len(cursor.vector("u1")), n_padded * n_even // 2)


def parts_of_vectors(cursor: Cursor, contents: Contents, dim: int) -> int:
    """Return into how many parts vectors are split, each with a code of four bits."""
    of_parts = (cursor.scalar("<u8"), cursor.scalar("<u8"), cursor.scalar("<u8"))
    n_parts = of_parts[1]
    if of_parts != (dim, n_parts, 4) or not 1 <= n_parts <= dim or dim % n_parts:
        raise cursor.broken(f"{of_parts} are no parts of {dim} dimensions in codes of 4 bits")
    contents.vectors.append(cursor.vector("<f4"))
    cursor.expect("the number of its centroids' values", len(contents.vectors[-1]), 16 * dim)
    return int(n_parts)


def ivf_pq(cursor: Cursor, contents: Contents, n_rows: int, dim: int) -> None:
    """Take codes of four bits, as those of PQ, in lists as faiss writes them."""
    n_lists, code_bytes = before_codes(cursor, contents, n_rows, dim)
    if cursor.ahead(b"ilar"):
        raise BundleCorrupt(f"{cursor.name}: expected IVFPQ, found IVFPQ2")
    cursor.expect("how its lists are kept", cursor.take("S4", 1)[0], b"ilbl")
    block_bytes = code_bytes * _LISTED_TOGETHER
    found = (cursor.scalar("<u8"), cursor.scalar("<i8"), cursor.scalar("<u8"), cursor.scalar("<u8"))
    cursor.expect("the shape of its lists", found, (n_lists, -1, _LISTED_TOGETHER, block_bytes))
    contents.lists.append(lists := Lists(n_rows))
    n_left = n_rows
    for _ in range(n_lists):
        rows = cursor.vector("<i8")
        n_blocks = -(-len(rows) // _LISTED_TOGETHER)
        cursor.expect("the bytes of a list", len(cursor.vector("u1")), n_blocks * block_bytes)
        n_left -= len(rows)
        if len(rows):
            lists.rows.append(rows)
    cursor.expect("the number of rows beyond those its lists hold", n_left, 0)


def ivf_pq_2(cursor: Cursor, contents: Contents, n_rows: int, dim: int) -> None:
    """Take two partitions of all rows, each as `ilk.ann.packed` writes it."""
    for at in range(_PARTITIONS):
        if at:
            cursor.expect("what its second partition is", cursor.take("S4", 1)[0], b"IwPf")
        begin = cursor.at - 4
        n_lists, code_bytes = before_codes(cursor, contents, n_rows, dim)
        if cursor.ahead(b"ilbl"):
            raise BundleCorrupt(f"{cursor.name}: expected IVFPQ2, found IVFPQ")
        # Those that faiss is to read are empty.
        lists_of(cursor, 0, n_lists, code_bytes)
        contents.vectors.append(scales := cursor.take("<f4", dim))
        if not (scales > 0).all():
            raise cursor.broken("a dimension was multiplied by no positive number")
        sizes = cursor.take("<u8", n_lists)
        check_sizes(cursor, sizes, n_rows)
        places = packed_places(sizes, code_bytes, cursor.at)
        contents.lists.append(lists := Lists(n_rows))
        for size, n_padded, its_begin in places[sizes > 0].tolist():
            cursor.take("u1", its_begin - cursor.at + n_padded * code_bytes)
            lists.rows.append(cursor.take("<i8", size))
        contents.packed.append(Packed(begin, scales, places))


def before_codes(cursor: Cursor, contents: Contents, n_rows: int, dim: int) -> tuple[int, int]:
    """Return the number of lists and the bytes of a code; all that comes before lists is looked at."""
    n_lists = ivf_header(cursor, contents, n_rows, dim)
    cursor.expect("whether its codes are of residuals", cursor.scalar("u1"), 1)
    code_bytes, block = cursor.scalar("<u8"), cursor.scalar("<i4")
    n_even = cursor.scalar("<u8")
    searched = (cursor.scalar("<i4"), cursor.scalar("<u8"))
    if searched != (0, 0):
        cursor.expect("how it is searched", searched, (LISTS_BY_QUERY, 0))
    n_parts = parts_of_vectors(cursor, contents, dim)
    expected = (-(-n_parts // 2), _LISTED_TOGETHER, -(-n_parts // 2) * 2)
    cursor.expect("the shape of its codes", (code_bytes, block, n_even), expected)
    return n_lists, int(code_bytes)


def ivf_sq(cursor: Cursor, contents: Contents, n_rows: int, dim: int) -> None:
    """Take codes of one byte for each dimension, between its lowest and highest value."""
    n_lists = ivf_header(cursor, contents, n_rows, dim)
    cursor.expect("the kind of its codes", cursor.scalar("<i4"), _EIGHT_BITS)
    cursor.take("<i4", 2)
    of_codes = (cursor.scalar("<u8"), cursor.scalar("<u8"))
    cursor.expect("the shape of its codes", of_codes, (dim, dim))
    contents.vectors.append(cursor.vector("<f4"))
    cursor.expect("the number of its ranges' ends", len(contents.vectors[-1]), 2 * dim)
    of_lists = (cursor.scalar("<u8"), cursor.scalar("u1"))
    cursor.expect("its codes' length and whether they are of residuals", of_lists, (dim, 0))
    contents.lists.append(lists := Lists(n_rows))
    for size in lists_of(cursor, n_rows, n_lists, dim):
        cursor.take("u1", size * dim)
        lists.rows.append(cursor.take("<i8", size))


def packed_places(
    sizes: npt.NDArray[np.uint64], code_bytes: int, begin: int
) -> npt.NDArray[np.uint64]:
    """Return where lists of 4-bit codes lie that have ``sizes`` rows, the first soon after ``begin``.

    See :attr:`Packed.places`.
    """
    rows = sizes.astype(np.int64)
    padded = _up_to(_LISTED_TOGETHER, rows)
    ends = np.cumsum(_up_to(_ALIGNED, padded * code_bytes + 8 * rows))
    begins = np.concatenate(([0], ends[:-1])) + -(-begin // _ALIGNED) * _ALIGNED
    return np.stack((rows, padded, begins), axis=1).astype(np.uint64)


def _up_to(step: int, counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the next multiples of ``step``."""
    return -(-counts // step) * step
