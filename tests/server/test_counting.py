"""Each query of a batch or a stream is counted once, by what it ended with, answered or not."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import pytest

from ilk.errors import DeadlineExceeded, InvalidRequest
from ilk.v1 import similarity_pb2 as pb
from server.access.callers import Scope
from server.access.terms import Terms
from server.bundles.live import Live
from server.bundles.shadow import Shadow
from server.calls.batches import answer_batch
from server.calls.call import ByKind, Call
from server.calls.streams import Streams
from server.load.admission import Shed
from server.load.traffic import Traffic
from server.load.work import Work
from server.observability.metrics import Counts
from server.settings import ServerSettings

MATRIX = pb.FindNeighborsRequest(item_id="the-matrix-1999")
AUDIENCE = pb.FindNeighborsRequest(item_id="the-matrix-1999", target=pb.TARGET_USERS)
NOBODY = pb.FindNeighborsRequest(user_id="nobody")
UNREADABLE = pb.FindNeighborsRequest()
QUERIES = [MATRIX, UNREADABLE, NOBODY, AUDIENCE, MATRIX]

Ended: TypeAlias = dict[tuple[str, str], int]


class Asked:
    """What asks a batch or a stream, without a server, and tells how its queries were counted."""

    def __init__(self, method: str, live: Live, pool: ThreadPoolExecutor) -> None:
        self.method, self.live = method, live
        self.counts = Counts()
        self.shadow = Shadow(0, self.counts)
        settings = ServerSettings(max_cost=1e7)
        self.work = Work(Traffic(9), self.counts, pool, settings)
        self.left_s: float | None = None
        self.terms: Terms | None = None

    def ask(self, queries: list[pb.FindNeighborsRequest]) -> Ended:
        context: Any = SimpleNamespace(
            time_remaining=lambda: self.left_s, invocation_metadata=tuple
        )
        call = Call(context, ByKind(self.counts, self.method))
        call.terms = self.terms
        if self.method == "BatchFindNeighbors":
            data = pb.BatchFindNeighborsRequest(queries=queries).SerializeToString()
            asyncio.run(answer_batch(self.live.get(), self.work, self.shadow, call, data))
        else:
            sent = [pb.StreamFindNeighborsRequest(query=query) for query in queries]
            streams = Streams(self.live, self.work, self.shadow)
            asyncio.run(streams._answers([m.SerializeToString() for m in sent], call))
        return self.ended()

    def ended(self) -> Ended:
        return {
            (kind, code): n
            for (_, kind), of in self.counts.calls.items()
            for code, n in of.queries.items()
        }


@pytest.fixture(params=["BatchFindNeighbors", "StreamFindNeighbors"])
def asked(request: pytest.FixtureRequest, sample_store: Path) -> Iterator[Asked]:
    live = Live(sample_store, 3600)
    live.start()
    with ThreadPoolExecutor(1) as pool:
        made = Asked(request.param, live, pool)
        yield made
    made.shadow.close()
    live.close()


@pytest.fixture
def in_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.load.work.SHORT", 0)


def expected(code: Callable[[str], str]) -> Ended:
    """Return how ``QUERIES`` are counted if what would end with a code ends with another."""
    found: Ended = {}
    told = [("item", "OK")] * 3 + [("", "INVALID_ARGUMENT"), ("user", "NOT_FOUND")]
    for kind, usual in told:
        found[kind, code(usual)] = found.get((kind, code(usual)), 0) + 1
    return found


def test_what_cannot_be_read_or_found_is_counted(asked: Asked) -> None:
    assert asked.ask(QUERIES) == expected(lambda usual: usual)


@pytest.mark.usefixtures("in_threads")
def test_it_is_counted_in_threads_too(asked: Asked) -> None:
    assert asked.ask(QUERIES) == expected(lambda usual: usual)


def test_what_the_caller_may_not_ask_is_counted_by_its_kind(asked: Asked) -> None:
    asked.terms = Terms("shop", frozenset({Scope.QUERY}), "no users", lambda: True)
    assert asked.ask(QUERIES) == {
        ("item", "OK"): 2,
        ("item", "PERMISSION_DENIED"): 1,
        ("", "INVALID_ARGUMENT"): 1,
        ("user", "NOT_FOUND"): 1,
    }


@pytest.mark.usefixtures("in_threads")
def test_what_is_shed_is_counted(asked: Asked) -> None:
    asked.work.threads._ahead_s = 99.0
    if asked.method == "BatchFindNeighbors":
        # The call ends so, and all its queries with it.
        with pytest.raises(Shed):
            asked.ask(QUERIES)
        assert asked.ended() == expected(lambda _: "RESOURCE_EXHAUSTED")
    else:
        shed = {"INVALID_ARGUMENT": "INVALID_ARGUMENT"}
        assert asked.ask(QUERIES) == expected(lambda u: shed.get(u, "RESOURCE_EXHAUSTED"))


@pytest.mark.usefixtures("in_threads")
def test_what_was_remembered_is_answered_while_the_rest_is_shed(sample_store: Path) -> None:
    live = Live(sample_store, 3600, memory_bytes=1e6)
    live.start()
    with ThreadPoolExecutor(1) as pool:
        stream = Asked("StreamFindNeighbors", live, pool)
        assert stream.ask([MATRIX]) == {("item", "OK"): 1}
        stream.work.threads._ahead_s = 99.0
        assert stream.ask([MATRIX, NOBODY]) == {
            ("item", "OK"): 2,
            ("user", "RESOURCE_EXHAUSTED"): 1,
        }
    live.close()


@pytest.mark.usefixtures("in_threads")
def test_what_nobody_waits_for_any_more_is_counted(asked: Asked) -> None:
    asked.left_s = 0.0
    with pytest.raises(DeadlineExceeded):
        asked.ask(QUERIES)
    assert asked.ended() == expected(lambda _: "DEADLINE_EXCEEDED")


def test_what_costs_too_much_is_counted(asked: Asked) -> None:
    asked.work._max_cost = 1e6
    dear = [pb.FindNeighborsRequest(item_id="the-matrix-1999", neighbor_count=1000)] * 20
    if asked.method == "BatchFindNeighbors":
        with pytest.raises(InvalidRequest):
            asked.ask(dear)
        assert asked.ended() == {("item", "INVALID_ARGUMENT"): 20}
    else:
        assert asked.ask(dear) == {("item", "INVALID_ARGUMENT"): 20}
