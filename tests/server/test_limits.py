"""How much one caller may ask for, in all workers together, and what that does to others: nothing."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from hypothesis import given
from hypothesis import strategies as st

from ilk import SimilarityClient
from ilk.errors import InvalidRequest, Overloaded
from ilk.types import ItemId, Query, UserId
from ilk.v1 import similarity_pb2 as pb
from server.access import limits
from server.access.callers import Caller, Callers, Scope, new_token, to_bytes
from server.access.limits import Limit, RateLimited, open_ledger, shared_memory
from server.settings import ServerSettings
from tests.server.conftest import SERVICE, TIMEOUT_S, Serve, Start


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now_s = 1024.0

    def __call__(self) -> float:
        return self.now_s


def n_taken(limit: Limit, cost: int, most: int = 1000) -> int:
    """Return how many calls of ``cost`` are taken up at once."""
    for n in range(most):
        try:
            limit.check()
        except RateLimited:
            return n
        limit.charge(cost)
    return most


def test_a_bucket_holds_what_fills_in_its_burst() -> None:
    clock = Clock()
    limit = Limit(open_ledger(clock=clock), "a", cost_per_s=128, burst_s=2)
    assert n_taken(limit, 16) == 16
    clock.now_s += 1
    assert n_taken(limit, 16) == 8
    clock.now_s += 60
    assert n_taken(limit, 16) == 16


def test_what_is_told_to_wait_is_enough() -> None:
    clock = Clock()
    limit = Limit(open_ledger(clock=clock), "a", cost_per_s=100, burst_s=2)
    limit.charge(700)
    with pytest.raises(RateLimited) as told:
        limit.check()
    assert told.value.retry_after_s == pytest.approx(5)
    clock.now_s += 4.99
    with pytest.raises(RateLimited):
        limit.check()
    clock.now_s += 0.02
    limit.check()


@given(st.lists(st.tuples(st.integers(1, 500), st.floats(0, 3)), max_size=50))
def test_nobody_gets_more_than_its_rate_and_burst(calls: list[tuple[int, float]]) -> None:
    clock = Clock()
    began_s, spent, largest = clock.now_s, 0, 0
    limit = Limit(open_ledger(clock=clock), "a", cost_per_s=100, burst_s=2)
    for cost, pause_s in calls:
        clock.now_s += pause_s
        try:
            limit.check()
        except RateLimited:
            continue
        limit.charge(cost)
        spent, largest = spent + cost, max(largest, cost)
    assert spent <= 100 * (2 + clock.now_s - began_s) + largest + 1e-6


def test_callers_have_buckets_of_their_own() -> None:
    ledger = open_ledger(clock=Clock())
    buckets = [Limit(ledger, f"caller {n}", 100, 1) for n in range(5000)]
    assert {n_taken(bucket, 50) for bucket in buckets} == {2}
    with pytest.raises(RateLimited):
        buckets[0].check()


def test_a_full_ledger_still_limits_who_asks_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_N_PLACES", 16)
    ledger = open_ledger(clock=Clock())
    noisy = Limit(ledger, "noisy", 100, 1)
    noisy.charge(100_000)
    for n in range(500):
        Limit(ledger, f"caller {n}", 100, 1).charge(10)
    with pytest.raises(RateLimited):
        noisy.check()


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="needs Linux")
def test_processes_share_what_has_been_taken() -> None:
    with shared_memory() as descriptor:
        one, other = (Limit(open_ledger(descriptor), "a", 1, 10) for _ in range(2))
        one.charge(25)
        with pytest.raises(RateLimited):
            other.check()


NOISY, QUIET = "noisy", "quiet"


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    path, tokens, callers = tmp_path_factory.mktemp("limits") / "callers.json", {}, []
    for name, cost_per_s in ((NOISY, 2e5), (QUIET, None)):
        tokens[name], digest = new_token()
        callers.append(Caller(name, frozenset(Scope), digest, cost_per_s=cost_per_s))
    path.write_bytes(to_bytes(Callers(callers)))
    return path, tokens


@pytest.fixture(scope="module")
def limited(serve: Serve, sample_store: Path, tokens: tuple[Path, dict[str, str]]) -> Iterator[str]:
    settings = ServerSettings(sample_store, port=0, grace_s=0.5, callers=tokens[0], burst_s=2)
    with serve(settings) as target:
        yield target


@contextlib.contextmanager
def once(target: str, token: str | None = None) -> Iterator[SimilarityClient]:
    """Yield a client that repeats nothing: others wait as they are told, and seldom meet a limit."""
    with grpc.insecure_channel(target, options=[("grpc.enable_retries", 0)]) as channel:
        yield SimilarityClient(channel=channel, token=token, timeout_s=TIMEOUT_S)


def exhausted(
    client: SimilarityClient,
    item_id: str,
    ask: Callable[[], object] | None = None,
    most: int = 2000,
) -> bool:
    """Ask until it is too much, or ``most`` times."""
    for _ in range(most):
        try:
            (ask or (lambda: client.similar_items(item_id)))()
        except Overloaded as error:
            assert "rate limit" in str(error)  # noqa: PT017
            return True
    return False


def test_the_noisy_are_turned_away_and_others_are_not(
    limited: str, tokens: tuple[Path, dict[str, str]], item_id: str
) -> None:
    with (
        once(limited, tokens[1][NOISY]) as noisy,
        once(limited, tokens[1][QUIET]) as quiet,
    ):
        assert exhausted(noisy, item_id)
        for _ in range(20):
            assert quiet.similar_items(item_id).neighbors


@pytest.mark.parametrize("transport", ["core", "aio"])
def test_the_log_tells_who_asked_for_too_much(
    serve: Serve,
    sample_store: Path,
    tokens: tuple[Path, dict[str, str]],
    item_id: str,
    caplog: pytest.LogCaptureFixture,
    transport: str,
) -> None:
    settings = ServerSettings(
        sample_store,
        port=0,
        grace_s=0.5,
        callers=tokens[0],
        burst_s=2,
        log_calls=True,
        transport=transport,  # type: ignore[arg-type]
    )
    with (
        caplog.at_level("INFO", "ilk.server"),
        serve(settings) as target,
        once(target, tokens[1][NOISY]) as noisy,
    ):
        assert exhausted(noisy, item_id)
    refused = [r for r in caplog.records if getattr(r, "code", "") == "RESOURCE_EXHAUSTED"]
    assert {getattr(record, "caller", None) for record in refused} == {NOISY}


def test_who_is_turned_away_is_told_when_to_come_back(
    limited: str,
    tokens: tuple[Path, dict[str, str]],
    item_id: str,
    wait_until: Callable[[Callable[[], bool]], None],
) -> None:
    with once(limited, tokens[1][NOISY]) as noisy:
        assert exhausted(noisy, item_id)
    metadata = [("authorization", f"Bearer {tokens[1][NOISY]}")]
    with grpc.insecure_channel(limited, options=[("grpc.enable_retries", 0)]) as channel:
        call: Any = channel.unary_unary(f"/{SERVICE}/FindNeighbors")
        body = pb.FindNeighborsRequest(item_id=item_id).SerializeToString()
        told: Any = None
        while told is None:
            try:
                call(body, timeout=TIMEOUT_S, metadata=metadata)
            except grpc.RpcError as error:
                told = error
    assert told.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    pushback_ms = int(dict(told.trailing_metadata())["grpc-retry-pushback-ms"])
    (detail,) = rpc_status.from_call(told).details
    delay = error_details_pb2.RetryInfo()
    assert detail.Unpack(delay)
    wait_ms = delay.retry_delay.ToMilliseconds()
    assert 10 <= wait_ms <= 30_000
    assert pushback_ms == (wait_ms if wait_ms <= 1000 else -1)
    with once(limited, tokens[1][NOISY]) as noisy:

        def is_answered() -> bool:
            try:
                return bool(noisy.similar_items(item_id).neighbors)
            except Overloaded:
                return False

        wait_until(is_answered)


def test_queries_of_batches_and_streams_count_too(
    limited: str, tokens: tuple[Path, dict[str, str]], item_id: str
) -> None:
    queries = [Query(ItemId(item_id))] * 500
    with once(limited, tokens[1][NOISY]) as noisy:
        assert exhausted(noisy, item_id, lambda: noisy.batch_find_neighbors(queries[:50]))
    with once(limited, tokens[1][QUIET]) as quiet:
        assert len(list(quiet.stream_find_neighbors(queries))) == 500


def test_what_may_not_be_asked_takes_nothing(
    serve: Serve, sample_store: Path, item_id: str, user_id: str
) -> None:
    settings = ServerSettings(sample_store, port=0, grace_s=0.5, rate_limit=1e6, max_cost=2e6)
    dear = Query(UserId(user_id), neighbor_count=400, include_explanation=True)
    with serve(settings) as target, once(target) as client:
        for _ in range(3):
            with pytest.raises(InvalidRequest, match="multiplications"):
                client.find_neighbors(dear)
        assert client.similar_items(item_id).neighbors


def test_items_are_paid_for_one_by_one(serve: Serve, sample_store: Path, item_id: str) -> None:
    settings = ServerSettings(sample_store, port=0, grace_s=0.5, rate_limit=1e6)
    with serve(settings) as target, once(target) as client:
        for _ in range(5):
            assert client.get_items([item_id])
        assert exhausted(client, item_id, lambda: client.get_items([item_id] * 1000), most=2)


def test_an_address_is_a_caller_where_nobody_is_known(
    serve: Serve, sample_store: Path, item_id: str
) -> None:
    settings = ServerSettings(sample_store, port=0, grace_s=0.5, rate_limit=2e5, burst_s=2)
    with serve(settings) as target, once(target) as client:
        assert exhausted(client, item_id)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_rate_is_that_of_all_workers_together(
    workers: str, start: Start, sample_store: Path, item_id: str
) -> None:
    """Many connections reach all workers, and are answered no more often for that."""
    flags = ("--store", str(sample_store), "--port", "0", "--workers", workers, "--grace-s", "0.5")
    program = start(*flags, "--rate-limit", "1", "--burst-s", "1e7")
    target, answered = program.address(), 0
    began_s = time.monotonic()
    for _ in range(12):
        with once(target) as client:
            for _ in range(20):
                try:
                    client.similar_items(item_id)
                    answered += 1
                except Overloaded:
                    break
    # A bucket of 1e7 that practically never fills again: each call takes the same out of it.
    assert time.monotonic() - began_s < TIMEOUT_S
    with once(target) as client:
        assert exhausted(client, item_id)
    assert 20 < answered < 240
    program.process.terminate()
    assert program.ended()[0] == 0
