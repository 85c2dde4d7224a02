"""Knows how one connection carries unary gRPC calls: HTTP/2 frames, written by hand.

It refuses to know when calls are due, and what is made of how they end. Like any client it heeds the
server's limit of calls per connection, and lets go of calls past their deadline; and it holds itself back
by the throttle that it is given. It repeats nothing.
"""

import contextlib
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import grpc

from ilk.client.throttle import NotSent, Throttle, Turn

# Frame types and flags of RFC 9113.
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_ACK, _END_STREAM, _END_HEADERS = 1, 1, 4
_HEADER_TABLE_SIZE, _MAX_CONCURRENT_STREAMS, _INITIAL_WINDOW_SIZE = 1, 3, 4
_CANCEL = 8
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_BIG_WINDOW: Final = 2**30
_FIRST_WINDOW: Final = 65_535

NOT_SENT: Final = "RESOURCE_EXHAUSTED (not sent)"
STATUSES: Final = {
    b"0": "OK",
    b"1": "CANCELLED",
    b"3": "INVALID_ARGUMENT",
    b"4": "DEADLINE_EXCEEDED",
    b"5": "NOT_FOUND",
    b"8": "RESOURCE_EXHAUSTED",
    b"7": "PERMISSION_DENIED",
    b"13": "INTERNAL",
    b"14": "UNAVAILABLE",
    b"16": "UNAUTHENTICATED",
}


@dataclass(frozen=True, slots=True)
class Request:
    """One call: the rpc's full name, such as ``/ilk.v1.SimilarityService/GetItems``, and its message.

    With a ``token``, it is sent as ``authorization: Bearer``.
    """

    method: str
    body: bytes
    token: str = ""


@dataclass(frozen=True, slots=True)
class Frames:
    """The frames of a call, but for the number of its stream."""

    headers: tuple[bytes, bytes]
    data: tuple[bytes, bytes]
    n_bytes: int


class Connection:
    """One connection, its calls in flight, and those it holds back.

    Parameters
    ----------
    timeout_s
        Of every call, from when it was due.
    ended
        Told of each call as it ends: when it was due, and the name of its status.
    throttle
        What holds it back.
    """

    def __init__(
        self,
        address: str,
        timeout_s: float,
        ended: Callable[[float, str], None],
        throttle: Throttle,
    ) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self._timeout_s = timeout_s
        self._ended = ended
        self._throttle = throttle
        settings = struct.pack(">HIHI", _HEADER_TABLE_SIZE, 0, _INITIAL_WINDOW_SIZE, 2**31 - 1)
        self._out = bytearray(_PREFACE + _frame(_SETTINGS, 0, 0, settings))
        self._out += _frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", _BIG_WINDOW))
        self._in = b""
        self._n_received = 0
        self._window = _FIRST_WINDOW
        self._max_calls = 2**31
        self._next_stream = 1
        self._in_flight: dict[int, tuple[float, Turn]] = {}
        self._held: deque[tuple[Frames, float, Turn]] = deque()

    def close(self) -> None:
        """End it, whatever is under way."""
        self.socket.close()

    def call(self, frames: Frames, due_s: float) -> None:
        """Begin a call that was due at ``due_s``, hold it back, or refuse it."""
        try:
            turn = self._throttle.begin()
        except NotSent:
            self._ended(due_s, NOT_SENT)
            return
        self._held.append((frames, due_s, turn))
        self._begin_held()

    def _begin_held(self) -> None:
        while self._held and len(self._in_flight) < self._max_calls:
            frames, due_s, turn = self._held[0]
            if self._window < frames.n_bytes:
                return
            self._held.popleft()
            stream = struct.pack(">I", self._next_stream)
            self._out += frames.headers[0] + stream + frames.headers[1]
            self._out += frames.data[0] + stream + frames.data[1]
            self._window -= frames.n_bytes
            self._in_flight[self._next_stream] = due_s, turn
            self._next_stream += 2

    def give_up(self) -> None:
        """Let go of the calls whose deadline has passed, as every gRPC client does."""
        expired_s = time.perf_counter() - self._timeout_s
        while self._held and self._held[0][1] < expired_s:
            _, due_s, turn = self._held.popleft()
            turn.end(grpc.StatusCode.DEADLINE_EXCEEDED)
            self._ended(due_s, "DEADLINE_EXCEEDED")
        while self._in_flight:
            stream, (due_s, _) = next(iter(self._in_flight.items()))
            if due_s >= expired_s:
                break
            self._out += _frame(_RST_STREAM, 0, stream, struct.pack(">I", _CANCEL))
            self._end(stream, "DEADLINE_EXCEEDED")

    def flush(self) -> None:
        """Send what is to be sent, as far as the socket takes it."""
        with contextlib.suppress(BlockingIOError):
            while self._out:
                del self._out[: self.socket.send(self._out)]

    def read(self) -> None:
        """Take in what has come."""
        with contextlib.suppress(BlockingIOError):
            received = self.socket.recv(1 << 20)
            if not received:
                raise ConnectionError("the server closed the connection")
            self._in += received
            self._n_received += len(received)
        at = 0
        while len(self._in) - at >= 9:
            size = int.from_bytes(self._in[at : at + 3], "big")
            if len(self._in) - at < 9 + size:
                break
            kind, flags = self._in[at + 3], self._in[at + 4]
            stream = int.from_bytes(self._in[at + 5 : at + 9], "big")
            self._take(kind, flags, stream, self._in[at + 9 : at + 9 + size])
            at += 9 + size
        self._in = self._in[at:]
        if self._n_received > _BIG_WINDOW // 2:
            self._out += _frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", self._n_received))
            self._n_received = 0
        self._begin_held()

    def _take(self, kind: int, flags: int, stream: int, body: bytes) -> None:
        if kind == _HEADERS and flags & _END_STREAM:
            # Without a table for them, headers come spelled out: a name, a length, a value.
            at = body.find(b"grpc-status") + len(b"grpc-status")
            value = body[at + 1 : at + 1 + body[at]]
            self._end(stream, STATUSES.get(value, value.decode(errors="replace")))
        elif kind == _RST_STREAM:
            self._end(stream, f"RST_STREAM {int.from_bytes(body, 'big')}")
        elif kind == _SETTINGS and not flags & _ACK:
            for name, value in struct.iter_unpack(">HI", body):
                if name == _MAX_CONCURRENT_STREAMS:
                    self._max_calls = value
            self._out += _frame(_SETTINGS, _ACK, 0, b"")
        elif kind == _PING and not flags & _ACK:
            self._out += _frame(_PING, _ACK, 0, body)
        elif kind == _WINDOW_UPDATE and stream == 0:
            self._window += int.from_bytes(body, "big")
        elif kind == _GOAWAY:
            raise ConnectionError("the server is going away")

    def _end(self, stream: int, status: str) -> None:
        if stream in self._in_flight:
            due_s, turn = self._in_flight.pop(stream)
            # A reset without a status is how a call is let go; clients are told CANCELLED.
            turn.end(getattr(grpc.StatusCode, status, grpc.StatusCode.CANCELLED))
            self._ended(due_s, status)


def frames_of(request: Request, timeout_s: float) -> Frames:
    """Return the frames of a request with its deadline."""
    block = (
        b"\x83\x86"  # :method POST, :scheme http
        + _header(b"\x04", request.method)
        + _header(b"\x01", "127.0.0.1")
        + _header(b"\x0f\x10", "application/grpc")
        + (_header(b"\x0f\x08", f"Bearer {request.token}") if request.token else b"")
        + _header(b"\x00\x02te", "trailers")
        + _header(b"\x00\x0cgrpc-timeout", f"{round(1e3 * timeout_s)}m")
    )
    message = b"\0" + struct.pack(">I", len(request.body)) + request.body
    headers = _frame(_HEADERS, _END_HEADERS, 0, block)
    data = _frame(_DATA, _END_STREAM, 0, message)
    return Frames((headers[:5], headers[9:]), (data[:5], data[9:]), len(message))


def _header(name: bytes, value: str) -> bytes:
    """Return a header that is put into no table; ``name`` is encoded already."""
    return name + bytes([len(value)]) + value.encode()


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return (
        struct.pack(">I", len(body))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + body
    )
