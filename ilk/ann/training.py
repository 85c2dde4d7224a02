"""Knows how an index of each kind is built: how it is trained, and how its lists are made.

It refuses to know how it is searched and stored. Lists are found by inner product. Where vectors differ
much in length, rows are put into lists by distance: a list's rows then are alike in length too, and the
longest, which win by inner product, are found first. So 16 lists held 0.97 of what 16 lists of like
directions, as faiss makes them for inner products, held 0.61 of (ADR 9).
"""

import contextlib
from typing import Any, Final

import faiss
import numpy as np
import numpy.typing as npt

from ilk.ann.coding import add_coded
from ilk.ann.parallelism import one_thread
from ilk.ann.spec import DIMS_PER_CODE, HNSW_LINKS, LISTS_OF_LISTS, IndexKind, IndexSpec
from ilk.errors import SettingsError
from ilk.index_file import CODES_TOGETHER
from ilk.vectors import Float32Matrix, Float32Vector, Rows, widened

_HNSW_BUILD_EFFORT: Final = 200
# Rows for each centroid, and rounds, that centroids are learnt from: of few lists, of many, of those
# that are found through others, of codes. What k-means costs grows with the square of the lists.
_LIST_TRAINING: Final = ((64, 10), (48, 5), (32, 4))
_MANY_LISTS: Final = 512
_CODE_TRAINING: Final = (512, 10)
# Codes are learnt from so many rows that are drawn evenly, and so many that are drawn by this power of
# their lengths; where codes tell a row from its list, fewer are long.
_ROWS_FOR_CODES: Final = (2048, 2048)
_ROWS_FOR_CODES_OF_LISTS: Final = (4096, 1365)
_BY_LENGTH: Final = 6
# Rows are put in their places a part at a time: wide copies of all would not fit.
_CHUNK_ROWS: Final = 1 << 18
# Lists of lists that are looked into when a row is put in its place.
_LISTS_OF_LISTS_PLACING: Final = 4
# Centroids that a row is compared with where codes tell which are near.
_CENTROIDS_PLACING: Final = 32


def built(vectors: Float32Matrix, spec: IndexSpec, scales: Float32Vector | None, seed: int) -> Any:
    """Return a faiss index over ``vectors``, widened and multiplied by ``scales``.

    Equal seeds give equal indices.

    Raises
    ------
    SettingsError
        If there are no vectors.
    """
    n_rows, dim = vectors.shape
    width = spec.kind.width(dim)
    if not n_rows:
        raise SettingsError("an index needs at least one row")

    def stored(rows: Rows | slice) -> Float32Matrix:
        return _scaled(widened(vectors[rows], width), scales)

    every = [slice(start, start + _CHUNK_ROWS) for start in range(0, n_rows, _CHUNK_ROWS)]
    for_codes = np.empty(0, dtype=np.int64)
    if spec.kind.has_nibbles:
        lengths = [np.linalg.norm(stored(rows), axis=1) for rows in every]
        for_codes = rows_for_codes(np.concatenate(lengths, dtype=np.float64), spec, seed)
    for_lists = _rows_for_lists(n_rows, spec, seed)
    inner = _trained(stored(for_lists), stored(for_codes), n_rows, spec, seed)
    with one_thread() if spec.kind is IndexKind.HNSW else contextlib.nullcontext():
        for rows in every:
            if spec.kind.has_nibbles:
                add_coded(inner, stored(rows), spec.n_factors)
            else:
                inner.add(stored(rows))
    return _ready(inner, spec, seed)


def _scaled(vectors: Float32Matrix, scales: Float32Vector | None) -> Float32Matrix:
    return vectors if scales is None else vectors * scales


def _rows_for_lists(n_rows: int, spec: IndexSpec, seed: int) -> Rows:
    """Return which rows lists are learnt from, evenly drawn."""
    n_learnt = spec.lists(n_rows) * _list_training(spec, n_rows)[0] if spec.kind.has_lists else 0
    return _evenly_drawn(n_rows, n_learnt, np.random.default_rng(seed))


def rows_for_codes(lengths: npt.NDArray[np.float64], spec: IndexSpec, seed: int) -> Rows:
    """Return which rows codes are learnt from; long ones may be among them many times.

    ``lengths`` are those of the rows, shape ``(n_rows,)``. The longest rows answer most queries, and
    values like theirs are rare: codes that are learnt from all alike know no such values (ADR 27).
    """
    rng = np.random.default_rng(seed)
    n_even, n_long = _ROWS_FOR_CODES_OF_LISTS if spec.kind.has_lists else _ROWS_FOR_CODES
    evenly = _evenly_drawn(len(lengths), n_even, rng)
    longest = lengths.max(initial=0.0)
    if not longest:
        return evenly
    often = (lengths / longest) ** _BY_LENGTH
    n_long = -(-n_long * len(evenly) // n_even)
    return np.sort(
        np.concatenate((evenly, rng.choice(len(lengths), n_long, p=often / often.sum())))
    )


def _evenly_drawn(n_rows: int, n_drawn: int, rng: np.random.Generator) -> Rows:
    if n_rows <= n_drawn:
        return np.arange(n_rows)
    return np.sort(rng.choice(n_rows, n_drawn, replace=False))


def _trained(
    for_lists: Float32Matrix,
    for_codes: Float32Matrix,
    n_rows: int,
    spec: IndexSpec,
    seed: int,
) -> Any:
    """Return a faiss index for ``n_rows`` rows, without any yet, trained where its kind is trained.

    What lists and codes are learnt from has the shape ``(n, spec.kind.width(dim))``. Equal seeds give
    equal indices. Lists are not found well before :func:`_ready`.
    """
    dim = for_lists.shape[1]
    if spec.kind is IndexKind.FLAT:
        return faiss.IndexFlatIP(dim)
    if spec.kind is IndexKind.HNSW:
        hnsw = faiss.IndexHNSWFlat(dim, HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
        hnsw.hnsw.efConstruction = _HNSW_BUILD_EFFORT
        return hnsw
    inner = _with_lists(dim, n_rows, spec, seed) if spec.kind.has_lists else _with_codes(dim, spec)
    if spec.kind.has_nibbles:
        _learn(inner.pq.cp, _CODE_TRAINING, seed)
        # Begun with rows drawn evenly, codes seldom know the outermost values, which score highest.
        inner.pq.cp.init_method = faiss.ClusteringInitMethod_KMEANS_PLUS_PLUS
    if spec.kind.has_lists:
        inner.train_q1(len(for_lists), faiss.swig_ptr(for_lists), False, inner.metric_type)
        if spec.kind.has_nibbles and spec.placed_through(n_rows):
            with one_thread():
                _place_by_codes(inner)
    # The small clusterings of codes take many times as long where threads wait for each other.
    with one_thread() if spec.kind.has_nibbles else contextlib.nullcontext():
        inner.train(_enough(for_codes) if spec.kind.has_nibbles else for_lists)
    return inner


def _ready(inner: Any, spec: IndexSpec, seed: int) -> Any:
    """Return an index with rows as it is searched: codes in blocks, lists found by inner product."""
    if spec.kind is IndexKind.PQ:
        return faiss.IndexPQFastScan(inner, CODES_TOGETHER)
    if not spec.kind.has_lists:
        return inner
    ready = faiss.IndexIVFPQFastScan(inner) if spec.kind.has_nibbles else inner
    return _found_by_product(ready, spec.found_through(ready.ntotal), seed)


def _place_by_codes(inner: Any) -> None:
    """Let rows be put into lists that are found by codes of their centroids, and compared with in part.

    That takes a third of what comparing with all does, and of 1,000 rows four at most go elsewhere. The
    lists are learnt before: such as are learnt with some centroids left out hold less.
    """
    centroids = faiss.downcast_index(inner.quantizer).reconstruct_n(0, inner.nlist)
    coded = faiss.IndexPQ(inner.d, inner.d // DIMS_PER_CODE, 4, faiss.METRIC_L2)
    _learn(coded.pq.cp, _CODE_TRAINING, seed=inner.cp.seed)
    coded.pq.cp.init_method = faiss.ClusteringInitMethod_KMEANS_PLUS_PLUS
    coded.train(centroids)
    coded.add(centroids)
    placing = faiss.IndexRefineFlat(faiss.IndexPQFastScan(coded), faiss.swig_ptr(centroids))
    placing.k_factor = _CENTROIDS_PLACING
    inner.quantizer = placing
    # faiss keeps the address alone.
    inner.referenced_objects = [placing]


def _found_by_product(inner: Any, n_above: int, seed: int) -> Any:
    placing = faiss.downcast_index(inner.quantizer)
    if isinstance(placing, faiss.IndexIVF) and placing.direct_map.no():
        placing.make_direct_map()
    centroids = placing.reconstruct_n(0, inner.nlist)
    finding = faiss.IndexFlatIP(inner.d)
    if n_above:
        by_distance = faiss.IndexFlatL2(inner.d)
        finding = faiss.IndexIVFFlat(by_distance, inner.d, n_above, faiss.METRIC_INNER_PRODUCT)
        _learn(finding.cp, _LIST_TRAINING[0], seed)
        finding.train(centroids)
    finding.add(centroids)
    if n_above:
        finding = _found_by_product(finding, 0, seed)
        finding.nprobe = min(LISTS_OF_LISTS, n_above)
    inner.quantizer = finding
    # faiss keeps the address alone.
    inner.referenced_objects = [finding]
    return inner


def _learn(
    clustering: Any, rows_and_rounds: tuple[int, int], seed: int, *, by_direction: bool = False
) -> None:
    clustering.seed = seed
    clustering.spherical = by_direction
    clustering.min_points_per_centroid = 1
    clustering.max_points_per_centroid, clustering.niter = rows_and_rounds


def _list_training(spec: IndexSpec, n_rows: int) -> tuple[int, int]:
    if spec.placed_through(n_rows):
        return _LIST_TRAINING[2]
    return _LIST_TRAINING[spec.lists(n_rows) > _MANY_LISTS]


def _with_codes(dim: int, spec: IndexSpec) -> Any:
    codes = spec.n_codes(dim), 4
    return faiss.IndexPQ(dim, *codes, faiss.METRIC_INNER_PRODUCT)


def _with_lists(dim: int, n_rows: int, spec: IndexSpec, seed: int) -> Any:
    n_lists, n_above = spec.lists(n_rows), spec.placed_through(n_rows)
    by = faiss.METRIC_INNER_PRODUCT
    near, by_direction = by if spec.by_direction else faiss.METRIC_L2, spec.by_direction
    placing = faiss.IndexFlat(dim, near)
    if n_above and not spec.kind.has_nibbles:
        placing = faiss.IndexIVFFlat(placing, dim, n_above, near)
        _learn(placing.cp, _LIST_TRAINING[0], seed, by_direction=by_direction)
        placing.nprobe = _LISTS_OF_LISTS_PLACING
    if spec.kind is IndexKind.IVF:
        lists = faiss.IndexIVFFlat(placing, dim, n_lists, by)
    elif spec.kind.has_nibbles:
        lists = faiss.IndexIVFPQ(placing, dim, n_lists, spec.n_codes(dim), 4, by)
        # By inner product, what a list has in common is one addition for each list that is searched.
        lists.by_residual = True
        # Nothing that faiss could prepare is of use by inner product.
        lists.use_precomputed_table = -1
    else:
        # Codes of residuals would have to be shifted by the centroid for each list that is searched.
        bits, by_residual = faiss.ScalarQuantizer.QT_8bit, False
        lists = faiss.IndexIVFScalarQuantizer(placing, dim, n_lists, bits, by, by_residual)
    _learn(lists.cp, _list_training(spec, n_rows), seed, by_direction=by_direction)
    return lists


def _enough(vectors: Float32Matrix) -> Float32Matrix:
    """Return at least as many rows as a code has values: few are repeated."""
    return np.resize(vectors, (16, vectors.shape[1])) if len(vectors) < 16 else vectors
