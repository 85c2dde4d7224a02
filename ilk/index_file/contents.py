"""Knows what a file holds that must be looked through to the last element to be believed.

It refuses to know where in the file it lies.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ilk.index_file.cursor import Cursor

# Arrays are looked through in parts of so many elements, so that a large file costs little memory.
_CHUNK: Final = 1 << 22


@dataclass(slots=True)
class Contents:
    """What was found on the way through a file."""

    vectors: list[npt.NDArray[Any]] = field(default_factory=list)
    lists: "list[Lists]" = field(default_factory=list)
    graph: "Graph | None" = None
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
class Lists:
    """The row numbers of inverted lists that together hold ``n_rows``."""

    n_rows: int
    rows: list[npt.NDArray[Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Graph:
    """An HNSW graph: levels, offsets and links of the rows; places of each level among the links."""

    levels: npt.NDArray[Any]
    offsets: npt.NDArray[Any]
    links: npt.NDArray[Any]
    places: npt.NDArray[Any]


def look_through(cursor: Cursor, contents: Contents, n_rows: int) -> None:
    """Refuse what cannot be: see :func:`ilk.index_file.check_contents`."""
    for vectors in contents.vectors:
        if not all(np.isfinite(part).all() for part in _parts(vectors)):
            raise cursor.broken("a vector is not finite")
    for lists in contents.lists:
        _check_lists(cursor, lists)
    if contents.graph is not None:
        _check_links(cursor, contents.graph, n_rows)


def _check_lists(cursor: Cursor, lists: Lists) -> None:
    met = np.zeros(lists.n_rows, dtype=np.bool_)
    for rows in lists.rows:
        if rows.min() < 0 or rows.max() >= lists.n_rows:
            raise cursor.broken(f"a list names a row outside its {lists.n_rows}")
        met[rows] = True
    # The lists are together as long as there are rows: a row that is met twice leaves one out.
    if not met.all():
        raise cursor.broken("a row stands in two lists, and another in none")


def _check_links(cursor: Cursor, graph: Graph, n_rows: int) -> None:
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
