"""Knows what a search compares, as faiss counts it, and what that costs by a fixed table.

It refuses to know how long anything took: equal builds choose alike, on a busy machine and an idle one.
"""

from collections.abc import Callable
from typing import Final, TypeVar

import faiss

from ilk.ann.effort import searched
from ilk.ann.lists import told_by_codes
from ilk.ann.spec import IndexKind, IndexSpec

# Nanoseconds of one query on one thread, of single queries with 512-bit registers (ADR 9). Only their
# ratios count, and only where two kinds are close.
_CALL: Final = 3_000
_LISTS_CALL: Final = 8_000
_VALUE: Final = 0.095
_PART_OF_ROW: Final = 0.036
_FETCHED: Final = 40
_LIST: Final = 200
# What a query and the codes of lists have in common is tabled anew for each search.
_TABLES: Final = 10_000
_LISTED_VALUE: Final = 0.11
_LINK: Final = 25
# A row that is met on a walk lies anywhere in memory.
_SCATTERED_VALUE: Final = 0.4
# True scores are computed by numpy, once for each query and for each candidate.
_RESCORE_CALL: Final = 4_000
_RESCORED_VALUE: Final = 0.7
# Vectors of so many rows that they are parted twice lie where no cache holds them.
_FAR_RESCORED_VALUE: Final = 1.4

_Result = TypeVar("_Result")


def counting(search: Callable[[], _Result]) -> tuple[_Result, int]:
    """Return what ``search`` returns, and how many rows faiss compared by lists or links meanwhile.

    Notes
    -----
    faiss counts for the whole process: nothing else may search at the same time.
    """
    lists, walks = faiss.cvar.indexIVF_stats, faiss.cvar.hnsw_stats
    lists.reset()
    walks.reset()
    found = search()
    return found, int(lists.ndis + walks.ndis)


def query_us(
    spec: IndexSpec, shape: tuple[int, int], k: int, effort: int, n_compared: float
) -> float:
    """Return what one query for ``k`` neighbors costs by the table, in microseconds.

    Parameters
    ----------
    shape
        ``(n_rows, dim)`` of the vectors.
    n_compared
        Rows compared by one query, as :func:`counting` counts them; Flat and PQ compare all.
    """
    (n_rows, dim), kind = shape, spec.kind
    rows_per_list = n_rows / spec.lists(n_rows) if kind.has_lists else 0
    n_fetched = min(kind.candidates(k, effort, rows_per_list), n_rows)
    if kind is IndexKind.FLAT:
        spent = _CALL + n_rows * dim * _VALUE
    elif kind is IndexKind.PQ:
        spent = _CALL + n_rows * dim / spec.dims_per_code * _PART_OF_ROW + n_fetched * _FETCHED
    elif kind is IndexKind.HNSW:
        spent = _CALL + n_compared * (_LINK + dim * _SCATTERED_VALUE)
    else:
        n_centroids, n_searched = spec.centroids_compared(n_rows), searched(effort)
        by_codes = kind.has_nibbles and told_by_codes(n_centroids, n_searched)
        of_centroid = dim * (_PART_OF_ROW if by_codes else _VALUE)
        spent = _LISTS_CALL + n_centroids * of_centroid + n_searched * _LIST
        if kind.has_nibbles:
            spent += (
                _TABLES
                + n_compared * dim / spec.dims_per_code * _PART_OF_ROW
                + n_fetched * _FETCHED
            )
        else:
            spent += n_compared * kind.width(dim) * _LISTED_VALUE
    if kind.has_codes:
        far = kind is IndexKind.IVF_PQ_2
        spent += _RESCORE_CALL + n_fetched * dim * (_FAR_RESCORED_VALUE if far else _RESCORED_VALUE)
    return round(spent / 1000, 2)


def least_us(spec: IndexSpec, shape: tuple[int, int], k: int) -> float:
    """Return what a query costs by the table at the least effort, whatever it then finds."""
    return query_us(spec, shape, k, spec.efforts(shape[0])[0], 0)


def likely_us(spec: IndexSpec, shape: tuple[int, int], k: int) -> float:
    """Return a guess of what a query costs by the table: where there are lists, in a sixteenth of them.

    Kinds with links, which take long to build, are guessed to compare a quarter of the rows.
    """
    efforts, share = spec.efforts(shape[0]), 16 if spec.kind.has_lists else 4
    effort = spec.lists(shape[0]) // share if spec.kind.has_lists else efforts[0]
    return query_us(spec, shape, k, max(effort, 1), shape[0] / share)
