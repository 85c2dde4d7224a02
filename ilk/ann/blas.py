"""Knows that faiss brings linear algebra of its own, and tells it which processor it runs on.

It refuses to know what is multiplied. It must be imported before faiss is.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import Final

# numpy must have loaded its own library.
import numpy as np  # noqa: F401
from threadpoolctl import threadpool_info

_VARIABLE: Final = "OPENBLAS_CORETYPE"
# By what numpy's newer OpenBLAS calls a processor: what faiss's, of 2021, calls the best that runs there.
_NAMES: Final = {
    "Haswell": "Haswell",
    "Zen": "Zen",
    "SkylakeX": "SkylakeX",
    "Cooperlake": "SkylakeX",
    "SapphireRapids": "SkylakeX",
}


def processor() -> str | None:
    """Return what faiss's OpenBLAS is to take the processor for; None leaves it to itself."""
    found = {library.get("architecture", "") for library in threadpool_info()}
    return next((_NAMES[name] for name in sorted(found) if name in _NAMES), None)


@contextlib.contextmanager
def processor_named() -> Iterator[None]:
    """Let an OpenBLAS that is loaded meanwhile know the processor.

    One that does not know a new processor takes it for one of 2004: k-means and flat comparisons then
    take three times as long. Whoever named one by the environment keeps it.
    """
    name = processor()
    if name is None or _VARIABLE in os.environ:
        yield
        return
    os.environ[_VARIABLE] = name
    try:
        yield
    finally:
        del os.environ[_VARIABLE]


with processor_named():
    import faiss  # noqa: F401
