"""Twenty thousand bent requests and a thousand broken connections: the server shrugs.

Every answer must bear a code that the contract names for its rpc, and none an exception's text; the
processes must live, hold no more memory than before, and answer as quickly within five seconds.
"""

import contextlib
import re
import socket
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from google.protobuf import message_factory
from google.rpc import code_pb2

from benchmarks.faults import bodies, breakings, frames
from benchmarks.faults.contract import codes_of
from benchmarks.faults.laws import Laws
from benchmarks.faults.watched import Watched
from ilk.v1 import similarity_pb2 as pb
from server.calls.service import SERVICE

_PREFIX = f"/{SERVICE.full_name}/"
_STREAM = "StreamFindNeighbors"
_TIMEOUT_S = 60.0
_AT_ONCE = 16
_MOST_IN_STREAM = 8
# How long a broken connection may take to be answered, and how many there are at once.
_SILENCE_S = 0.2
_CONNECTIONS_AT_ONCE = 24
# A request is sound, or its sender's fault: whatever is wrong with it, it is no fault of the server's.
_EXPECTED = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED"}
_EXCEPTION = re.compile(
    r"Traceback|\b[A-Z]\w*(?:Error|Exception|Exit|Interrupt)\b|File \"|\.py\b|site-packages|"
    r" object at 0x|faiss|numpy|errno", re.IGNORECASE
)  # fmt: skip


@dataclass
class Heard:
    """What was answered: ``violations`` must stay empty."""

    codes: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    def end(self, rpc: str, code: str, text: str, metadata: object = ()) -> None:
        """Take note of how a call ended."""
        self.codes[code] += 1
        if code not in _EXPECTED & codes_of(rpc):
            self.violations.append(f"{rpc} ended with {code}: {text[:200]}")
        self.read(f"{text} {metadata}")

    def break_(self, code: str, text: str) -> None:
        """Take note of how a call of a broken connection ended: whose rules were broken may be gRPC's."""
        self.codes[code] += 1
        if code not in codes_of(*(method.name for method in SERVICE.methods)):
            self.violations.append(f"a broken connection was told {code}: {text[:200]}")
        self.read(text)

    def outcome(self, rpc: str, error: pb.QueryError) -> None:
        """Take note of how one query of a batch or stream failed."""
        code = code_pb2.Code.Name(error.code)
        self.codes[f"{code} of a query"] += 1
        if code not in _EXPECTED & codes_of("FindNeighbors"):
            self.violations.append(f"a query of {rpc} ended with {code}: {error.message[:200]}")
        self.read(error.message)

    def read(self, text: str) -> None:
        """Look for what only an exception would say."""
        if found := _EXCEPTION.search(text):
            self.violations.append(f"{found[0]!r} was told: {text[:200]}")


def bend(
    address: str, sound: Mapping[str, Sequence[bytes]], laws: Laws, n_bodies: int, seed: int
) -> Heard:
    """Send ``n_bodies`` mutations of sound requests, of every rpc; hold answers against ``laws``."""
    rng, heard, sent = np.random.default_rng(seed), Heard(), 0
    under_way: deque[tuple[str, list[bytes], Any]] = deque()
    names = sorted(sound)
    with calls(address) as call:
        while sent < n_bodies:
            rpc = names[rng.integers(len(names))]
            n_messages = int(rng.integers(1, _MOST_IN_STREAM + 1)) if rpc == _STREAM else 1
            bent = [_bent(sound[rpc], rng) for _ in range(n_messages)]
            under_way.append((rpc, bent, call(rpc, bent)))
            sent += n_messages
            if len(under_way) >= _AT_ONCE:
                hear(*under_way.popleft(), laws, heard)
        for waiting in under_way:
            hear(*waiting, laws, heard)
    return heard


@contextlib.contextmanager
def calls(address: str) -> Iterator[Callable[[str, Sequence[bytes]], Any]]:
    """Yield what begins a call of an rpc with bytes: one message, or those of a stream."""
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(address, options) as channel:

        def call(rpc: str, messages: Sequence[bytes]) -> Any:
            if SERVICE.methods_by_name[rpc].client_streaming:
                converse: Any = channel.stream_stream(_PREFIX + rpc)
                return converse(iter(messages), timeout=_TIMEOUT_S)
            ask: Any = channel.unary_unary(_PREFIX + rpc)
            return ask.future(messages[0], timeout=_TIMEOUT_S)

        yield call


def break_connections(seen: Watched, n_connections: int, seed: int) -> tuple[Heard, Counter[str]]:
    """Open connections that break the rules; return what was heard, and the codes by kind of damage.

    Most go to where calls are answered; some to where health checks and Prometheus are.
    """
    heard, by_kind = Heard(), Counter[str]()
    kinds = sorted(breakings.BREAKINGS)
    addresses = [seen.address] * 8 + [seen.health_address, seen.metrics_address]
    jobs = [(kinds[at % len(kinds)], addresses[at % 10], seed + at) for at in range(n_connections)]
    with ThreadPoolExecutor(_CONNECTIONS_AT_ONCE) as pool:
        for (kind, _, _), blocks in zip(jobs, pool.map(_broken, jobs), strict=True):
            for block in blocks:
                if told := _told(block):
                    by_kind[f"{kind}: {told}"] += 1
                    heard.break_(told, block.get("grpc-message", ""))
    return heard, by_kind


def _bent(sound: Sequence[bytes], rng: np.random.Generator) -> bytes:
    return bodies.mutate(sound[int(rng.integers(len(sound)))], rng)


def hear(rpc: str, sent: Sequence[bytes], call: Any, laws: Laws, heard: Heard) -> None:
    """Wait for the end of a call, and hold what it brought against the laws."""
    try:
        replies = list(call) if rpc == _STREAM else [call.result()]
    except grpc.RpcError as error:
        heard.end(rpc, error.code().name, error.details() or "", error.trailing_metadata())
        return
    heard.end(rpc, "OK", "")
    method = SERVICE.methods_by_name[rpc]
    asked, told = map(message_factory.GetMessageClass, (method.input_type, method.output_type))
    if len(replies) != len(sent):
        heard.violations.append(f"{rpc}: {len(replies)} answers to {len(sent)} messages")
    for body, reply in zip(sent, replies, strict=False):
        response: Any = told.FromString(reply)
        errors = _errors(response)
        for failed in errors:
            heard.outcome(rpc, failed)
        if rpc != _STREAM or not errors:  # what is no message cannot be read here either
            problems = laws.problems(asked.FromString(body), response)
            heard.violations += [f"{rpc}: {problem}" for problem in problems]


def _errors(message: Any) -> list[pb.QueryError]:
    """Return the errors of single queries in an answer."""
    outcomes = getattr(message, "outcomes", [message])
    return [o.error for o in outcomes if hasattr(o, "error") and o.HasField("error")]


def _broken(job: tuple[str, str, int]) -> list[dict[str, str]]:
    """Break one connection in one way; return the blocks of headers that came back."""
    kind, address, seed = job
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), _TIMEOUT_S) as peer:
        with contextlib.suppress(OSError):  # the server may hang up at any time
            breakings.BREAKINGS[kind](peer, np.random.default_rng(seed))
        return frames.replies(peer, _SILENCE_S)


def _told(block: dict[str, str]) -> str:
    """Return the code in a block of headers; empty where it only opens an answer."""
    if "grpc-status" in block:
        return str(code_pb2.Code.Name(int(block["grpc-status"])))
    return "" if block.get(":status") == "200" else f"HTTP {block.get(':status')}"
