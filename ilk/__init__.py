"""Ilk: nearest users, nearest films, or a blend of both, over gRPC.

It knows the two clients by name and refuses to import them, and so gRPC, before they are used.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ilk.client import SimilarityClient
    from ilk.client.aio import AsyncSimilarityClient

__version__ = "0.1.0"
__all__ = ["AsyncSimilarityClient", "SimilarityClient"]

_HOMES = {"AsyncSimilarityClient": "ilk.client.aio", "SimilarityClient": "ilk.client"}


def __getattr__(name: str) -> object:
    # PEP 562: whoever needs only ilk.errors or ilk.types does not pay for gRPC.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
