"""Knows the ways in which a connection is broken on purpose, one for every rule of HTTP/2 and gRPC.

It refuses to know what comes of it.
"""

import itertools
import socket
import struct
import time
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import numpy as np
from hpack import Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from benchmarks.faults.frames import PATH, PREFACE, call, greet, grpc_message, headers, opened, send
from ilk.v1 import similarity_pb2 as pb

Rng: TypeAlias = np.random.Generator
Breaking: TypeAlias = Callable[[socket.socket, Rng], None]

_MAX_WINDOW: Final = (1 << 31) - 1
GOOD: Final = grpc_message(
    pb.FindNeighborsRequest(item_id="the-matrix-1999", neighbor_count=3).SerializeToString()
)
LARGE: Final = grpc_message(
    pb.FindNeighborsRequest(item_id="the-matrix-1999", neighbor_count=1000).SerializeToString()
)


def _no_preface(peer: socket.socket, rng: Rng) -> None:
    greetings = (
        rng.bytes(int(rng.integers(1, 4096))),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.bytes(500),
        PREFACE[: int(rng.integers(1, len(PREFACE)))],
        PREFACE.replace(b"2.0", b"3.0"),
        b"\0" * 24,
        b"",
    )
    send(peer, greetings[rng.integers(len(greetings))])


def _garbage(peer: socket.socket, rng: Rng) -> None:
    send(peer, PREFACE, rng.bytes(int(rng.integers(1, 1 << 16))))


def _random_frames(peer: socket.socket, rng: Rng) -> None:
    greet(peer)
    for _ in range(int(rng.integers(1, 20))):
        size = int(rng.integers(0, 64))
        kind, flags, stream = rng.integers(12), rng.integers(256), rng.integers(8)
        send(peer, size.to_bytes(3, "big"), bytes([kind, flags]), struct.pack(">I", stream))
        send(peer, rng.bytes(size))


def _truncated_frame(peer: socket.socket, rng: Rng) -> None:
    greet(peer)
    whole = b"".join(frame.serialize() for frame in call(1, GOOD))
    send(peer, whole[: int(rng.integers(1, len(whole)))])


def _oversized_frame(peer: socket.socket, rng: Rng) -> None:
    greet(peer)
    kind = int(rng.choice([0, 1, 4, 6, 9]))
    declared = int(rng.choice([(1 << 14) + 1, 1 << 20, (1 << 24) - 1]))
    header = declared.to_bytes(3, "big") + bytes([kind, 4]) + struct.pack(">I", 1)
    send(peer, opened(1, headers()), header, b"\0" * min(declared, 1 << 18))


def _bad_settings(peer: socket.socket, rng: Rng) -> None:
    bent = (
        struct.pack(">HI", SettingsFrame.INITIAL_WINDOW_SIZE, 1 << 31),
        struct.pack(">HI", SettingsFrame.MAX_FRAME_SIZE, 0),
        struct.pack(">HI", SettingsFrame.MAX_FRAME_SIZE, (1 << 32) - 1),
        struct.pack(">HI", SettingsFrame.ENABLE_PUSH, 7),
        struct.pack(">HI", SettingsFrame.HEADER_TABLE_SIZE, (1 << 32) - 1),
        struct.pack(">HI", SettingsFrame.INITIAL_WINDOW_SIZE, 0) * 1000,
        struct.pack(">HI", SettingsFrame.MAX_HEADER_LIST_SIZE, 0),
        rng.bytes(6 * 50),
        b"\0\0\0\0\0",
    )
    payload = bent[rng.integers(len(bent))]
    flags, stream = int(rng.random() < 0.2), int(rng.random() < 0.2)
    frame = len(payload).to_bytes(3, "big") + bytes([4, flags]) + struct.pack(">I", stream)
    send(peer, PREFACE, frame + payload, *call(1, GOOD))


def _header_flood(peer: socket.socket, rng: Rng) -> None:
    greet(peer)
    size = int(rng.choice([8, 200, 4000]))
    many = [(f"x-{at}", "v" * size) for at in range(200_000 // (size + 10))]
    block = Encoder().encode([*headers(), *many], huffman=False)
    parts = [block[at : at + 16_000] for at in range(0, len(block), 16_000)]
    frames: list[Frame] = [HeadersFrame(1, data=parts[0])]
    frames += [ContinuationFrame(1, data=part) for part in parts[1:]]
    if rng.random() < 0.5:
        frames[-1].flags.add("END_HEADERS")
    send(peer, *frames)


def _endless_headers(peer: socket.socket, rng: Rng) -> None:
    greet(peer)
    part = Encoder().encode([("x-a", "v" * 4000)], huffman=False)
    send(peer, HeadersFrame(1, data=part))
    for _ in range(int(rng.integers(100, 500))):
        send(peer, ContinuationFrame(1, data=part))


def _broken_headers(peer: socket.socket, rng: Rng) -> None:
    greet(peer)
    blocks = (
        rng.bytes(int(rng.integers(1, 200))),
        b"\xff" * 10,  # an index that is not in the table
        b"\x3f" + b"\xff" * 8,  # a table larger than any
        b"\x00\x7f\xff\xff\xff\xff\x7f",  # a name longer than the block
        b"\x82\x86\x84" + b"\xbe" * 100,
        b"",
    )
    flags = ("END_HEADERS", "END_STREAM") if rng.random() < 0.5 else ("END_HEADERS",)
    send(peer, HeadersFrame(1, data=blocks[rng.integers(len(blocks))], flags=flags))


def _resets(peer: socket.socket, rng: Rng) -> None:
    """Open and cancel streams, as quickly as they can be sent."""
    greet(peer)
    body = GOOD if rng.random() < 0.5 else LARGE
    for stream_id in range(1, 2 * int(rng.integers(100, 1500)), 2):
        send(peer, *call(stream_id, body), RstStreamFrame(stream_id, error_code=8))


def _control_flood(peer: socket.socket, rng: Rng) -> None:
    greet(peer)
    floods: tuple[Frame, ...] = (
        PingFrame(0, opaque_data=b"12345678"),
        SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: 65_535}),
        DataFrame(1, data=b""),
        PriorityFrame(3, depends_on=3, stream_weight=1),
        WindowUpdateFrame(0, window_increment=1),
        GoAwayFrame(0, last_stream_id=0),
        RstStreamFrame(99, error_code=8),
    )
    send(peer, opened(1, headers()))
    one = floods[rng.integers(len(floods))].serialize()
    for _ in range(20):
        send(peer, one * 500)


def _bent_windows(peer: socket.socket, rng: Rng) -> None:
    stream = int(rng.integers(2))
    update = len(b"1234").to_bytes(3, "big") + bytes([8, 0]) + struct.pack(">I", stream)
    increment = int(rng.choice([0, _MAX_WINDOW, 1 << 31, (1 << 32) - 1]))
    greet(peer)
    send(peer, opened(1, headers()), *[update + struct.pack(">I", increment)] * 3)


def _moved(frame: Frame, stream_id: int) -> Frame:
    # Where hyperframe itself would refuse.
    frame.stream_id = stream_id
    return frame


def _wrong_streams(peer: socket.socket, rng: Rng) -> None:
    greet(peer)
    orders: tuple[Sequence[Frame | bytes], ...] = (
        call(2, GOOD),
        [_moved(frame, 0) for frame in call(1, GOOD)],
        [DataFrame(7, data=GOOD)],
        [*call(9, GOOD), *call(3, GOOD)],
        [*call(1, GOOD), *call(1, GOOD)],
        [*call(1, GOOD), DataFrame(1, data=GOOD)],
        [opened(1, headers()), opened(1, headers()), *call(3, GOOD)],
        [*call(1, GOOD), ContinuationFrame(1, data=b"")],
        list(itertools.chain(*(call(n, GOOD) for n in range(1, 801, 2)))),
    )
    send(peer, *orders[rng.integers(len(orders))])


def _wrong_headers(peer: socket.socket, rng: Rng) -> None:
    greet(peer)
    told = (
        headers(content_type="text/html"),
        headers(content_type=None),
        headers(content_type="application/grpc+json"),
        headers(te=None),
        headers(PATH, **{":method": "GET"}),
        headers(PATH, **{":method": "PUT"}),
        headers(PATH, **{":path": None}),
        headers(PATH, **{":scheme": None}),
        headers(PATH, **{":authority": None}),
        headers(PATH, ("grpc-encoding", "snappy")),
        headers(PATH, ("grpc-timeout", "x")),
        headers(PATH, ("grpc-timeout", "99999999999999H")),
        headers(PATH, ("grpc-timeout", "0n")),
        headers(PATH, ("grpc-timeout", "-1S")),
        headers(PATH, ("x-request-id", "\x00\x01")),
        headers(PATH, ("traceparent", "nonsense"), ("x-bin", "!!!not base64")),
        headers(PATH, ("Upper-Case", "1")),
        headers(PATH, ("connection", "keep-alive")),
        headers(PATH, (":late", "pseudo")),
        headers(PATH, ("content-length", "1")),
        headers(PATH, *[("authorization", "Bearer x")] * 50),
    )
    send(peer, *call(1, GOOD, told[rng.integers(len(told))]))


def _unknown_paths(peer: socket.socket, rng: Rng) -> None:
    greet(peer)
    paths = (
        "",
        "/",
        "*",
        "//",
        "/ilk.v1.SimilarityService/",
        f"{PATH}/x",
        "/x" * 2000,
        "/é",
        PATH[1:],
    )
    ids = itertools.count(1, 2)
    for path in (*paths, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"):
        send(peer, *call(next(ids), GOOD, headers(path)))


def _bent_messages(peer: socket.socket, rng: Rng) -> None:
    """Messages that gRPC itself cannot take in."""
    greet(peer)
    bodies = (
        grpc_message(GOOD, flag=1),
        grpc_message(GOOD, flag=7),
        grpc_message(b"x", length=(1 << 32) - 1),
        grpc_message(b"x", length=(4 << 20) + 1),
        grpc_message(b"", length=5),
        GOOD + GOOD,
        GOOD[: int(rng.integers(len(GOOD)))],
        b"",
        rng.bytes(200),
    )
    send(peer, *call(1, bodies[rng.integers(len(bodies))]))


def _slow_loris(peer: socket.socket, rng: Rng) -> None:
    """Send a call a few bytes at a time, and never the last."""
    whole = PREFACE + SettingsFrame(0).serialize()
    whole += b"".join(frame.serialize() for frame in call(1, GOOD))
    for at in range(0, min(len(whole), int(rng.integers(10, 200))) - 4, 4):
        send(peer, whole[at : at + 4])
        time.sleep(0.005)


def _half_closed(peer: socket.socket, rng: Rng) -> None:
    greet(peer)
    ends: tuple[Sequence[Frame], ...] = (
        [opened(1, headers())],
        call(1, LARGE),
        [opened(1, headers(), "END_HEADERS", "END_STREAM")],
        [opened(1, headers(PATH.replace("Find", "StreamFind"))), DataFrame(1, data=GOOD)],
    )
    send(peer, *ends[rng.integers(len(ends))])
    peer.shutdown(socket.SHUT_WR)


def _never_read(peer: socket.socket, rng: Rng) -> None:
    """Ask for much, and give the answers no room."""
    greet(peer, {SettingsFrame.INITIAL_WINDOW_SIZE: int(rng.integers(2))})
    send(peer, *itertools.chain(*(call(n, LARGE) for n in range(1, 2 * 60, 2))))


def _gone(peer: socket.socket, rng: Rng) -> None:
    """Ask, and end the connection with a reset before the answer."""
    greet(peer)
    send(peer, *call(1, LARGE))
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


BREAKINGS: Final[dict[str, Breaking]] = {
    "no preface": _no_preface,
    "garbage": _garbage,
    "random frames": _random_frames,
    "truncated frame": _truncated_frame,
    "oversized frame": _oversized_frame,
    "bad settings": _bad_settings,
    "header flood": _header_flood,
    "endless headers": _endless_headers,
    "broken headers": _broken_headers,
    "resets": _resets,
    "control flood": _control_flood,
    "bent windows": _bent_windows,
    "wrong streams": _wrong_streams,
    "wrong headers": _wrong_headers,
    "unknown paths": _unknown_paths,
    "bent messages": _bent_messages,
    "slow loris": _slow_loris,
    "half closed": _half_closed,
    "never read": _never_read,
    "gone": _gone,
}
