"""Knows the kinds of index: how they are called, what they take, and how hard they may search.

It refuses to know how they are trained, searched and stored.
"""

import enum
import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from ilk.ann.effort import OF_4, UP_TO_3, effort_of, measured_as, mode, searched
from ilk.vectors import Float32Vector

HNSW_LINKS: Final = 32
# Dimensions for each 4-bit code: fewer lose precision on the way from floats, more on the way back.
DIMS_PER_CODE: Final = 2
# More lists than this are put into lists of lists: comparing with all centroids would cost every row that
# is put in its place, and a query that opens a few short lists, more than all else.
MOST_COMPARED_LISTS: Final = 2048
_MOST_LISTS: Final = 65_536
_ROWS_PER_LIST: Final = 256
# Lists of lists that a query looks into.
LISTS_OF_LISTS: Final = 24
# No more lists than this are found well through those, or are worth measuring where there are many: the
# last doublings take most of the time and find next to nothing.
_MOST_SEARCHED_LISTS: Final = 1024
# faiss's scalar quantizer is a tenth as quick where this does not divide the dimensions.
_SCALAR_LANES: Final = 16
_ROW_ID_BYTES: Final = 8
# So many lists are compared with in little time, and the shorter they are the fewer rows are.
_SHORT_LISTS: Final = 4096
# More lists than this are not each compared with every row that is put in its place.
_MOST_PLACED_LISTS: Final = 16_384
# The blend that the first partition of IVFPQ2 is made for, as the share of the content.
_TASTE_EMPHASIS: Final = 0.08
# Codes tell so well what is near that few candidates are enough (ADR 30): so many for each neighbor that
# is wanted, for every two lists, and for every two beyond 192, for whoever opens more wants the few that
# lie far apart. Where many rows are near, as by content, of the same lists more are looked at too.
# Bundles of format 4 were measured with more (ADR 29).
_FETCHED: Final = {
    0: {"IVFPQ": ((2, 1, 1),), "IVFPQ2": ((2, 2, 1), (2, 2, 1), (2, 8, 8), (2, 24, 24))},
    OF_4: {"IVFPQ": ((3, 1, 1),), "IVFPQ2": ((4, 6, 1), (4, 6, 1), (4, 24, 1), (4, 48, 1))},
}
_FULLY_FETCHED_LISTS: Final = 192


class IndexKind(str, enum.Enum):
    """The kinds of index a bundle may hold; a file of another kind is refused.

    ``PQ`` compares with every row by codes of four bits for one dimension or two, ``IVFPQ`` with the rows
    of some lists by such codes of what tells them from their list; ``IVFSQ`` compares with the rows of
    some lists by codes of one byte for each dimension. These only find candidates, whose exact scores the
    caller computes from the vectors themselves. ``IVFPQ2`` is IVFPQ twice, and mapped: rows are parted
    once mostly by factors and once mostly by content, and an effort says which is searched (ADR 22).
    """

    FLAT = "Flat"
    PQ = "PQ"
    IVF = "IVF"
    IVF_SQ = "IVFSQ"
    IVF_PQ = "IVFPQ"
    IVF_PQ_2 = "IVFPQ2"
    HNSW = "HNSW"

    @property
    def has_lists(self) -> bool:
        """Whether rows are parted into inverted lists."""
        return self in (IndexKind.IVF, IndexKind.IVF_SQ, IndexKind.IVF_PQ, IndexKind.IVF_PQ_2)

    @property
    def has_codes(self) -> bool:
        """Whether scores come from codes and are only near the truth."""
        return self.has_nibbles or self is IndexKind.IVF_SQ

    @property
    def has_nibbles(self) -> bool:
        """Whether codes have four bits, looked up in registers; PQ and IVFPQ copy them into memory."""
        return self in (IndexKind.PQ, IndexKind.IVF_PQ, IndexKind.IVF_PQ_2)

    def width(self, dim: int) -> int:
        """Return the dimensions that the index stores, the last ones zero: ``dim`` or a few more."""
        lanes = DIMS_PER_CODE if self.has_nibbles else 1
        lanes = _SCALAR_LANES if self is IndexKind.IVF_SQ else lanes
        return -(-dim // lanes) * lanes

    def candidates(self, n_wanted: int, effort: int, rows_per_list: float = 0) -> int:
        """Return how many rows to fetch so that the best ``n_wanted`` are among them.

        ``rows_per_list`` is how many rows a list has on average, where there are lists.
        """
        if self is IndexKind.PQ:
            return max(effort * n_wanted, 4 * effort)
        if self in (IndexKind.IVF_PQ, IndexKind.IVF_PQ_2):
            if measured_as(effort) == UP_TO_3:
                return _fetched_up_to_3(self, n_wanted, effort, rows_per_list)
            fetched = _FETCHED[measured_as(effort)][self.value][mode(effort)]
            for_each, for_two, for_two_beyond = fetched
            n_beyond = max(searched(effort) - _FULLY_FETCHED_LISTS, 0)
            halves = for_two * (searched(effort) - n_beyond) + for_two_beyond * n_beyond
            return for_each * n_wanted + halves // 2 + 1
        return max(2 * n_wanted, 32) if self is IndexKind.IVF_SQ else n_wanted


@dataclass(frozen=True, slots=True)
class IndexSpec:
    """What to build.

    Attributes
    ----------
    n_lists
        Of inverted lists; 0 lets the number of rows decide.
    lists_per_root
        How many of IVFPQ that is for each of the square root of the rows, with a code for each dimension.
    by_direction
        Whether rows of like directions share a list, whatever their lengths; else near ones do.
    dims_per_code
        Dimensions for each code of four bits: with one, half as many candidates hold as much.
    n_factors
        The dimensions that are factors come first, the rest is content: IVFPQ2 tells them apart.
    content_emphasis
        The blend that the second partition of IVFPQ2 is made for, as the share of the content.
    """

    kind: IndexKind = IndexKind.FLAT
    n_lists: int = 0
    by_direction: bool = False
    dims_per_code: int = DIMS_PER_CODE
    n_factors: int = 0
    content_emphasis: float = 0.6
    lists_per_root: int = 2

    def describe(self, n_rows: int, dim: int) -> str:
        """Return the index's name in faiss's own shorthand, such as ``IVF256,Flat``."""
        lists = f"IVF{self.lists(n_rows)}" if self.kind.has_lists else ""
        if n_above := self.found_through(n_rows):
            lists += f"(IVF{n_above},Flat)"
        return {
            IndexKind.FLAT: "Flat",
            IndexKind.PQ: f"PQ{self.n_codes(dim)}x4fs",
            IndexKind.IVF: f"{lists},Flat",
            IndexKind.IVF_SQ: f"{lists},SQ8",
            IndexKind.IVF_PQ: f"{lists},PQ{self.n_codes(dim)}x4fs",
            IndexKind.IVF_PQ_2: f"2x({lists},PQ{self.n_codes(dim)}x4fs)",
            IndexKind.HNSW: f"HNSW{HNSW_LINKS}",
        }[self.kind]

    def lists(self, n_rows: int) -> int:
        """Return the number of inverted lists, if not given: ``4 √n`` up to 2^20 rows, then ``n / 256``.

        The first is what faiss's guidelines say; beyond, a query would compare with ever longer lists.
        Codes of four bits for two dimensions are so quick to compare that long lists, ``√n`` of them,
        serve better; where each dimension has a code, ``2 √n`` or as is given. IVFPQ2 has ``4 √n`` up to
        4,096, then ``5.2 √n``.
        """
        root = math.isqrt(n_rows)
        if self.kind is IndexKind.IVF_PQ_2:
            usual = min(max(26 * root // 5, min(4 * root, _SHORT_LISTS)), _MOST_PLACED_LISTS)
        elif self.kind.has_nibbles:
            per_root = 1 if self.dims_per_code > 1 else self.lists_per_root
            # What tells a vector from its list is learnt from lists that are all compared.
            usual = min(per_root * root, MOST_COMPARED_LISTS)
        else:
            usual = max(1, int(4 * n_rows**0.5), n_rows // _ROWS_PER_LIST)
        usual = min(usual, _MOST_LISTS)
        return min(self.n_lists or usual, n_rows)

    def placed_through(self, n_rows: int) -> int:
        """Return how many lists the lists are in when rows are put into them; 0: in none.

        Of small codes it only tells that there are too many to compare with all (`ilk.ann.training`).
        """
        n_lists = self.lists(n_rows)
        return math.isqrt(n_lists) if n_lists > MOST_COMPARED_LISTS else 0

    def found_through(self, n_rows: int) -> int:
        """Return how many lists the lists are in when queries look for them; 0: in none.

        Long lists of small codes are few, and where one of them is overlooked much is.
        """
        return 0 if self.kind.has_nibbles else self.placed_through(n_rows)

    def centroids_compared(self, n_rows: int) -> int:
        """Return how many centroids every query is compared with, before it opens any list."""
        return self.found_through(n_rows) or self.lists(n_rows)

    def efforts(self, n_rows: int) -> tuple[int, ...]:
        """Return the search settings worth measuring, cheapest first; ``(0,)`` where none exist."""
        if self.kind.has_lists:
            n_lists = self.lists(n_rows)
            many = n_lists > MOST_COMPARED_LISTS
            most = min(_MOST_SEARCHED_LISTS, n_lists) if many else n_lists
            steps = {1 << p for p in range(most.bit_length())}
            if self.kind.has_nibbles or many:
                steps |= {3 << p for p in range(most.bit_length())}
            # From a hundredth of the lists on, or from eight: fewer find too little to promise anything.
            least = min(8, n_lists // 100)
            efforts = (*sorted(n for n in steps if least <= n < most), most)
            return tuple(
                effort_of(at, effort) for at in range(len(self.modes)) for effort in efforts
            )
        return {
            IndexKind.FLAT: (0,),
            # More candidates than an eighth of few rows cost what comparing with all does.
            IndexKind.PQ: tuple(
                e for e in (2, 3, 4, 6, 8, 12, 16, 32, 64, 128, 256) if e <= max(64, n_rows // 80)
            ),
            IndexKind.HNSW: (16, 32, 64, 128, 256, 512),
        }[self.kind]

    @property
    def emphases(self) -> tuple[float | None, ...]:
        """The content weight that each partition is made for; None: vectors are taken as they are."""
        if self.kind is not IndexKind.IVF_PQ_2:
            return (None,)
        return _TASTE_EMPHASIS, self.content_emphasis

    @property
    def modes(self) -> tuple[float | None, ...]:
        """The content weight that each mode is for, as :attr:`emphases` has it."""
        last = self.emphases[-1]
        return (*self.emphases, last, last) if self.kind is IndexKind.IVF_PQ_2 else self.emphases

    def scales(self, emphasis: float, width: int) -> Float32Vector:
        """Return what each dimension is multiplied by for a partition, shape ``(width,)``."""
        scales = np.full(width, np.sqrt(emphasis), dtype=np.float32)
        scales[: self.n_factors] = np.sqrt(1 - emphasis)
        return scales

    def n_codes(self, dim: int) -> int:
        """Return how many codes of four bits a row has."""
        return self.kind.width(dim) // self.dims_per_code

    def bytes_per_row(self, dim: int) -> int:
        """Return about how much memory a row takes."""
        width = self.kind.width(dim)
        return {
            IndexKind.FLAT: 4 * width,
            IndexKind.PQ: self.n_codes(dim) // 2,
            IndexKind.IVF: 4 * width + _ROW_ID_BYTES,
            IndexKind.IVF_SQ: width + _ROW_ID_BYTES,
            IndexKind.IVF_PQ: self.n_codes(dim) // 2 + _ROW_ID_BYTES,
            IndexKind.IVF_PQ_2: 2 * (self.n_codes(dim) // 2 + _ROW_ID_BYTES),
            # Links of the lowest level are twice as many as those of the others.
            IndexKind.HNSW: 4 * width + 4 * 2 * HNSW_LINKS,
        }[self.kind]


def _fetched_up_to_3(kind: IndexKind, n_wanted: int, effort: int, rows_per_list: float) -> int:
    """Return how many candidates a search of a bundle up to format 3 looks at, as it was measured."""
    n_lists, at = searched(effort), mode(effort)
    if kind is IndexKind.IVF_PQ:
        few = max(4 * n_wanted, 60)
        return few if at else max(few, 3 * n_lists // 2 + 31)
    if at:
        at_least, one_in = (8, 100) if at == 1 else (24, 40)
        return 4 * n_wanted + max(at_least, int(rows_per_list / one_in)) * n_lists
    n_beyond = max(n_lists - 192, 0)
    return 4 * n_wanted + 8 * (n_lists - n_beyond) + n_beyond
