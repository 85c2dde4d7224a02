"""Knows how faiss lays out inverted lists.

It refuses to know codes.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from ilk.index_file.contents import Contents, Lists
from ilk.index_file.cursor import Cursor
from ilk.index_file.vectors import header, nested_flat


def ivf(cursor: Cursor, contents: Contents, n_rows: int, dim: int, *, above: bool = False) -> None:
    """Take vectors in lists."""
    n_lists = ivf_header(cursor, contents, n_rows, dim, above=above)
    contents.lists.append(lists := Lists(n_rows))
    for size in lists_of(cursor, n_rows, n_lists, 4 * dim):
        contents.vectors.append(cursor.take("<f4", size * dim))
        lists.rows.append(cursor.take("<i8", size))


def ivf_header(
    cursor: Cursor, contents: Contents, n_rows: int, dim: int, *, above: bool = False
) -> int:
    """Return the number of lists, having looked at all that comes before them.

    ``above`` says that these are lists of lists, which no others stand above.
    """
    header(cursor, n_rows, dim)
    n_lists, n_probed = cursor.scalar("<u8"), cursor.scalar("<u8")
    if not 1 <= n_lists <= n_rows or not 1 <= n_probed <= n_lists:
        raise cursor.broken(f"{n_lists} lists of which {n_probed} are searched, for {n_rows} rows")
    if not above and cursor.begins(b"IwFl"):
        # Many lists are found through lists of their own; those, by comparing with all.
        ivf(cursor, contents, n_lists, dim, above=True)
    else:
        nested_flat(cursor, contents, n_lists, dim)
    direct_map = (cursor.scalar("u1"), len(cursor.vector("<i8")))
    cursor.expect("its direct map", direct_map, (0, 0))
    return int(n_lists)


def lists_of(cursor: Cursor, n_rows: int, n_lists: int, code_bytes: int) -> list[int]:
    """Return the sizes of the lists that are not empty, in order; their contents come next."""
    cursor.expect("how its lists are kept", cursor.take("S4", 1)[0], b"ilar")
    shape = (cursor.scalar("<u8"), cursor.scalar("<u8"))
    cursor.expect("the shape of its lists", shape, (n_lists, code_bytes))
    sizes = _list_sizes(cursor, n_lists)
    check_sizes(cursor, sizes, n_rows)
    return sizes[sizes > 0].tolist()  # type: ignore[no-any-return]


def check_sizes(cursor: Cursor, sizes: npt.NDArray[Any], n_rows: int) -> None:
    """Refuse lists that do not hold ``n_rows`` together."""
    # Each first: a sum of lies could be true by overflow.
    if (sizes > n_rows).any() or int(sizes.sum()) != n_rows:
        raise cursor.broken(f"its lists do not hold {n_rows} rows")


def _list_sizes(cursor: Cursor, n_lists: int) -> npt.NDArray[Any]:
    layout = cursor.take("S4", 1)[0]
    if layout == b"full":
        sizes = cursor.vector("<u8")
        cursor.expect("the number of its lists", len(sizes), n_lists)
        return sizes
    cursor.expect("the layout of its lists", layout, b"sprs")
    pairs = cursor.vector("<u8")
    cursor.expect("the number of its lists", len(pairs) % 2, 0)
    lists, counts = pairs[::2], pairs[1::2]
    if len(lists) and (lists[-1] >= n_lists or (lists[1:] <= lists[:-1]).any()):
        raise cursor.broken("its lists are out of order")
    sizes = np.zeros(n_lists, dtype=np.uint64)
    sizes[lists] = counts
    return sizes
