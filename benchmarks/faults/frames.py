"""Knows how gRPC looks on HTTP/2, frame by frame, to send it wrong and to read what comes back.

It refuses to know what is wrong with it (`breakings`). Frames are hyperframe's, headers hpack's.
"""

import contextlib
import socket
import struct
from collections.abc import Sequence
from typing import Final, TypeAlias

from hpack import Decoder, Encoder, HPACKError
from hyperframe.frame import DataFrame, Frame, HeadersFrame, SettingsFrame

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PATH: Final = "/ilk.v1.SimilarityService/FindNeighbors"
Header: TypeAlias = tuple[str, str]
_HEADER_BYTES = 9
_HEADERS = 1


def grpc_message(body: bytes, *, length: int | None = None, flag: int = 0) -> bytes:
    """Return a message as gRPC frames it, or as it must not."""
    return struct.pack(">BI", flag, len(body) if length is None else length) + body


def headers(path: str = PATH, *more: Header, **instead: str | None) -> list[Header]:
    """Return the headers of a call; ``instead`` replaces some by name, or leaves them out."""
    usual: dict[str, str | None] = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "localhost",
        "content-type": "application/grpc",
        "te": "trailers",
    }
    told = usual | {name.replace("_", "-"): value for name, value in instead.items()}
    return [(name, value) for name, value in told.items() if value is not None] + list(more)


def opened(stream_id: int, told: Sequence[Header], *flags: str) -> HeadersFrame:
    """Return the frame that opens a stream."""
    # Without a table that changes, a block reads the same wherever it stands.
    block = Encoder().encode(told, huffman=False)
    return HeadersFrame(stream_id, data=block, flags=flags or ("END_HEADERS",))


def call(stream_id: int, body: bytes, told: Sequence[Header] = ()) -> list[Frame]:
    """Return the frames of a whole call."""
    return [
        opened(stream_id, told or headers()),
        DataFrame(stream_id, data=body, flags=("END_STREAM",)),
    ]


def send(peer: socket.socket, *frames: Frame | bytes) -> None:
    """Send frames, or bytes that are none."""
    peer.sendall(b"".join(f if isinstance(f, bytes) else f.serialize() for f in frames))


def greet(peer: socket.socket, settings: dict[int, int] | None = None) -> None:
    """Send what a sound client begins with."""
    send(peer, PREFACE, SettingsFrame(0, settings=settings or {}))


def replies(peer: socket.socket, wait_s: float) -> list[dict[str, str]]:
    """Read what comes until the server falls silent for ``wait_s`` or ends; return its header blocks."""
    data = bytearray()
    peer.settimeout(wait_s)
    with contextlib.suppress(OSError):
        while read := peer.recv(1 << 16):
            data += read
    return _header_blocks(bytes(data))


def _header_blocks(data: bytes) -> list[dict[str, str]]:
    decoder, blocks, at = Decoder(), [], 0
    while at + _HEADER_BYTES <= len(data):
        size, kind = int.from_bytes(data[at : at + 3], "big"), data[at + 3]
        body = data[at + _HEADER_BYTES : at + _HEADER_BYTES + size]
        at += _HEADER_BYTES + size
        if kind != _HEADERS:
            continue
        try:
            block = decoder.decode(body, raw=True)
        except HPACKError:  # an answer to HTTP/1 that only looks like frames
            break
        blocks.append({_text(name): _text(value) for name, value in block})
    return blocks


def _text(raw: bytes | str) -> str:
    return raw.decode("latin-1") if isinstance(raw, bytes) else raw
