"""Single calls that are there at once share one search, and each ends as it would alone."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from ilk.bundle import Bundle
from ilk.client.wire.requests import query_request
from ilk.errors import DeadlineExceeded, IlkError, NotFound
from ilk.query import answer
from ilk.types import Filter, ItemId, Query, Target, UserId
from ilk.v1 import similarity_pb2 as pb
from server.bundles.answers import Answers, Question
from server.bundles.cost import Costs
from server.calls.gathering import Gathering
from server.messages.encoding import Encoder
from server.observability.metrics import Counts
from server.processes.app import serving
from server.settings import ServerSettings
from server.wire.loop import CompletionLoop

TIMEOUT_S = 20.0


class Handler:
    """Runs a handler as `server.wire` does: in no task."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self.outcome: Any = None
        self._step(coroutine, coroutine.send, None)

    def _step(self, coroutine: Any, step: Callable[[Any], Any], value: Any) -> None:
        try:
            waited = step(value)
        except StopIteration as end:
            self.outcome = end.value
        except (IlkError, KeyError, asyncio.CancelledError) as error:
            self.outcome = error
        else:
            waited.begin(coroutine, self._step)


def at_once(*begin: Callable[[], Coroutine[Any, Any, Any]]) -> list[Any]:
    """Return how handlers end that begin in one turn of the event loop."""
    handlers: list[Handler] = []
    loop = asyncio.new_event_loop()
    try:
        loop.call_soon(lambda: handlers.extend(Handler(coroutine()) for coroutine in begin))
        loop.call_later(0.05, loop.stop)
        loop.run_forever()
    finally:
        loop.close()
    return [handler.outcome for handler in handlers]


class Served:
    """As much of a bundle that is served as answering takes, and the sizes of the searches for it."""

    def __init__(self, bundle: Bundle) -> None:
        self._answers = Answers(bundle, Encoder(bundle), Costs(bundle), 0, Counts())
        self.sizes: list[int] = []
        self.answers: Any = self

    def find(self, question: Question) -> None:
        self.sizes.append(1)
        self._answers.find(question)

    def find_many(self, questions: list[Question]) -> None:
        self.sizes.append(len(questions))
        self._answers.find_many(questions)


def call(
    *,
    gone: bool = False,
    left_s: float | None = None,
    in_a_task: bool = False,
    alone: bool = False,
) -> Any:
    return SimpleNamespace(
        context=SimpleNamespace(
            cancelled=lambda: gone,
            time_remaining=lambda: left_s,
            may_pause=not in_a_task,
            has_company=lambda: not alone,
        ),
        search_s=0.0,
        privacy=None,
    )


async def find(gathering: Gathering, served: Any, query: Query, call: Any) -> Question:
    question = Question(query_request(query).SerializeToString(), query, None, 0)
    await gathering.find(served, question, call)
    return question


@pytest.fixture
def counts() -> Counts:
    return Counts()


@pytest.fixture
def gathering(counts: Counts) -> Gathering:
    return Gathering(counts)


@pytest.fixture
def served(bundle: Bundle) -> Any:
    return Served(bundle)


@pytest.fixture
def queries(bundle: Bundle) -> list[Query]:
    ids = bundle.items.vocabulary.ids.to_list()
    of_users = Query(UserId(bundle.users.vocabulary.id_of(1)), neighbor_count=3)
    return [*(Query(ItemId(i)) for i in ids[:5]), of_users]


def test_calls_that_are_there_at_once_share_a_search(
    gathering: Gathering, bundle: Bundle, served: Any, queries: list[Query]
) -> None:
    calls = [call() for _ in queries]
    asked = zip(queries, calls, strict=True)
    found = at_once(*(lambda q=q, c=c: find(gathering, served, q, c) for q, c in asked))
    assert [a.found for a in found] == [answer(bundle, query) for query in queries]
    assert served.sizes == [len(queries)]
    assert all(c.search_s > 0 for c in calls)


def test_a_call_that_comes_alone_is_answered_alone(
    gathering: Gathering, bundle: Bundle, served: Any, queries: list[Query]
) -> None:
    (found,) = at_once(lambda: find(gathering, served, queries[0], call()))
    assert found.found == answer(bundle, queries[0])
    assert served.sizes == [1]


def test_a_call_that_fails_fails_alone(
    gathering: Gathering, bundle: Bundle, served: Any, queries: list[Query]
) -> None:
    asked = [queries[0], Query(ItemId("nobody knows it")), queries[1]]
    found = at_once(*(lambda q=q: find(gathering, served, q, call()) for q in asked))
    assert isinstance(found[1], NotFound)
    assert [found[0].found, found[2].found] == [answer(bundle, queries[at]) for at in (0, 1)]


def test_an_unforeseen_fault_befalls_only_who_brings_it(
    gathering: Gathering, bundle: Bundle, served: Any, queries: list[Query], monkeypatch: Any
) -> None:
    def faulty(bundle: Bundle, query: Query, its_id: str | None = None) -> Any:
        if query == queries[2]:
            raise KeyError("a fault")
        return answer(bundle, query, its_id)

    monkeypatch.setattr("server.bundles.answers.answer", faulty)
    monkeypatch.setattr(
        "server.bundles.answers.answer_many", lambda b, qs: [faulty(b, q) for q in qs]
    )
    found = at_once(*(lambda q=q: find(gathering, served, q, call()) for q in queries))
    assert isinstance(found[2], KeyError)
    rest = [at for at in range(len(queries)) if at != 2]
    assert [found[at].found for at in rest] == [answer(bundle, queries[at]) for at in rest]


@pytest.mark.parametrize(
    ("of", "ends_with"),
    [(call(gone=True), asyncio.CancelledError), (call(left_s=0.0), DeadlineExceeded)],
    ids=["caller gone", "deadline over"],
)
def test_nothing_is_looked_for_when_nobody_waits(
    gathering: Gathering,
    served: Any,
    queries: list[Query],
    counts: Counts,
    of: Any,
    ends_with: type[BaseException],
) -> None:
    asked = [(queries[0], of), (queries[1], call(left_s=TIMEOUT_S))]
    gone, answered = at_once(*(lambda q=q, c=c: find(gathering, served, q, c) for q, c in asked))
    assert isinstance(gone, ends_with)
    assert answered.found.neighbors
    assert served.sizes == [1]
    assert counts.expired["queue"] == 1


def test_a_call_whose_answer_would_come_too_late_is_not_looked_for_until_searches_are_quick_again(
    gathering: Gathering,
    served: Any,
    queries: list[Query],
    counts: Counts,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def slowly(bundle: Bundle, query: Query, its_id: str | None) -> Any:
        time.sleep(0.2)
        return answer(bundle, query, its_id)

    def ask(left_s: float) -> Any:
        return at_once(lambda: find(gathering, served, queries[0], call(left_s=left_s)))[0]

    with monkeypatch.context() as slow:
        slow.setattr("server.bundles.answers.answer", slowly)
        assert ask(TIMEOUT_S).found.neighbors
    assert isinstance(ask(0.02), DeadlineExceeded)
    assert counts.expired["queue"] == 1
    assert any(not isinstance(ask(0.02), DeadlineExceeded) for _ in range(20))


def test_each_call_is_answered_from_the_bundle_that_it_began_with(
    gathering: Gathering, bundle: Bundle, served: Any, queries: list[Query]
) -> None:
    other = Served(bundle)
    pairs = [(served, queries[0]), (other, queries[1]), (served, queries[2])]
    found = at_once(*(lambda s=s, q=q: find(gathering, s, q, call()) for s, q in pairs))
    assert [a.found for a in found] == [answer(bundle, query) for _, query in pairs]
    assert (served.sizes, other.sizes) == ([2], [1])


def test_only_plain_queries_of_callers_told_everything_are_gathered(
    gathering: Gathering, queries: list[Query]
) -> None:
    private = call()
    private.privacy = object()
    narrow = Query(queries[0].whom, Target.ITEMS, filter=Filter(min_year=1990))

    async def takes(query: Query, of: Any) -> bool:
        return gathering.takes(Question(b"", query, None, 0), of)

    asked = ((queries[0], call()), (narrow, call()), (queries[0], private))
    told = at_once(*(lambda q=q, c=c: takes(q, c) for q, c in asked))
    assert told == [True, False, False]


def test_a_task_answers_for_itself(gathering: Gathering, queries: list[Query]) -> None:
    assert not gathering.takes(Question(b"", queries[0], None, 0), call(in_a_task=True))


def test_a_call_that_is_alone_waits_for_nobody(
    gathering: Gathering, served: Any, queries: list[Query]
) -> None:
    question = Question(b"", queries[0], None, 0)

    async def takes(of: Any) -> bool:
        return gathering.takes(question, of)

    alone, in_company = call(alone=True), call()
    told = at_once(
        lambda: takes(alone),
        lambda: find(gathering, served, queries[1], in_company),
        lambda: takes(alone),
    )
    assert [told[0], told[2]] == [False, True]


@pytest.fixture
def held(sample_store: Any) -> Iterator[tuple[str, Callable[[float], object]]]:
    """Yield a server's address, and a way to hold up its event loop for some seconds."""
    settings = ServerSettings(sample_store, port=0, answer_memory_mb=0, grace_s=0.5)
    loop = CompletionLoop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def run(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(TIMEOUT_S)

    context = serving(settings)
    running = run(context.__aenter__())
    yield f"{settings.host}:{running.port}", lambda s: loop.call_soon_threadsafe(time.sleep, s)
    run(context.__aexit__(None, None, None))
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_a_server_answers_what_waits_by_one_search(
    held: tuple[str, Callable[[float], object]],
    bundle: Bundle,
    queries: list[Query],
    monkeypatch: Any,
) -> None:
    sizes: list[int] = []
    find_many = Answers.find_many

    def noted(answers: Answers, questions: Any, *more: Any) -> None:
        sizes.append(len(questions))
        find_many(answers, questions, *more)

    monkeypatch.setattr(Answers, "find_many", noted)
    (address, hold), ids = held, [q.whom.item_id for q in queries if isinstance(q.whom, ItemId)]
    with grpc.insecure_channel(address) as channel:
        ask: Any = channel.unary_unary("/ilk.v1.SimilarityService/FindNeighbors")
        ask(pb.FindNeighborsRequest(item_id=ids[0]).SerializeToString(), timeout=TIMEOUT_S)
        hold(0.3)
        bodies = [pb.FindNeighborsRequest(item_id=i).SerializeToString() for i in ids]
        pending = [ask.future(body, timeout=TIMEOUT_S) for body in bodies]
        told = [pb.FindNeighborsResponse.FromString(p.result()) for p in pending]
    assert max(sizes) > 1
    for item_id, response in zip(ids, told, strict=True):
        expected = answer(bundle, Query(ItemId(item_id))).neighbors
        assert [n.id for n in response.neighbors] == [n.id for n in expected]
