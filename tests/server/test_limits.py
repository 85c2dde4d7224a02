"""How much one caller may ask for, in all workers together, and what that does to others: nothing."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ilk import SimilarityClient
from ilk.errors import Overloaded
from ilk.types import ItemId, Query
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
    for name, cost_per_s in ((NOISY, 1e6), (QUIET, None)):
        tokens[name], digest = new_token()
        callers.append(Caller(name, frozenset(Scope), digest, cost_per_s=cost_per_s))
    path.write_bytes(to_bytes(Callers(callers)))
    return path, tokens


@pytest.fixture(scope="module")
def limited(serve: Serve, sample_store: Path, tokens: tuple[Path, dict[str, str]]) -> Iterator[str]:
    settings = ServerSettings(sample_store, port=0, grace_s=0.5, callers=tokens[0], burst_s=0.5)
    with serve(settings) as target:
        yield target


def exhausted(
    client: SimilarityClient, item_id: str, ask: Callable[[], object] | None = None
) -> bool:
    """Ask until it is too much."""
    for _ in range(2000):
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
        SimilarityClient(limited, token=tokens[1][NOISY], timeout_s=TIMEOUT_S) as noisy,
        SimilarityClient(limited, token=tokens[1][QUIET], timeout_s=TIMEOUT_S) as quiet,
    ):
        assert exhausted(noisy, item_id)
        for _ in range(20):
            assert quiet.similar_items(item_id).neighbors


def test_who_is_turned_away_is_told_when_to_come_back(
    limited: str,
    tokens: tuple[Path, dict[str, str]],
    item_id: str,
    wait_until: Callable[[Callable[[], bool]], None],
) -> None:
    with SimilarityClient(limited, token=tokens[1][NOISY], timeout_s=TIMEOUT_S) as noisy:
        assert exhausted(noisy, item_id)
    metadata = [("authorization", f"Bearer {tokens[1][NOISY]}")]
    with grpc.insecure_channel(limited) as channel:
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
    # Above a second the caller hears of it at once, and how long to wait from the detail.
    assert pushback_ms == -1 or 10 <= pushback_ms <= 1000
    with SimilarityClient(limited, token=tokens[1][NOISY], timeout_s=TIMEOUT_S) as noisy:

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
    with SimilarityClient(limited, token=tokens[1][NOISY], timeout_s=TIMEOUT_S) as noisy:
        assert exhausted(noisy, item_id, lambda: noisy.batch_find_neighbors(queries[:50]))
    with SimilarityClient(limited, token=tokens[1][QUIET], timeout_s=TIMEOUT_S) as quiet:
        assert len(list(quiet.stream_find_neighbors(queries))) == 500


def test_an_address_is_a_caller_where_nobody_is_known(
    serve: Serve, sample_store: Path, item_id: str
) -> None:
    settings = ServerSettings(sample_store, port=0, grace_s=0.5, rate_limit=1e6, burst_s=0.5)
    with serve(settings) as target, SimilarityClient(target, timeout_s=TIMEOUT_S) as client:
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
        with SimilarityClient(target, timeout_s=TIMEOUT_S) as client:
            for _ in range(20):
                try:
                    client.similar_items(item_id)
                    answered += 1
                except Overloaded:
                    break
    # A bucket of 1e7 that practically never fills again: each call takes the same out of it.
    assert time.monotonic() - began_s < TIMEOUT_S
    with SimilarityClient(target, timeout_s=TIMEOUT_S) as client:
        assert exhausted(client, item_id)
    assert 20 < answered < 240
    program.process.terminate()
    assert program.ended()[0] == 0
