"""Knows how requests that are well made become ones that are not, by a seeded hand.

It refuses to know what comes of them. Beside bytes that are damaged blindly (`damage`) there is damage
that keeps the form of a message, and so gets past its parser: fields doubled, unknown, of another type,
nested, endless, in messages within messages.
"""

import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.faults import damage

MAX_BYTES = 5 << 20
_VARINT, _FIXED64, _BYTES, _START, _END, _FIXED32 = range(6)
_GIANT = (1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 62, (1 << 64) - 1)
_NUMBERS = (0, 1, 7, 999, 1000, 1001, (1 << 31) - 1, 1 << 31, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
_DOUBLES = (0.0, -0.0, 0.5, 1.0, 1.0000001, -1.0, 5e-324, 1e308, np.nan, np.inf, -np.inf)
_TEXTS = (
    b"",
    b"\0",
    b" ",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    "é".encode() * 200,
    b"x" * 300,
    b"%s{0}\n",
)
_MAX_DEPTH = 5000
# Large ones are rare, for they take long to make and to send.
_TIMES, _SIZES_BYTES = (3, 101, 1001, 10_001, 100_001), (300, 1 << 10, 1 << 14, 1 << 18, 1 << 22)
_ODDS = (0.6, 0.2, 0.15, 0.04, 0.01)


class Field(NamedTuple):
    """A field on the wire; ``body`` is without its tag, and without its length where it has one."""

    number: int
    wire_type: int
    body: bytes


Mutation = Callable[[list[Field], np.random.Generator], list[Field]]


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Return ``data`` with one to three things wrong; at most ``MAX_BYTES`` of it."""
    for _ in range(rng.integers(1, 4)):
        data = damage.mutate(data, rng) if rng.random() < 0.3 else _misshape(data, rng)
    return data[:MAX_BYTES]


def split(data: bytes) -> list[Field] | None:
    """Return the fields of a message; None if it is none."""
    fields, at = [], 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == _VARINT:
            end = _read_varint(data, at)[1]
        elif wire_type in (_FIXED64, _FIXED32):
            end = at + (8 if wire_type == _FIXED64 else 4)
        elif wire_type == _BYTES:
            size, at = _read_varint(data, at)
            end = at + size
        else:
            return None
        if end > len(data) or not number:
            return None
        fields.append(Field(number, wire_type, data[at:end]))
        at = end
    return fields


def joined(fields: Sequence[Field]) -> bytes:
    """Return the message that is made of ``fields``."""
    parts = []
    for number, wire_type, body in fields:
        parts.append(varint(number << 3 | wire_type))
        if wire_type == _BYTES:
            parts.append(varint(len(body)))
        parts.append(body)
    return b"".join(parts)


def varint(value: int) -> bytes:
    """Return a number as the wire has it."""
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data):
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 0x80:
            return value, at
    return value, len(data) + 1


def _misshape(data: bytes, rng: np.random.Generator) -> bytes:
    fields = split(data)
    if fields is None:
        return damage.mutate(data, rng)
    inner = [at for at, field in enumerate(fields) if field.wire_type == _BYTES and field.body]
    if inner and rng.random() < 0.5:
        # Within a message, or the bytes of a text: the lengths around it stay true.
        at = inner[rng.integers(len(inner))]
        fields[at] = fields[at]._replace(body=_misshape(fields[at].body, rng))
        return joined(fields)
    return joined(_MUTATIONS[rng.integers(len(_MUTATIONS))](fields, rng))


def _some(fields: list[Field], rng: np.random.Generator) -> Field:
    return fields[rng.integers(len(fields))] if fields else Field(1, _BYTES, b"")


def _double(fields: list[Field], rng: np.random.Generator) -> list[Field]:
    return [*fields, _some(fields, rng)]


def _repeat(fields: list[Field], rng: np.random.Generator) -> list[Field]:
    field = _some(fields, rng)
    times = int(rng.choice(_TIMES, p=_ODDS))
    return fields + [field] * min(times, (MAX_BYTES >> 2) // (len(field.body) + 3))


def _drop(fields: list[Field], rng: np.random.Generator) -> list[Field]:
    at = int(rng.integers(len(fields) + 1))
    return fields[:at] + fields[at + 1 :]


def _shuffle(fields: list[Field], rng: np.random.Generator) -> list[Field]:
    return [fields[at] for at in rng.permutation(len(fields))]


def _renumber(fields: list[Field], rng: np.random.Generator) -> list[Field]:
    return [*fields, _some(fields, rng)._replace(number=int(rng.integers(1, 20)))]


def _add_unknown(fields: list[Field], rng: np.random.Generator) -> list[Field]:
    number = int(rng.choice([100, 18_999, 19_500, (1 << 29) - 1]))
    return [*fields, Field(number, _BYTES, rng.bytes(int(rng.integers(0, 64))))]


def _retype(fields: list[Field], rng: np.random.Generator) -> list[Field]:
    number = _some(fields, rng).number
    wire_type = int(rng.integers(6))
    bodies = {_VARINT: varint(int(rng.integers(1 << 40))), _FIXED64: rng.bytes(8)}
    bodies |= {_BYTES: rng.bytes(5), _FIXED32: rng.bytes(4)}
    return [*fields, Field(number, wire_type, bodies.get(wire_type, b""))]


def _set_number(fields: list[Field], rng: np.random.Generator) -> list[Field]:
    value = _NUMBERS[rng.integers(len(_NUMBERS))]
    return [*fields, Field(int(rng.integers(1, 18)), _VARINT, varint(value))]


def _set_double(fields: list[Field], rng: np.random.Generator) -> list[Field]:
    value = _DOUBLES[rng.integers(len(_DOUBLES))]
    return [*fields, Field(int(rng.integers(1, 18)), _FIXED64, struct.pack("<d", value))]


def _set_text(fields: list[Field], rng: np.random.Generator) -> list[Field]:
    value = _TEXTS[rng.integers(len(_TEXTS))]
    return [*fields, _some(fields, rng)._replace(wire_type=_BYTES, body=value)]


def _swell(fields: list[Field], rng: np.random.Generator) -> list[Field]:
    size = int(rng.choice(_SIZES_BYTES, p=_ODDS))
    return [*fields, _some(fields, rng)._replace(wire_type=_BYTES, body=b"x" * size)]


def _nest(fields: list[Field], rng: np.random.Generator) -> list[Field]:
    number, body = _some(fields, rng).number, joined(fields)
    for _ in range(int(rng.choice([1, 5, 99, 101, _MAX_DEPTH]))):
        if len(body) > 1 << 16:
            break
        body = joined([Field(number, _BYTES, body)])
    return [Field(number, _BYTES, body)]


def _group(fields: list[Field], rng: np.random.Generator) -> list[Field]:
    """Open groups within groups, and perhaps close them."""
    number, depth = int(rng.integers(1, 200)), int(rng.choice([1, 99, 101, _MAX_DEPTH]))
    closed = depth if rng.random() < 0.5 else int(rng.integers(depth))
    return [*fields, *[Field(number, _START, b"")] * depth, *[Field(number, _END, b"")] * closed]


def _lie_of_length(fields: list[Field], rng: np.random.Generator) -> list[Field]:
    """Announce more than there is: the length stands where a body would."""
    length = _GIANT[rng.integers(len(_GIANT))]
    tag = varint(_some(fields, rng).number << 3 | _BYTES)
    # A field of raw bytes: its own tag is a number that nobody reads.
    return [*fields, Field(200, _VARINT, b"\0" + tag + varint(length) + rng.bytes(4))]


_MUTATIONS: tuple[Mutation, ...] = (
    _double,
    _repeat,
    _drop,
    _shuffle,
    _renumber,
    _add_unknown,
    _retype,
    _set_number,
    _set_double,
    _set_text,
    _swell,
    _nest,
    _group,
    _lie_of_length,
)
