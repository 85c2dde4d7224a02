"""Knows whether values that came of JSON are of the types that are written down for them.

It refuses to know what they mean.
"""

import dataclasses
import math
import types
import typing
from typing import Any


def mistyped(kind: Any, told: Any, name: str) -> str | None:
    """Return what in ``told``, called ``name``, is not of type ``kind``; None: nothing.

    Of dataclasses, dicts, lists, tuples of one type, and plain values. Numbers are finite.
    """
    if kind is Any or (told is None and type(None) in typing.get_args(kind)):
        return None
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        parts = [(hints[f.name], getattr(told, f.name), f.name) for f in dataclasses.fields(kind)]
        return _first(parts)
    origin, of = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return mistyped(of[0], told, name)
    if not _is_plain(origin or kind, told):
        return f"{name} must be of type {kind}, got {told!r:.100}"
    if origin is dict:
        keys = [(of[0], key, f"a key of {name}") for key in told]
        return _first([*keys, *((of[1], value, f"{name}[{key!r}]") for key, value in told.items())])
    return _first([(of[0], value, name) for value in told]) if origin in (list, tuple) else None


def _first(parts: list[tuple[Any, Any, str]]) -> str | None:
    return next((wrong for part in parts if (wrong := mistyped(*part))), None)


def _is_plain(kind: type, told: object) -> bool:
    if kind is float:
        return type(told) in (int, float) and math.isfinite(told)  # type: ignore[arg-type]
    return type(told) is kind
