"""Knows how many threads search, cluster and multiply.

It refuses to know what for.
"""

import contextlib
from collections.abc import Iterator

import faiss
from threadpoolctl import threadpool_limits


def n_threads() -> int:
    """Return how many threads a search or a clustering may use."""
    return int(faiss.omp_get_max_threads())


@contextlib.contextmanager
def threads(n_used: int) -> Iterator[None]:
    """Let so many threads work meanwhile for each call of the calling thread; others keep theirs."""
    before = n_threads()
    faiss.omp_set_num_threads(n_used)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def one_thread() -> contextlib.AbstractContextManager[None]:
    """Let one thread search meanwhile, as a server does: others would wait for each other, at work."""
    return threads(1)


def use_threads(n_used: int) -> None:
    """Let each search and matrix product of this process use that many threads; a server uses one."""
    faiss.omp_set_num_threads(n_used)
    threadpool_limits(n_used)
