"""Index files: faiss is given none that would lead it outside its memory or the data."""

import struct
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.faults.hostile_indices import attack
from ilk.ann import Index, IndexKind, IndexSpec
from ilk.errors import BundleCorrupt
from ilk.index_file import check_contents, check_layout

# A width that every kind stores as it is.
N_ROWS, DIM, SEED = 200, 16, 3
KINDS = tuple(IndexKind)
kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.value)
Vectors = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    return np.random.default_rng(SEED).standard_normal((N_ROWS, DIM), dtype=np.float32)


@pytest.fixture(scope="module")
def folder(vectors: Vectors, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("indices")
    for kind in KINDS:
        Index.build(vectors, IndexSpec(kind), SEED).save(folder / kind.value)
    return folder


@kinds
@pytest.mark.parametrize("n_rows", [1, 2, 3, 40, 1000])
def test_every_index_that_is_built_is_believed(
    kind: IndexKind, n_rows: int, tmp_path: Path
) -> None:
    vectors = np.random.default_rng(n_rows).standard_normal((n_rows, DIM), dtype=np.float32)
    Index.build(vectors, IndexSpec(kind), SEED).save(tmp_path / "index")
    check_contents(tmp_path / "index", kind.value, n_rows, DIM)


def test_lists_of_which_most_are_empty_are_believed(vectors: Vectors, tmp_path: Path) -> None:
    alike = np.ascontiguousarray(np.repeat(vectors[:3], 50, axis=0))
    ivf = faiss.IndexIVFFlat(faiss.IndexFlatIP(DIM), DIM, 50, faiss.METRIC_INNER_PRODUCT)
    ivf.train(vectors)
    ivf.add(alike)
    faiss.write_index(ivf, str(tmp_path / "index"))
    # faiss then writes the sizes of those that are not, as pairs.
    assert b"sprs" in (tmp_path / "index").read_bytes()
    check_contents(tmp_path / "index", "IVF", len(alike), DIM)
    assert Index.open(tmp_path / "index", IndexKind.IVF, len(alike), DIM).n_rows == len(alike)


@kinds
def test_a_file_cut_anywhere_is_refused(kind: IndexKind, folder: Path, tmp_path: Path) -> None:
    whole = (folder / kind.value).read_bytes()
    for kept in [*range(0, 700, 3), *range(700, len(whole), 97)]:
        (tmp_path / "cut").write_bytes(whole[:kept])
        with pytest.raises(BundleCorrupt, match="faiss cannot read it"):
            check_layout(tmp_path / "cut", kind.value, N_ROWS, DIM)


@kinds
def test_bytes_after_the_end_are_refused(kind: IndexKind, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "longer").write_bytes((folder / kind.value).read_bytes() + b"\0")
    with pytest.raises(BundleCorrupt, match="1 bytes follow its end"):
        check_layout(tmp_path / "longer", kind.value, N_ROWS, DIM)


Lie = Callable[[bytes], bytes]


def put(value: int, at: int, fmt: str = "<q") -> Lie:
    told = struct.pack(fmt, value)
    return lambda data: data[:at] + told + data[at + len(told) :]


def nan_at_the_end(data: bytes) -> bytes:
    return data[:-4] + struct.pack("<f", np.nan)


def last_row_again(data: bytes) -> bytes:
    """Let the last row of the last list be the one before it."""
    return data[:-8] + data[-16:-8]


def no_scale(data: bytes) -> bytes:
    return put(0, _after_faiss(data), "<i")(data)


def longer_list(data: bytes) -> bytes:
    return put(N_ROWS + 1, _after_faiss(data) + 4 * DIM)(data)


def _after_faiss(data: bytes) -> int:
    """Return where the scales of the first partition of IVFPQ2 stand, after lists said to be empty."""
    empty = data.index(b"ilar") + 20
    assert data[empty : empty + 4] == b"sprs"
    return empty + 12


LIES: dict[str, tuple[IndexKind, Lie, str]] = {
    "no float": (IndexKind.FLAT, nan_at_the_end, "not finite"),
    "no float in a graph": (IndexKind.HNSW, nan_at_the_end, "not finite"),
    "more values": (IndexKind.FLAT, put(1 << 61, 37), "number of its values"),
    "not trained": (IndexKind.FLAT, put(0, 32, "<b"), "trained"),
    "no list is searched": (IndexKind.IVF, put(0, 45), "are searched"),
    "more lists than rows": (IndexKind.IVF, put(1 << 62, 37), "lists of which"),
    "a row that is none": (IndexKind.IVF, lambda d: put(N_ROWS, len(d) - 8)(d), "outside its 200"),
    "a row below none": (IndexKind.IVF, lambda d: put(-1, len(d) - 8)(d), "outside its 200"),
    "a row twice": (IndexKind.IVF, last_row_again, "in two lists"),
    "a row twice in the second partition": (IndexKind.IVF_PQ_2, last_row_again, "in two lists"),
    "a row of the second partition that is none": (
        IndexKind.IVF_PQ_2,
        lambda d: put(N_ROWS, len(d) - 8)(d),
        "outside its 200",
    ),
    "a scale that is none": (IndexKind.IVF_PQ_2, no_scale, "no positive number"),
    "more rows in a list": (IndexKind.IVF_PQ_2, longer_list, "do not hold 200 rows"),
    "a level that is none": (IndexKind.HNSW, put(99, 0x90, "<i"), "level"),
    "a level below none": (IndexKind.HNSW, put(-1, 0x90, "<i"), "level"),
}


@pytest.mark.parametrize(("kind", "lie", "told"), LIES.values(), ids=LIES)
def test_a_lie_is_named(kind: IndexKind, lie: Lie, told: str, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "lying").write_bytes(lie((folder / kind.value).read_bytes()))
    with pytest.raises(BundleCorrupt, match=told):
        check_contents(tmp_path / "lying", kind.value, N_ROWS, DIM)


@pytest.mark.parametrize("link", [N_ROWS, -2, 1 << 30])
def test_a_link_that_leads_outside_is_refused(link: int, vectors: Vectors, tmp_path: Path) -> None:
    graph = faiss.IndexHNSWFlat(DIM, 32, faiss.METRIC_INNER_PRODUCT)
    graph.add(vectors)
    faiss.write_index(graph, str(tmp_path / "index"))
    data = (tmp_path / "index").read_bytes()
    links = faiss.vector_to_array(graph.hnsw.neighbors).tobytes()
    at = data.index(links[:64])
    (tmp_path / "index").write_bytes(put(link, at + 4 * 10, "<i")(data))
    with pytest.raises(BundleCorrupt, match="outside its 200"):
        check_contents(tmp_path / "index", "HNSW", N_ROWS, DIM)


def test_a_link_to_a_row_that_does_not_stand_on_its_level_is_refused(
    vectors: Vectors, tmp_path: Path
) -> None:
    graph = faiss.IndexHNSWFlat(DIM, 4, faiss.METRIC_INNER_PRODUCT)
    graph.add(vectors)
    faiss.write_index(graph, str(tmp_path / "index"))
    check_contents(tmp_path / "index", "HNSW", N_ROWS, DIM)
    levels, offsets = (
        faiss.vector_to_array(v).astype(np.int64) for v in (graph.hnsw.levels, graph.hnsw.offsets)
    )
    high, low = int(np.argmax(levels)), int(np.argmin(levels))
    data = (tmp_path / "index").read_bytes()
    start = data.index(faiss.vector_to_array(graph.hnsw.neighbors).tobytes())
    upper = start + 4 * (int(offsets[high]) + int(graph.hnsw.cum_nneighbor_per_level.at(1)))
    (tmp_path / "index").write_bytes(put(low, upper, "<i")(data))
    with pytest.raises(BundleCorrupt, match="level 1 leads to a row that does not stand there"):
        check_contents(tmp_path / "index", "HNSW", N_ROWS, DIM)


@kinds
def test_damaged_indices_neither_kill_the_process_nor_lead_outside_the_data(
    kind: IndexKind,
) -> None:
    came_of = attack(kind, 120, SEED)
    assert (came_of["killed"], came_of["lied"]) == (0, 0)
    assert came_of["refused"] > 40
    assert came_of["answered"] > 0
    assert came_of.total() == 120
