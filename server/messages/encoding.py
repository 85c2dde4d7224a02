"""Knows how the answers from one bundle are written on the wire, with no message object for a neighbor.

It refuses to know what is neither id nor score: answers that hold more are left to `responses`. All that
is known of a row before it is found, which is all but its score, is written once.
"""

import functools
import struct
from collections.abc import Callable
from typing import Any, Final

from ilk.bundle import Bundle
from ilk.bundle.contents import Side
from ilk.query.found import FoundNeighbors
from ilk.types import Neighbors
from server.messages import responses

# Rows, and weights, that are kept as written: some 20 MB at the most.
_MOST_ROWS: Final = 100_000
_MOST_TAILS: Final = 1024
# Tags, field number times 8 plus wire type: of the response, then of a neighbor in it.
_NEIGHBORS = b"\x0a"
_ID, _SCORE, _IS_INFERRED = b"\x0a", b"\x15", b"\x30\x01"
_SCORE_BYTES = 4


class Encoder:
    """Writes answers.

    Parameters
    ----------
    bundle
        That they are from.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._items, self._users = _Heads(bundle.items), _Heads(bundle.users)
        self._item_side = bundle.items
        self._tails: dict[float, bytes] = {}

    def response(self, answer: Neighbors) -> bytes:
        """Return a FindNeighborsResponse; fields may stand in another order than protobuf's own."""
        near = answer.neighbors
        if type(near) is not FoundNeighbors or not near.all_related:
            return responses.neighbors_message(answer).SerializeToString()
        heads, n = self._items if near.side is self._item_side else self._users, len(near.rows)
        # Filled by twos: a fifth quicker than pairs that are chained.
        parts = [self._tail(answer)] * (2 * n + 1)
        parts[:-1:2] = map(heads.__getitem__, near.rows)
        parts[1::2] = _one_by_one(n)(near.packed)
        return b"".join(parts)

    def _tail(self, answer: Neighbors) -> bytes:
        """Return the response without its neighbors."""
        if answer.shortfall is not None or answer.ignored_ids:
            return responses.rest_message(answer).SerializeToString()
        tail = self._tails.get(answer.content_weight)
        if tail is None:
            if len(self._tails) >= _MOST_TAILS:
                self._tails.clear()
            tail = responses.rest_message(answer).SerializeToString()
            self._tails[answer.content_weight] = tail
        return tail


@functools.lru_cache(None)  # of as many as may be asked for
def _one_by_one(n: int) -> Callable[[bytes], tuple[Any, ...]]:
    """Return what takes ``n`` packed scores apart."""
    return struct.Struct(f"{_SCORE_BYTES}s" * n).unpack


class _Heads(dict[int, bytes]):
    """By row: a neighbor of a response, up to the four bytes of its score, which stands last."""

    def __init__(self, side: Side) -> None:
        super().__init__()
        self._side = side

    def __missing__(self, row: int) -> bytes:
        if len(self) >= _MOST_ROWS:
            self.clear()
        external_id = self._side.vocabulary.ids.bytes_at(row)
        flag = _IS_INFERRED if self._side.inferred.item(row) else b""
        start = delimited(_ID, external_id) + flag + _SCORE
        self[row] = head = _NEIGHBORS + varint(len(start) + _SCORE_BYTES) + start
        return head


def delimited(tag: bytes, body: bytes) -> bytes:
    """Return a field whose value has a length: text, bytes or a message."""
    return b"".join((tag, varint(len(body)), body))


def varint(value: int) -> bytes:
    """Return a number as protobuf writes lengths."""
    if value < 0x80:
        return value.to_bytes(1, "little")
    if value < 0x4000:
        return bytes((value & 0x7F | 0x80, value >> 7))
    return bytes((value & 0x7F | 0x80,)) + varint(value >> 7)
