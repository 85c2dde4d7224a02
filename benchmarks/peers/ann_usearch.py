"""Measures usearch; see `benchmarks.peers.searching`."""

from collections.abc import Iterator

import numpy as np
from usearch.index import Index

from benchmarks.peers.searching import Float32Matrix, K, Library, Search, main


def stored_as(dtype: str) -> Library:
    """Return usearch with vectors of a type, searched ever harder."""

    def library(vectors: Float32Matrix) -> Iterator[tuple[str, Search]]:
        index = Index(
            ndim=vectors.shape[1], metric="ip", dtype=dtype, connectivity=32, expansion_add=200
        )
        index.add(np.arange(len(vectors)), vectors)
        for ef in (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048):
            index.expansion_search = ef
            yield f"ef {ef}", lambda query: index.search(query[0], K, threads=1).keys

    return library


if __name__ == "__main__":
    main({f"usearch {dtype}": stored_as(dtype) for dtype in ("f32", "f16")})
