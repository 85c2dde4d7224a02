"""Knows how values of dataclasses are written as JSON, and read back by their types.

It refuses to know what they mean. What is read makes values of the types that were asked for and of no
others: unlike pickle, no bytes can name code to be run.
"""

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")


def written(value: object) -> bytes:
    """Return ``value`` as JSON; of dataclasses, dicts, lists, tuples, paths and plain values."""
    return json.dumps(_plain(value)).encode()


def read(kind: type[T], data: bytes) -> T:
    """Return the value of type ``kind`` that was written.

    Raises
    ------
    ValueError, TypeError, KeyError
        If it was another.
    """
    return cast("T", _made(kind, json.loads(data)))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        # Keys need not be texts.
        return [[_plain(key), _plain(of)] for key, of in value.items()]
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return str(value) if isinstance(value, Path) else value


def _made(kind: Any, told: Any) -> Any:
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        return kind(**{name: _made(hints[name], of) for name, of in told.items()})  # type: ignore[operator]
    origin, parts = get_origin(kind), get_args(kind)
    if type(None) in parts:
        return None if told is None else _made(parts[0], told)
    if origin is dict:
        return {_made(parts[0], key): _made(parts[1], of) for key, of in told}
    if origin is Counter:
        return Counter({_made(parts[0], key): of for key, of in told})
    if origin is list:
        return [_made(parts[0], of) for of in told]
    if origin is tuple:
        return tuple(_made(part, of) for part, of in zip(parts, told, strict=True))
    return Path(told) if kind is Path else told
