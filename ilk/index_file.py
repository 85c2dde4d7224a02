"""Knows how faiss lays an index out in a file: enough to say, before faiss parses it, that it may.

It refuses to know faiss itself, and how to search. faiss believes the counts, offsets and row numbers
that a file declares, and reads or writes outside its memory where they lie; here each of them is held
against the length of the file and against the rows and dimensions that the manifest promises.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ilk.errors import BundleCorrupt

_INNER_PRODUCT: Final = 0
_MAX_LEVELS: Final = 64
# faiss's name for codes of eight bits with a range for each dimension.
_EIGHT_BITS: Final = 0
# faiss's way through lists of 4-bit codes: list after list for one query, the best sorted out late.
# Its own choice sorts lists by how they are searched, for whole batches: a quarter dearer for one query.
LISTS_BY_QUERY: Final = 11
# Rows whose codes, of a PQ, stand together: with 64 a query compares in nine tenths of the time that 32
# take, which bundles have that were built before.
CODES_TOGETHER: Final = 64
_FEWER_CODES_TOGETHER: Final = 32
# Arrays are looked through in parts of so many elements, so that a large file costs little memory.
_CHUNK: Final = 1 << 22

# Rows whose codes stand together in lists.
_LISTED_TOGETHER: Final = 32
# Lists that are mapped begin at such places of a file: faiss reads codes from nowhere else.
_ALIGNED: Final = 64
_PARTITIONS: Final = 2

Bytes = npt.NDArray[np.uint8]


@dataclass(slots=True)
class _Cursor:
    """A place in a mapped file; what lies beyond the end of the file is refused."""

    name: str
    data: Bytes
    at: int = 0

    def take(self, dtype: str, count: int) -> npt.NDArray[Any]:
        size_bytes = np.dtype(dtype).itemsize * count
        if not 0 <= size_bytes <= len(self.data) - self.at:
            raise self.broken(f"declares {count} values where the file has not that many bytes")
        # A view: nothing is read before somebody looks.
        values = np.frombuffer(self.data, dtype, count, self.at)
        self.at += size_bytes
        return values

    def scalar(self, dtype: str) -> Any:
        return self.take(dtype, 1)[0].item()

    def vector(self, dtype: str) -> npt.NDArray[Any]:
        return self.take(dtype, self.scalar("<u8"))

    def ahead(self, fourcc: bytes) -> bool:
        """Whether a part of this type follows."""
        return bytes(self.data[self.at : self.at + 4]) == fourcc

    def begins(self, fourcc: bytes) -> bool:
        """Whether a part of this type follows; if so, its name is taken."""
        found = self.ahead(fourcc)
        self.at += 4 * found
        return found

    def expect(self, what: str, found: object, expected: object) -> None:
        if found != expected:
            raise self.broken(f"{what} is {found}, expected {expected}")

    def broken(self, problem: str) -> BundleCorrupt:
        return BundleCorrupt(f"{self.name}: faiss cannot read it: {problem}; build again")


@dataclass(slots=True)
class _Contents:
    """What a file holds that must be looked through to the last element to be believed."""

    vectors: list[npt.NDArray[Any]] = field(default_factory=list)
    lists: "list[_Lists]" = field(default_factory=list)
    graph: "_Graph | None" = None
    packed: "list[Packed]" = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Packed:
    """A partition whose lists of 4-bit codes are mapped.

    Attributes
    ----------
    begin
        Where in the file it begins.
    scales
        Shape ``(dim,)``, float32: what each dimension was multiplied by.
    places
        Shape ``(n_lists, 3)``, uint64: rows, rows with padding, and where in the file the codes begin,
        which the row numbers follow.
    """

    begin: int
    scales: npt.NDArray[np.float32]
    places: npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class _Lists:
    """The row numbers of inverted lists that together hold ``n_rows``."""

    n_rows: int
    rows: list[npt.NDArray[Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Graph:
    """An HNSW graph: levels, offsets and links of the rows; places of each level among the links."""

    levels: npt.NDArray[Any]
    offsets: npt.NDArray[Any]
    links: npt.NDArray[Any]
    places: npt.NDArray[Any]


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
    for vectors in contents.vectors:
        if not all(np.isfinite(part).all() for part in _parts(vectors)):
            raise cursor.broken("a vector is not finite")
    for lists in contents.lists:
        _check_lists(cursor, lists)
    if contents.graph is not None:
        _check_links(cursor, contents.graph, n_rows)


def _parse(path: Path, kind: str, n_rows: int, dim: int) -> tuple[_Cursor, _Contents]:
    if not path.stat().st_size:
        raise BundleCorrupt(f"{path.name}: faiss cannot read it: the file is empty; build again")
    data = np.memmap(path, np.uint8, "r").view(np.ndarray)
    cursor, contents = _Cursor(path.name, data), _Contents()
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


def _header(cursor: _Cursor, n_rows: int, dim: int) -> None:
    found_dim, found_rows = cursor.scalar("<i4"), cursor.scalar("<i8")
    if (found_rows, found_dim) != (n_rows, dim):
        raise BundleCorrupt(
            f"{cursor.name}: holds {found_rows} x {found_dim}, the manifest says {n_rows} x {dim}"
        )
    cursor.take("<i8", 2)
    cursor.expect("its mark of being trained", cursor.scalar("u1"), 1)
    if cursor.scalar("<i4") != _INNER_PRODUCT:
        raise BundleCorrupt(f"{cursor.name}: does not measure by inner product")


def _flat(cursor: _Cursor, contents: _Contents, n_rows: int, dim: int) -> None:
    _header(cursor, n_rows, dim)
    cursor.expect("the number of its values", cursor.scalar("<u8"), n_rows * dim)
    contents.vectors.append(cursor.take("<f4", n_rows * dim))


def _nested_flat(cursor: _Cursor, contents: _Contents, n_rows: int, dim: int) -> None:
    cursor.expect("what lies inside it", cursor.take("S4", 1)[0], b"IxFI")
    _flat(cursor, contents, n_rows, dim)


def _pq(cursor: _Cursor, contents: _Contents, n_rows: int, dim: int) -> None:
    """Codes of four bits, packed in blocks of rows for an even number of parts."""
    _header(cursor, n_rows, dim)
    n_parts = _parts_of_vectors(cursor, contents, dim)
    # How faiss searches it: the implementation it is to choose, rows to a block, queries to a block.
    way, block, together = cursor.take("<i4", 3).tolist()
    cursor.expect("how it is searched", (way, together), (0, 0))
    if block != _FEWER_CODES_TOGETHER:
        cursor.expect("how many rows stand in a block", block, CODES_TOGETHER)
    n_padded, n_even = -(-n_rows // block) * block, -(-n_parts // 2) * 2
    shape = (cursor.scalar("<u8"), cursor.scalar("<u8"))
    cursor.expect("the shape of its codes", shape, (n_padded, n_even))
    cursor.expect("the bytes of its codes", len(cursor.vector("u1")), n_padded * n_even // 2)


def _parts_of_vectors(cursor: _Cursor, contents: _Contents, dim: int) -> int:
    """Return into how many parts vectors are split, each with a code of four bits."""
    of_parts = (cursor.scalar("<u8"), cursor.scalar("<u8"), cursor.scalar("<u8"))
    n_parts = of_parts[1]
    if of_parts != (dim, n_parts, 4) or not 1 <= n_parts <= dim or dim % n_parts:
        raise cursor.broken(f"{of_parts} are no parts of {dim} dimensions in codes of 4 bits")
    contents.vectors.append(cursor.vector("<f4"))
    cursor.expect("the number of its centroids' values", len(contents.vectors[-1]), 16 * dim)
    return int(n_parts)


def _ivf_pq(cursor: _Cursor, contents: _Contents, n_rows: int, dim: int) -> None:
    """Codes of four bits, as those of PQ, in lists as faiss writes them."""
    n_lists, code_bytes = _before_codes(cursor, contents, n_rows, dim)
    if cursor.ahead(b"ilar"):
        raise BundleCorrupt(f"{cursor.name}: expected IVFPQ, found IVFPQ2")
    cursor.expect("how its lists are kept", cursor.take("S4", 1)[0], b"ilbl")
    block_bytes = code_bytes * _LISTED_TOGETHER
    found = (cursor.scalar("<u8"), cursor.scalar("<i8"), cursor.scalar("<u8"), cursor.scalar("<u8"))
    cursor.expect("the shape of its lists", found, (n_lists, -1, _LISTED_TOGETHER, block_bytes))
    contents.lists.append(lists := _Lists(n_rows))
    n_left = n_rows
    for _ in range(n_lists):
        rows = cursor.vector("<i8")
        n_blocks = -(-len(rows) // _LISTED_TOGETHER)
        cursor.expect("the bytes of a list", len(cursor.vector("u1")), n_blocks * block_bytes)
        n_left -= len(rows)
        if len(rows):
            lists.rows.append(rows)
    cursor.expect("the number of rows beyond those its lists hold", n_left, 0)


def _ivf_pq_2(cursor: _Cursor, contents: _Contents, n_rows: int, dim: int) -> None:
    """Two partitions of all rows, each as `ilk.ann.packed` writes it."""
    for at in range(_PARTITIONS):
        if at:
            cursor.expect("what its second partition is", cursor.take("S4", 1)[0], b"IwPf")
        begin = cursor.at - 4
        n_lists, code_bytes = _before_codes(cursor, contents, n_rows, dim)
        if cursor.ahead(b"ilbl"):
            raise BundleCorrupt(f"{cursor.name}: expected IVFPQ2, found IVFPQ")
        # Those that faiss is to read are empty.
        _lists(cursor, 0, n_lists, code_bytes)
        contents.vectors.append(scales := cursor.take("<f4", dim))
        if not (scales > 0).all():
            raise cursor.broken("a dimension was multiplied by no positive number")
        sizes = cursor.take("<u8", n_lists)
        _check_sizes(cursor, sizes, n_rows)
        places = packed_places(sizes, code_bytes, cursor.at)
        contents.lists.append(lists := _Lists(n_rows))
        for size, n_padded, its_begin in places[sizes > 0].tolist():
            cursor.take("u1", its_begin - cursor.at + n_padded * code_bytes)
            lists.rows.append(cursor.take("<i8", size))
        contents.packed.append(Packed(begin, scales, places))


def _before_codes(cursor: _Cursor, contents: _Contents, n_rows: int, dim: int) -> tuple[int, int]:
    """Return the number of lists and the bytes of a code; all that comes before lists is looked at."""
    n_lists = _ivf_header(cursor, contents, n_rows, dim)
    cursor.expect("whether its codes are of residuals", cursor.scalar("u1"), 1)
    code_bytes, block = cursor.scalar("<u8"), cursor.scalar("<i4")
    n_even = cursor.scalar("<u8")
    searched = (cursor.scalar("<i4"), cursor.scalar("<u8"))
    if searched != (0, 0):
        cursor.expect("how it is searched", searched, (LISTS_BY_QUERY, 0))
    n_parts = _parts_of_vectors(cursor, contents, dim)
    expected = (-(-n_parts // 2), _LISTED_TOGETHER, -(-n_parts // 2) * 2)
    cursor.expect("the shape of its codes", (code_bytes, block, n_even), expected)
    return n_lists, int(code_bytes)


def _ivf(
    cursor: _Cursor, contents: _Contents, n_rows: int, dim: int, *, above: bool = False
) -> None:
    n_lists = _ivf_header(cursor, contents, n_rows, dim, above=above)
    contents.lists.append(lists := _Lists(n_rows))
    for size in _lists(cursor, n_rows, n_lists, 4 * dim):
        contents.vectors.append(cursor.take("<f4", size * dim))
        lists.rows.append(cursor.take("<i8", size))


def _ivf_sq(cursor: _Cursor, contents: _Contents, n_rows: int, dim: int) -> None:
    """Codes of one byte for each dimension, between that dimension's lowest and highest value."""
    n_lists = _ivf_header(cursor, contents, n_rows, dim)
    cursor.expect("the kind of its codes", cursor.scalar("<i4"), _EIGHT_BITS)
    cursor.take("<i4", 2)
    of_codes = (cursor.scalar("<u8"), cursor.scalar("<u8"))
    cursor.expect("the shape of its codes", of_codes, (dim, dim))
    contents.vectors.append(cursor.vector("<f4"))
    cursor.expect("the number of its ranges' ends", len(contents.vectors[-1]), 2 * dim)
    of_lists = (cursor.scalar("<u8"), cursor.scalar("u1"))
    cursor.expect("its codes' length and whether they are of residuals", of_lists, (dim, 0))
    contents.lists.append(lists := _Lists(n_rows))
    for size in _lists(cursor, n_rows, n_lists, dim):
        cursor.take("u1", size * dim)
        lists.rows.append(cursor.take("<i8", size))


def _ivf_header(
    cursor: _Cursor, contents: _Contents, n_rows: int, dim: int, *, above: bool = False
) -> int:
    """Return the number of lists, having looked at all that comes before them.

    ``above`` says that these are lists of lists, which no others stand above.
    """
    _header(cursor, n_rows, dim)
    n_lists, n_probed = cursor.scalar("<u8"), cursor.scalar("<u8")
    if not 1 <= n_lists <= n_rows or not 1 <= n_probed <= n_lists:
        raise cursor.broken(f"{n_lists} lists of which {n_probed} are searched, for {n_rows} rows")
    if not above and cursor.begins(b"IwFl"):
        # Many lists are found through lists of their own; those, by comparing with all.
        _ivf(cursor, contents, n_lists, dim, above=True)
    else:
        _nested_flat(cursor, contents, n_lists, dim)
    direct_map = (cursor.scalar("u1"), len(cursor.vector("<i8")))
    cursor.expect("its direct map", direct_map, (0, 0))
    return int(n_lists)


def _lists(cursor: _Cursor, n_rows: int, n_lists: int, code_bytes: int) -> list[int]:
    """Return the sizes of the lists that are not empty, in order; their contents come next."""
    cursor.expect("how its lists are kept", cursor.take("S4", 1)[0], b"ilar")
    shape = (cursor.scalar("<u8"), cursor.scalar("<u8"))
    cursor.expect("the shape of its lists", shape, (n_lists, code_bytes))
    sizes = _list_sizes(cursor, n_lists)
    _check_sizes(cursor, sizes, n_rows)
    return sizes[sizes > 0].tolist()  # type: ignore[no-any-return]


def _check_sizes(cursor: _Cursor, sizes: npt.NDArray[Any], n_rows: int) -> None:
    # Each first: a sum of lies could be true by overflow.
    if (sizes > n_rows).any() or int(sizes.sum()) != n_rows:
        raise cursor.broken(f"its lists do not hold {n_rows} rows")


def _list_sizes(cursor: _Cursor, n_lists: int) -> npt.NDArray[Any]:
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


def _hnsw(cursor: _Cursor, contents: _Contents, n_rows: int, dim: int) -> None:
    _header(cursor, n_rows, dim)
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
    contents.graph = _Graph(levels, offsets.astype(np.int64), links, places)
    _nested_flat(cursor, contents, n_rows, dim)


def _check_lists(cursor: _Cursor, lists: _Lists) -> None:
    met = np.zeros(lists.n_rows, dtype=np.bool_)
    for rows in lists.rows:
        if rows.min() < 0 or rows.max() >= lists.n_rows:
            raise cursor.broken(f"a list names a row outside its {lists.n_rows}")
        met[rows] = True
    # The lists are together as long as there are rows: a row that is met twice leaves one out.
    if not met.all():
        raise cursor.broken("a row stands in two lists, and another in none")


def _check_links(cursor: _Cursor, graph: _Graph, n_rows: int) -> None:
    for part in _parts(graph.links):
        if len(part) and (part.min() < -1 or part.max() >= n_rows):
            raise cursor.broken(f"a link leads to a row outside its {n_rows}")
    for level in range(1, int(graph.levels.max())):
        rows = np.flatnonzero(graph.levels > level)
        begin, end = int(graph.places[level]), int(graph.places[level + 1])
        targets = graph.links[(graph.offsets[rows, None] + np.arange(begin, end)).ravel()]
        if (graph.levels[targets[targets >= 0]] <= level).any():
            raise cursor.broken(f"a link of level {level} leads to a row that does not stand there")


def _parts(values: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    return np.array_split(values, max(1, math.ceil(len(values) / _CHUNK)))


_Parser = Callable[[_Cursor, _Contents, int, int], None]
_KINDS: Final[dict[str, tuple[bytes, _Parser]]] = {
    "Flat": (b"IxFI", _flat),
    "PQ": (b"IPfs", _pq),
    "IVF": (b"IwFl", _ivf),
    "IVFSQ": (b"IwSq", _ivf_sq),
    "IVFPQ": (b"IwPf", _ivf_pq),
    "IVFPQ2": (b"IwPf", _ivf_pq_2),
    "HNSW": (b"IHNf", _hnsw),
}
# What else faiss could make of a file that begins so; named so that a mistake is told from damage.
_OTHERS: Final = frozenset(b"IxFI IxF2 IxFl IwFl IHNf IxSQ IwSq IHNs IxPT IPfs IwPf".split())
