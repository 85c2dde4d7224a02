"""Knows what the contract promises: with which codes each rpc may end, and what callers may send.

It refuses to know whether that is so.
"""

import re
from functools import cache
from pathlib import Path

import grpc
from google.protobuf.descriptor import Descriptor

from server.calls.service import SERVICE

PROTO = Path(__file__).parents[2] / "proto" / "ilk" / "v1" / "similarity.proto"
_RPC = re.compile(r"\s*rpc (\w+)\(")
_CODE = re.compile(r"\s*//   ([A-Z_]{2,})(?:  |$)")
_NAMES = frozenset(code.name for code in grpc.StatusCode)


@cache
def codes_of(*rpcs: str) -> frozenset[str]:
    """Return the names of the codes that an rpc may end with, or any of several."""
    by_rpc = _codes(PROTO.read_text(encoding="utf-8"))
    return by_rpc[""].union(*(by_rpc[rpc] for rpc in rpcs))


def kinds_asked_with() -> list[Descriptor]:
    """Return our messages of which requests are made, those within others included."""
    found: dict[str, Descriptor] = {}
    waiting = [method.input_type for method in SERVICE.methods]
    while waiting:
        kind = waiting.pop()
        if kind.full_name not in found and kind.file.package == SERVICE.file.package:
            found[kind.full_name] = kind
            waiting += [field.message_type for field in kind.fields if field.message_type]
    return list(found.values())


def _codes(text: str) -> dict[str, frozenset[str]]:
    """Return the codes of each comment before an rpc, and before the service under ``""``."""
    found: dict[str, frozenset[str]] = {}
    listed: set[str] = set()
    for line in text.splitlines():
        if code := _CODE.match(line):
            listed.update({code[1]} & _NAMES)
        elif rpc := _RPC.match(line):
            found[rpc[1]], listed = frozenset(listed), set()
        elif line.startswith("service "):
            found[""], listed = frozenset(listed), set()
    return found
