"""Measures faiss as it comes, by its own Python calls; see `benchmarks.peers.searching`."""

from collections.abc import Iterator

import faiss

from benchmarks.peers.searching import Float32Matrix, K, Search, main


def flat(vectors: Float32Matrix) -> Iterator[tuple[str, Search]]:
    """Compare with every vector."""
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    faiss.omp_set_num_threads(1)
    yield "", lambda query: index.search(query, K)[1]


def ivf(vectors: Float32Matrix) -> Iterator[tuple[str, Search]]:
    """Make four times as many lists as the root of the vectors, as faiss's guidelines say."""
    n_lists = min(int(4 * len(vectors) ** 0.5), len(vectors) // 39)
    index = faiss.index_factory(vectors.shape[1], f"IVF{n_lists},Flat", faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    faiss.omp_set_num_threads(1)
    for nprobe in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512, 1024):
        if nprobe <= n_lists:
            index.nprobe = nprobe
            yield f"nprobe {nprobe}", lambda query: index.search(query, K)[1]


def hnsw(vectors: Float32Matrix) -> Iterator[tuple[str, Search]]:
    """Make a graph of 32 links, all else as it comes."""
    index = faiss.index_factory(vectors.shape[1], "HNSW32", faiss.METRIC_INNER_PRODUCT)
    index.add(vectors)
    faiss.omp_set_num_threads(1)
    for ef in (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048):
        index.hnsw.efSearch = ef
        yield f"ef {ef}", lambda query: index.search(query, K)[1]


if __name__ == "__main__":
    main({"faiss Flat": flat, "faiss IVF": ivf, "faiss HNSW32": hnsw})
