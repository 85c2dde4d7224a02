"""Knows how partitions with lists of 4-bit codes lie in a file, mapped, so that no process copies them.

It refuses to know how they are made and searched. faiss keeps such lists in a form that it can only read
into memory. Of each partition it writes here all but the lists; then come what each dimension was
multiplied by, how many rows each list has, and of each list the codes, in blocks of 32 rows as they are
searched, and the rows. faiss is then told where in the mapped file they lie (ADR 22).
"""

from pathlib import Path
from typing import Any, BinaryIO, Final

import faiss
import numpy as np

from ilk.index_file import Packed, packed_places
from ilk.vectors import Float32Vector

_BUFFER_BYTES: Final = 1 << 20


def write_faiss(inner: Any, file: BinaryIO) -> None:
    """Write a faiss index to an open file; RuntimeError if it takes no more."""
    faiss.write_index(inner, faiss.PyCallbackIOWriter(file.write, _BUFFER_BYTES))


def write_packed(inner: Any, scales: Float32Vector, file: BinaryIO) -> None:
    """Write an index with lists of 4-bit codes, and the ``scales`` of its dimensions, to an open file."""
    lists, empty = inner.invlists, faiss.ArrayInvertedLists(inner.nlist, inner.code_size)
    owned, inner.own_invlists = inner.own_invlists, False
    try:
        inner.replace_invlists(empty, False)
        write_faiss(inner, file)
    finally:
        inner.replace_invlists(lists, False)
        inner.own_invlists = owned
    sizes = np.array([lists.list_size(at) for at in range(inner.nlist)], dtype="<u8")
    file.write(scales.astype("<f4").tobytes() + sizes.tobytes())
    places = packed_places(sizes, inner.code_size, file.tell())
    for at, (size, n_padded, begin) in enumerate(places.tolist()):
        if size:
            file.write(bytes(begin - file.tell()))
            codes = faiss.rev_swig_ptr(lists.get_codes(at), n_padded * inner.code_size)
            rows = faiss.rev_swig_ptr(lists.get_ids(at), size)
            file.write(codes.tobytes() + rows.tobytes())


def map_packed(path: Path, packed: Packed) -> Any:
    """Return the faiss index that begins at ``packed.begin``, its lists mapped read-only."""
    with path.open("rb") as file:
        file.seek(packed.begin)
        inner = faiss.read_index(faiss.PyCallbackIOReader(file.read, _BUFFER_BYTES))
    lists, places = faiss.OnDiskInvertedLists(), np.ascontiguousarray(packed.places)
    lists.nlist, lists.code_size = inner.nlist, inner.code_size
    lists.filename, lists.totsize, lists.read_only = str(path), path.stat().st_size, True
    lists.lists.resize(len(places))
    faiss.memcpy(lists.lists.data(), faiss.swig_ptr(places), places.nbytes)
    # Mapped lists are fetched ahead by 32 threads, which every search would start anew.
    lists.prefetch_nthread = 0
    lists.do_mmap()
    # From here on the index owns them.
    lists.this.disown()
    inner.replace_invlists(lists, True)
    return inner
