"""Knows faiss, and is the only door to it: build, search, save, map, measure, and say what it costs.

It refuses to know what the rows stand for. Every index answers by inner product and keeps rows in the
order they were given.
"""

# First: it is what loads faiss.
from ilk.ann import blas  # noqa: F401
from ilk.ann.cost import counting, least_us, likely_us, query_us
from ilk.ann.effort import OF_4, UP_TO_3, effort_of, former, harder, mode, partition, searched
from ilk.ann.index import Index, RowNeighbors
from ilk.ann.measure import careful_recall, compare_with_all, recall, top_rows
from ilk.ann.parallelism import n_threads, one_thread, threads, use_threads
from ilk.ann.refined import Refined
from ilk.ann.scores import best_of, inner_products
from ilk.ann.spec import IndexKind, IndexSpec

__all__ = [
    "OF_4",
    "UP_TO_3",
    "Index",
    "IndexKind",
    "IndexSpec",
    "Refined",
    "RowNeighbors",
    "best_of",
    "careful_recall",
    "compare_with_all",
    "counting",
    "effort_of",
    "former",
    "harder",
    "inner_products",
    "least_us",
    "likely_us",
    "mode",
    "n_threads",
    "one_thread",
    "partition",
    "query_us",
    "recall",
    "searched",
    "threads",
    "top_rows",
    "use_threads",
]
