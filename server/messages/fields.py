"""Knows where the fields stand in the bytes of a message, which need not be read for that.

It refuses to know what they mean. All of it is for messages that protobuf has found well formed.
"""

from collections.abc import Iterator
from typing import Final

from ilk.errors import InvalidRequest

# The tag of field 1, of a kind whose length is told.
_FIRST: Final = 0x0A
_MOST_FIELDS: Final = 10_000


def short_bodies(data: bytes) -> list[bytes]:
    """Return the bodies of a message that has nothing but field 1, all short; none of any other."""
    found, at, end = [], 0, len(data)
    while at < end:
        # A size from 128 on takes another byte.
        if data[at] != _FIRST or data[at + 1] >= 0x80:
            return []
        start = at + 2
        at = start + data[at + 1]
        found.append(data[start:at])
    return found


def bodies(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield number and body of each length-delimited field at the top of a well-formed message.

    Raises
    ------
    InvalidRequest
        If there are more fields, known or not, than any request of ours has: each is a step in Python.
    """
    at = depth = n_fields = 0
    while at < len(data):
        n_fields += 1
        if n_fields > _MOST_FIELDS:
            raise InvalidRequest("", f"the message has more than {_MOST_FIELDS} fields")
        tag, at = (data[at], at + 1) if data[at] < 0x80 else _varint(data, at)
        wire_type = tag & 7
        if wire_type == 0:
            _, at = _varint(data, at)
        elif wire_type in (1, 5):
            at += 8 if wire_type == 1 else 4
        elif wire_type == 2:
            size, at = (data[at], at + 1) if data[at] < 0x80 else _varint(data, at)
            if not depth:
                yield tag >> 3, data[at : at + size]
            at += size
        else:  # the start or the end of a group, which no field of ours is
            depth += 1 if wire_type == 3 else -1


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
