"""Measures how ``implicit`` compares with everything; see `benchmarks.peers.searching`."""

from collections.abc import Iterator

from implicit.cpu.topk import topk
from threadpoolctl import threadpool_limits

from benchmarks.peers.searching import Float32Matrix, K, Search, main


def brute_force(vectors: Float32Matrix) -> Iterator[tuple[str, Search]]:
    """Compare by its own kernel, which ``recommend`` and ``similar_items`` end in."""
    with threadpool_limits(1):
        yield "", lambda query: topk(vectors, query, K, num_threads=1)[0]


if __name__ == "__main__":
    main({"implicit": brute_force})
