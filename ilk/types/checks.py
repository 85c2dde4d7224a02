"""Knows what any id, and any list of texts, must be.

It refuses to know what they name.
"""

import math
from collections.abc import Iterable

from ilk.errors import InvalidRequest

MAX_ID_BYTES = 256


def check_id(name: str, value: str) -> None:
    """Refuse an id that is no text, empty or over-long; ``name`` is the field to blame."""
    if not isinstance(value, str):
        raise InvalidRequest(name, f"must be text, got {value!r}")
    # Characters bound bytes from both sides, so the encoding is only paid near the limit.
    if not value:
        raise InvalidRequest(name, "is empty")
    if len(value) * 4 > MAX_ID_BYTES:
        n_bytes = len(value.encode("utf-8", "surrogatepass"))
        if n_bytes > MAX_ID_BYTES:
            raise InvalidRequest(name, f"has {n_bytes} bytes; at most {MAX_ID_BYTES}")


def is_finite(value: object) -> bool:
    """Whether it is a number, and no infinite one."""
    try:
        return math.isfinite(value)  # type: ignore[arg-type]
    except TypeError:
        return False


def is_whole(value: object) -> bool:
    """Whether it is a number that can count; numpy's can."""
    return hasattr(value, "__index__")


def check_many(name: str, values: Iterable[str]) -> None:
    """Refuse one text where several belong: each of its characters may be an id."""
    if isinstance(values, str):
        raise InvalidRequest(name, f"must be several texts, such as [{values!r}]; got one")


def check_genres(name: str, values: Iterable[str]) -> None:
    """Refuse names that no genre has: what is done to compare long ones can take minutes."""
    check_many(name, values)
    for value in values:
        if not isinstance(value, str):
            raise InvalidRequest(name, f"must be texts, got {value!r}")
        if len(value) > MAX_ID_BYTES:
            raise InvalidRequest(
                name, f"has a name of {len(value)} characters; at most {MAX_ID_BYTES}"
            )
