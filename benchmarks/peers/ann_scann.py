"""Measures ScaNN; see `benchmarks.peers.searching`."""

from collections.abc import Iterator

import scann

from benchmarks.peers.searching import Float32Matrix, K, Search, main


def tree(vectors: Float32Matrix) -> Iterator[tuple[str, Search]]:
    """Use tree, quantised scores and re-ordering: its guide's way from 20,000 vectors on."""
    n_leaves = int(len(vectors) ** 0.5)
    searcher = (
        scann.scann_ops_pybind.builder(vectors, K, "dot_product")
        .tree(n_leaves, n_leaves // 20 or 1, training_sample_size=min(len(vectors), 250_000))
        .score_ah(2, anisotropic_quantization_threshold=0.2)
        .reorder(100)
        .build()
    )
    for share in (0.01, 0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0):
        for n_reordered in (30, 60, 120, 300, 1000):
            yield (
                f"leaves {share:g}, re-order {n_reordered}",
                _search(searcher, max(1, round(share * n_leaves)), n_reordered),
            )


def scored(vectors: Float32Matrix) -> Iterator[tuple[str, Search]]:
    """Score all vectors quantised, and re-order: its guide's way up to 100,000 vectors."""
    searcher = (
        scann.scann_ops_pybind.builder(vectors, K, "dot_product")
        .score_ah(2, anisotropic_quantization_threshold=0.2)
        .reorder(100)
        .build()
    )
    for n_reordered in (10, 15, 20, 30, 45, 60, 90, 120, 200, 300, 600, 1000):
        yield f"re-order {n_reordered}", _search(searcher, 0, n_reordered)


def _search(searcher: "scann.ScannSearcher", n_leaves: int, n_reordered: int) -> Search:
    if not n_leaves:
        return lambda query: searcher.search(query[0], K, n_reordered)[0]
    return lambda query: searcher.search(query[0], K, n_reordered, n_leaves)[0]


if __name__ == "__main__":
    main({"scann tree": tree, "scann scores": scored})
