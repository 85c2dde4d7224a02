"""Knows how bytes are damaged, by a seeded hand.

It refuses to know what they were for.
"""

import struct

import numpy as np

# Counts and offsets that a parser that trusts them trips over.
_LIES = (0, 1, 2, -1, -2, 127, 128, 1 << 16, (1 << 31) - 1, -(1 << 31), 1 << 40, (1 << 63) - 1)


def flip_bit(data: bytes, at_bit: int) -> bytes:
    """Return ``data`` with one bit turned over."""
    flipped = bytearray(data)
    flipped[at_bit // 8] ^= 1 << at_bit % 8
    return bytes(flipped)


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Return ``data`` damaged in one to three places: bits, numbers, cuts, doubled and swapped parts.

    Half of the places are in the first 600 bytes, where headers are.
    """
    for _ in range(rng.integers(1, 4)):
        data = _KINDS[rng.integers(len(_KINDS))](data, rng)
    return data


def _place(data: bytes, rng: np.random.Generator) -> int:
    reach = min(len(data), 600) if rng.random() < 0.5 else len(data)
    return int(rng.integers(max(reach, 1)))


def _flip(data: bytes, rng: np.random.Generator) -> bytes:
    return flip_bit(data, 8 * _place(data, rng) + int(rng.integers(8))) if data else data


def _overwrite(data: bytes, rng: np.random.Generator) -> bytes:
    at, n = _place(data, rng), int(rng.integers(1, 17))
    return data[:at] + rng.bytes(len(data[at : at + n])) + data[at + n :]


def _lie(data: bytes, rng: np.random.Generator) -> bytes:
    at, lie = _place(data, rng), _LIES[rng.integers(len(_LIES))]
    told = struct.pack("<q", lie)[: 4 if rng.random() < 0.5 else 8]
    return data[:at] + told[: len(data) - at] + data[at + len(told) :]


def _cut(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: _place(data, rng)]


def _double(data: bytes, rng: np.random.Generator) -> bytes:
    at, n = _place(data, rng), int(rng.integers(1, 65))
    return data[: at + n] + data[at:]


def _swap(data: bytes, rng: np.random.Generator) -> bytes:
    first, second = sorted((_place(data, rng), _place(data, rng)))
    n = min(int(rng.integers(1, 65)), second - first)
    a, b = data[first : first + n], data[second : second + n]
    if len(a) != len(b):
        return data
    return data[:first] + b + data[first + n : second] + a + data[second + n :]


_KINDS = (_flip, _flip, _overwrite, _lie, _lie, _cut, _double, _swap)
