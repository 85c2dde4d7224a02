"""Measures DiskANN's index in memory; see `benchmarks.peers.searching`."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator

import diskannpy
import numpy as np

from benchmarks.peers.searching import Float32Matrix, K, Search, main


def in_memory(vectors: Float32Matrix) -> Iterator[tuple[str, Search]]:
    """Build a Vamana graph of inner products, and search it ever harder."""
    with tempfile.TemporaryDirectory() as folder, _stdout_to_stderr():
        diskannpy.build_memory_index(
            vectors, "mips", folder, complexity=128, graph_degree=64, num_threads=2
        )
        index = diskannpy.StaticMemoryIndex(folder, num_threads=1, initial_search_complexity=2048)
    for complexity in (10, 14, 20, 28, 40, 56, 80, 112, 160, 224, 320, 448, 640, 1024, 2048):
        yield (
            f"complexity {complexity}",
            lambda query, hard=complexity: index.search(query[0], K, hard).identifiers.astype(
                np.int64
            ),  # type: ignore[misc]
        )


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Keep what the library prints while it builds out of this program's answer."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


if __name__ == "__main__":
    main({"diskannpy": in_memory})
