"""Knows how numpy reads vectors that faiss holds, where they lie.

It refuses to know what they are for.
"""

from typing import Any

import faiss
import numpy as np

from ilk.vectors import Float32Matrix


class _Lent:
    """Memory of a faiss index as numpy takes it: the array made of it keeps the index alive."""

    def __init__(self, owner: Any, values: Float32Matrix) -> None:
        self.owner = owner
        address, shape = values.ctypes.data, values.shape
        self.__array_interface__ = {
            "data": (address, True),
            "shape": shape,
            "typestr": values.dtype.str,
            "version": 3,
        }


def vectors_of(flat: Any, owner: Any) -> Float32Matrix:
    """Return the vectors that a flat faiss index holds, read-only and not copied; ``owner`` owns it."""
    values = faiss.rev_swig_ptr(flat.get_xb(), flat.ntotal * flat.d)
    return np.asarray(_Lent(owner, values.reshape(flat.ntotal, flat.d)))
