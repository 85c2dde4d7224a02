"""Measures hnswlib; see `benchmarks.peers.searching`."""

from collections.abc import Iterator

import hnswlib

from benchmarks.peers.searching import Float32Matrix, K, Library, Search, main


def linked(n_links: int) -> Library:
    """Return hnswlib with so many links per node, searched ever harder."""

    def library(vectors: Float32Matrix) -> Iterator[tuple[str, Search]]:
        index = hnswlib.Index(space="ip", dim=vectors.shape[1])
        index.init_index(len(vectors), ef_construction=200, M=n_links, random_seed=42)
        index.add_items(vectors)
        for ef in (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048):
            index.set_ef(ef)
            yield f"ef {ef}", lambda query: index.knn_query(query, K, num_threads=1)[0]

    return library


if __name__ == "__main__":
    main({f"hnswlib M{n}": linked(n) for n in (16, 32)})
