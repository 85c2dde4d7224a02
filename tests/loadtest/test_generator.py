"""What is measured of servers that stall, refuse or never answer."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import grpc
import grpc.aio
import numpy as np
import pytest

from ilk.v1 import similarity_pb2 as pb
from loadtest import arrivals
from loadtest.figures import figures_of
from loadtest.generator import Generator, Schedule
from loadtest.samples import Samples

Handler: TypeAlias = Callable[[bytes, Any], Awaitable[bytes]]
StreamHandler: TypeAlias = Callable[[AsyncIterator[bytes], Any], AsyncIterator[bytes]]
KINDS = ("item", "stream", "batch")
STALL_S = 0.5


@contextlib.asynccontextmanager
async def generator(
    unary: Handler, stream: StreamHandler | None = None, timeout_s: float = 5.0
) -> AsyncIterator[Generator]:
    """Yield a generator connected to a server that answers as told."""
    methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        name: grpc.unary_unary_rpc_method_handler(unary)
        for name in ("FindNeighbors", "BatchFindNeighbors")
    }
    if stream is not None:
        methods["StreamFindNeighbors"] = grpc.stream_stream_rpc_method_handler(stream)
    server = grpc.aio.server()
    service = "ilk.v1.SimilarityService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sending = Generator(f"127.0.0.1:{port}", {k: [b""] for k in KINDS}, 2, timeout_s)
    await sending.ready()
    try:
        yield sending
    finally:
        await sending.close()
        await server.stop(None)


def schedule(kind: str, rate: float = 100, duration_s: float = 1.0) -> Schedule:
    due_s = arrivals.constant(rate, duration_s)
    kinds = np.full(len(due_s), KINDS.index(kind), dtype=np.int64)
    return Schedule(time.monotonic() + 0.05, due_s, kinds)


async def empty(body: bytes, context: Any) -> bytes:
    return b""


def refusing(code: grpc.StatusCode) -> Handler:
    async def refuse(body: bytes, context: Any) -> bytes:
        await context.abort(code, "full")
        raise AssertionError

    return refuse


async def never(body: bytes, context: Any) -> bytes:
    await asyncio.Event().wait()
    return b""


async def test_a_stall_counts_for_every_call_that_was_due_meanwhile() -> None:
    stalls_until = 0.0

    async def stall(body: bytes, context: Any) -> bytes:
        # Two tenths into the step, everything waits for half a second.
        now = time.monotonic()
        if plan.start_s + 0.2 <= now < stalls_until:
            await asyncio.sleep(stalls_until - now)
        return b""

    async with generator(stall) as sending:
        plan = schedule("item")
        stalls_until = plan.start_s + 0.2 + STALL_S
        samples = await sending.run(plan)
    assert len(samples.due_s) == 100
    held_up = (samples.due_s >= 0.2) & (samples.due_s < 0.2 + STALL_S)
    # Each waited from when it was due to the end of the stall: a straight line, not one outlier.
    waited_at_least = 0.2 + STALL_S - samples.due_s[held_up]
    assert np.all(samples.latency_s[held_up] >= waited_at_least - 0.01)
    assert np.count_nonzero(samples.latency_s > STALL_S / 5) >= 35


@pytest.mark.parametrize("code", [grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.CANCELLED])
async def test_refused_calls_are_counted_by_code_and_have_no_latency(
    code: grpc.StatusCode,
) -> None:
    async with generator(refusing(code)) as sending:
        samples = await sending.run(schedule("item", duration_s=0.3))
    total = figures_of(samples, 100, 0.3, KINDS).total
    assert total.errors == {code.name: 30}
    assert total.error_share == 1
    assert total.latency_ms == {}
    assert total.answered_per_s == 0


async def test_calls_that_are_never_answered_end_at_their_deadline() -> None:
    async with generator(never, timeout_s=0.2) as sending:
        samples = await sending.run(schedule("item", duration_s=0.2))
    assert figures_of(samples, 100, 0.2, KINDS).total.errors == {"DEADLINE_EXCEEDED": 20}
    assert np.all(samples.latency_s >= 0.19)


async def test_a_failed_query_of_a_batch_fails_the_call() -> None:
    failed = pb.BatchFindNeighborsResponse()
    failed.outcomes.add().response.SetInParent()
    failed.outcomes.add().error.code = grpc.StatusCode.NOT_FOUND.value[0]

    async def answer(body: bytes, context: Any) -> bytes:
        return failed.SerializeToString()

    async with generator(answer) as sending:
        samples = await sending.run(schedule("batch", duration_s=0.1))
    assert figures_of(samples, 100, 0.1, KINDS).total.errors == {"NOT_FOUND": 10}


async def test_messages_of_streams_are_timed_one_by_one() -> None:
    async def echo(messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for number, _ in _numbered(messages):
            failed = pb.StreamFindNeighborsResponse()
            if number % 2:
                failed.error.code = grpc.StatusCode.NOT_FOUND.value[0]
            yield failed.SerializeToString()

    async with generator(empty, echo) as sending:
        first = await sending.run(schedule("stream", duration_s=0.2))
        again = await sending.run(schedule("stream", duration_s=0.2))
    for samples in (first, again):
        figures = figures_of(samples, 100, 0.2, KINDS).by_kind["stream"]
        assert figures.n_calls == 20
        assert figures.errors == {"NOT_FOUND": 10}


async def test_a_stream_that_breaks_fails_what_was_under_way_and_is_opened_anew() -> None:
    opened = 0

    async def break_down(messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        nonlocal opened
        opened += 1
        async for _ in messages:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
            yield b""

    async with generator(empty, break_down) as sending:
        samples = await sending.run(schedule("stream", duration_s=0.3))
    assert figures_of(samples, 100, 0.3, KINDS).total.errors == {"UNAVAILABLE": 30}
    assert opened > 2


async def test_messages_never_answered_are_given_up() -> None:
    async def silence(messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    async with generator(empty, silence, timeout_s=0.2) as sending:
        samples = await sending.run(schedule("stream", duration_s=0.1))
    assert figures_of(samples, 100, 0.1, KINDS).total.errors == {"DEADLINE_EXCEEDED": 10}


async def test_a_message_answered_after_its_deadline_is_given_up_as_a_call_is() -> None:
    async def late_once(messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for number, _ in _numbered(messages):
            await asyncio.sleep(0 if number else 0.7)
            yield b""

    # Each of both connections gets a message at once, which is late, and one a second after that.
    async with generator(empty, late_once, timeout_s=0.5) as sending:
        samples = await sending.run(schedule("stream", rate=2, duration_s=2))
    assert figures_of(samples, 2, 2, KINDS).total.errors == {"DEADLINE_EXCEEDED": 2}
    late = samples.codes != 0
    assert samples.due_s[late].tolist() == [0, 0.5]
    np.testing.assert_allclose((samples.latency_s - samples.lag_s)[late], 0.5)


async def test_answers_of_a_stream_are_not_taken_for_those_to_messages_of_the_one_before() -> None:
    opened = 0

    async def answer_later(messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        nonlocal opened
        opened += 1
        first = opened <= 2  # on both connections
        async for _ in messages:
            if first:
                return
            yield b""

    async with generator(empty, answer_later, timeout_s=0.5) as sending:
        samples = await sending.run(schedule("stream", rate=20))
    errors = figures_of(samples, 20, 1, KINDS).total.errors
    assert errors.keys() == {"INTERNAL"}
    assert errors["INTERNAL"] < 10


def test_answers_after_the_step_are_no_throughput_of_it() -> None:
    latency_s = np.array([0.1, 0.1, 0.9, 5.0])
    none = np.zeros(4)
    samples = Samples(
        np.array([0.0, 0.5, 0.5, 0.9]),
        none,
        latency_s,
        none.astype(np.uint8),
        none.astype(np.uint8),
    )
    figures = figures_of(samples, 4, 1.0, KINDS)
    assert figures.total.answered_per_s == 2
    assert figures.total.latency_ms["max"] == 5000
    assert figures.total.latency_ms["p50"] == 900


async def _numbered(messages: AsyncIterator[bytes]) -> AsyncIterator[tuple[int, bytes]]:
    number = 0
    async for message in messages:
        yield number, message
        number += 1
