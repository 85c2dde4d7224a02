"""Knows how to send unary gRPC calls on schedule, whether or not the server keeps up.

It refuses to know what is sent. A gRPC client in Python takes more CPU than the server it loads; this
one writes HTTP/2 frames by hand at a tenth of that, so that one core can offer ten times what another
can serve. Latency is counted from the moment a call was due, so that a stall hides nothing. Like any
client it heeds the server's limit of calls per connection, and lets go of calls past their deadline; and
where it is told to, each connection holds itself back by the throttle of Ilk's own clients. It repeats
nothing.
"""

import contextlib
import selectors
import socket
import struct
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import grpc

from ilk.throttle import NotSent, Throttle, Turn, Unthrottled

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


@dataclass(slots=True)
class Outcome:
    """How the calls of a run ended.

    Attributes
    ----------
    n_due
        Calls that were due.
    duration_s
        Of the schedule.
    statuses
        By name; DEADLINE_EXCEEDED are also those that this end gave up on, and :data:`NOT_SENT` those
        that its throttle refused.
    latencies_s
        Of calls that were answered in time, from when they were due; rising.
    lags_s
        How late this end came to a call that was due, each time it came to any; rising.
    """

    n_due: int
    duration_s: float
    statuses: Counter[str] = field(default_factory=Counter)
    latencies_s: list[float] = field(default_factory=list)
    lags_s: list[float] = field(default_factory=list)

    @property
    def goodput(self) -> float:
        """Calls answered in time, per second."""
        return len(self.latencies_s) / self.duration_s

    def quantile_s(self, share: float) -> float:
        """Return the latency that ``share`` of the answered calls stayed within."""
        return _quantile(self.latencies_s, share)

    def lag_s(self, share: float) -> float:
        """Return the lag that this end stayed within in ``share`` of the times it came to calls."""
        return _quantile(self.lags_s, share)


def offer(
    address: str,
    requests: Sequence[Request],
    rate: float,
    duration_s: float,
    timeout_s: float,
    n_connections: int = 8,
    *,
    throttled: bool = False,
) -> Outcome:
    """Send ``rate`` calls a second, ``requests`` over and over, and return how they ended.

    With ``throttled`` every connection is one of Ilk's clients in what it holds back.
    """
    outcome = Outcome(int(rate * duration_s), duration_s)
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        ended = _Tally(outcome, timeout_s)
        connections = [
            stack.enter_context(
                contextlib.closing(
                    _Connection(
                        address, timeout_s, ended, Throttle() if throttled else Unthrottled()
                    )
                )
            )
            for _ in range(n_connections)
        ]
        for connection in connections:
            selector.register(connection.socket, selectors.EVENT_READ, connection)
        frames = {r: _frames(r, timeout_s) for r in set(requests)}
        started_s = time.perf_counter()
        n_sent = 0
        while (now_s := time.perf_counter() - started_s) < duration_s + 1.5 * timeout_s:
            n_due = min(int(now_s * rate), outcome.n_due)
            if n_due > n_sent:
                outcome.lags_s.append(now_s - n_sent / rate)
            for n in range(n_sent, n_due):
                request = requests[n % len(requests)]
                connections[n % n_connections].call(frames[request], started_s + n / rate)
            n_sent = n_due
            for connection in connections:
                connection.give_up()
                connection.flush()
            for key, _ in selector.select(0.0005):
                key.data.read()
    outcome.latencies_s.sort()
    outcome.lags_s.sort()
    return outcome


def _quantile(rising: Sequence[float], share: float) -> float:
    return rising[int(share * (len(rising) - 1))] if rising else 0.0


class _Tally:
    """Counts calls as they end."""

    def __init__(self, outcome: Outcome, timeout_s: float) -> None:
        self._outcome = outcome
        self._timeout_s = timeout_s

    def __call__(self, due_s: float, status: str) -> None:
        took_s = time.perf_counter() - due_s
        if status == "OK" and took_s > self._timeout_s:
            status = "DEADLINE_EXCEEDED"
        self._outcome.statuses[status] += 1
        if status == "OK":
            self._outcome.latencies_s.append(took_s)


@dataclass(frozen=True, slots=True)
class _Frames:
    """The frames of a call, but for the number of its stream."""

    headers: tuple[bytes, bytes]
    data: tuple[bytes, bytes]
    n_bytes: int


class _Connection:
    """One connection, its calls in flight, and those it holds back."""

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
        self._held: deque[tuple[_Frames, float, Turn]] = deque()

    def close(self) -> None:
        self.socket.close()

    def call(self, frames: _Frames, due_s: float) -> None:
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


def _frames(request: Request, timeout_s: float) -> _Frames:
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
    return _Frames((headers[:5], headers[9:]), (data[:5], data[9:]), len(message))


def _header(name: bytes, value: str) -> bytes:
    """Return a header that is put into no table; ``name`` is encoded already."""
    return name + bytes([len(value)]) + value.encode()


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return (
        struct.pack(">I", len(body))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + body
    )
