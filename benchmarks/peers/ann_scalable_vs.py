"""Measures Intel's Scalable Vector Search; see `benchmarks.peers.searching`.

Its quantised vectors refuse to run on other makers' processors, so vectors stay as they are.
"""

from collections.abc import Iterator

import svs

from benchmarks.peers.searching import Float32Matrix, K, Search, main


def vamana(vectors: Float32Matrix) -> Iterator[tuple[str, Search]]:
    """Build a Vamana graph, and search it with ever wider windows."""
    # Below 1 is for inner products, above for distances.
    parameters = svs.VamanaBuildParameters(graph_max_degree=64, window_size=128, alpha=0.95)
    index = svs.Vamana.build(parameters, vectors, svs.DistanceType.MIP, num_threads=2)
    index.num_threads = 1
    for window in (10, 14, 20, 28, 40, 56, 80, 112, 160, 224, 320, 448, 640, 1024, 2048):
        index.search_window_size = window
        yield f"window {window}", lambda query: index.search(query, K)[0]


if __name__ == "__main__":
    main({"scalable-vs": vamana})
