"""Half a million calls, some cancelled and some invalid: what the server holds must not grow."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import grpc

from benchmarks.steadiness.program import Program, Resources, started
from ilk.bundle import open_bundle
from ilk.client import CHANNEL_OPTIONS
from ilk.v1 import similarity_pb2 as pb

Ask: TypeAlias = "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]"

_METHOD = "/ilk.v1.SimilarityService/FindNeighbors"
_N_CHANNELS = 4
_CONCURRENCY = 32
# Of every ten calls, one is cancelled and one is invalid.
_TEN = ("valid",) * 8 + ("cancelled", "invalid")


def measure(store: Path, n_calls: int = 500_000, n_settling: int = 100_000) -> dict[str, float]:
    """Return how much more the server holds after ``n_calls`` than after the first ``n_settling``."""
    with started(store, "--workers", "2", "--shadow-share", "0.01") as program:
        settled, end, ends = asyncio.run(_ask(program, open_ids(store), n_calls, n_settling))
    growth = {
        "memory": end.resident_bytes / settled.resident_bytes - 1,
        "open files": end.n_files / settled.n_files - 1,
        "threads": end.n_threads / settled.n_threads - 1,
    }
    return {
        "calls": n_calls,
        **{f"calls that ended as {code}": n for code, n in sorted(ends.items())},
        **{f"{name} grown": share for name, share in growth.items()},
    }


def open_ids(store: Path) -> list[str]:
    """Return the ids that are asked about."""
    return open_bundle(store).items.vocabulary.ids.to_list()[:500]


async def _ask(
    program: Program, ids: list[str], n_calls: int, n_settling: int
) -> tuple[Resources, Resources, dict[str, int]]:
    channels = [
        grpc.aio.insecure_channel(program.address, options=CHANNEL_OPTIONS)
        for _ in range(_N_CHANNELS)
    ]
    asks: list[Ask] = [channel.unary_unary(_METHOD) for channel in channels]
    ends: dict[str, int] = {}

    async def caller(numbers: Iterator[int]) -> None:
        for n in numbers:
            code = await _ask_once(asks[n % len(asks)], ids[n % len(ids)], _TEN[n % 10])
            ends[code] = ends.get(code, 0) + 1

    async def ask_range(start: int, stop: int) -> Resources:
        numbers = iter(range(start, stop))
        await asyncio.gather(*(caller(numbers) for _ in range(_CONCURRENCY)))
        await asyncio.sleep(0.5)
        return program.resources()

    settled = await ask_range(0, n_settling)
    end = await ask_range(n_settling, n_calls)
    for channel in channels:
        await channel.close()
    return settled, end, ends


async def _ask_once(ask: Ask, item_id: str, kind: str) -> str:
    valid = pb.FindNeighborsRequest(item_id=item_id).SerializeToString()
    call = ask(b"\xff" if kind == "invalid" else valid, timeout=30)
    if kind == "cancelled":
        # Some before they are sent, some on their way, some while they are answered.
        await asyncio.sleep(0.002 * (hash(item_id) % 3))
        call.cancel()
    try:
        await call
    except asyncio.CancelledError:
        return "CANCELLED"
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"
