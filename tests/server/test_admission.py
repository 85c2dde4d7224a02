"""Which work is begun, in which order, and what is turned away: never what nobody waits for."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from ilk import SimilarityClient
from ilk.errors import DeadlineExceeded, InvalidRequest, NotFound
from ilk.types import EXACT, ItemId, Neighbors, Profile, Query, Rating
from ilk.v1 import similarity_pb2 as pb
from ilk.v1.similarity_pb2_grpc import SimilarityServiceStub
from server.bundles.answers import Answers
from server.calls.guard import Guard
from server.load.admission import Lane, Patience, Shed
from server.load.traffic import Traffic
from server.observability.metrics import Counts
from server.processes.health import health_port
from server.settings import ServerSettings

if TYPE_CHECKING:
    from tests.server.conftest import Serve
from tests.server.conftest import SERVICE

MATRIX = "the-matrix-1999"
QUERY = pb.FindNeighborsRequest(item_id=MATRIX)


@pytest.fixture(params=["turns", "threads"])
def lane(request: pytest.FixtureRequest, counts: Counts) -> Iterator[Callable[[], Lane]]:
    """Make a lane inside the test's event loop, with one place and half a second of waiting."""
    with ThreadPoolExecutor(1) as pool:
        yield lambda: Lane(Traffic(9), counts, 0.5, pool if request.param == "threads" else None)


@pytest.fixture
def counts() -> Counts:
    return Counts()


def forever() -> Patience:
    return Patience(None)


async def learnt(lane: Lane) -> Lane:
    """Return the lane once it knows that a unit of work takes 10 ms."""
    for _ in range(20):
        await lane.do("work", 1, forever(), lambda: time.sleep(0.01))
    return lane


async def test_work_is_done_and_its_result_and_errors_come_back(lane: Callable[[], Lane]) -> None:
    made = lane()
    assert await made.do("work", 1, forever(), lambda: "done") == "done"
    with pytest.raises(IndexError):
        await made.do("work", 1, forever(), lambda: [][0])
    assert await made.do("work", 1, forever(), lambda: "again") == "again"


async def test_work_that_would_wait_too_long_is_turned_away(
    lane: Callable[[], Lane], counts: Counts
) -> None:
    made = await learnt(lane())
    async with made.admitted(forever(), "work", 100):
        assert made.wait_s > 0.5
        assert made.is_full(float("inf"))
        with pytest.raises(Shed) as shed:
            await made.do("work", 1, forever(), lambda: None)
        assert shed.value.retry_after_s == made.wait_s
    assert counts.shed == {"queue": 1}
    assert made.wait_s < 0.01
    assert await made.do("work", 1, forever(), lambda: "again") == "again"


async def test_an_empty_queue_is_no_wait_whatever_was_in_it(lane: Callable[[], Lane]) -> None:
    made = lane()
    for cost in range(1, 30):
        async with made.admitted(forever(), "work", cost) as first:
            async with made.admitted(forever(), "work", 3 * cost) as second:
                await second.run(cost, lambda: None)
            await first.run(cost, lambda: None)
        assert made.wait_s == 0


async def test_work_that_would_be_late_is_turned_away_before_it_waits(
    lane: Callable[[], Lane], counts: Counts
) -> None:
    made = await learnt(lane())
    async with made.admitted(forever(), "work", 10):
        with pytest.raises(Shed):
            await made.do("work", 1, Patience(0.01), lambda: None)
        assert counts.shed == {"deadline": 1}
        # Those behind it have waited as long; whoever has much more time left has not.
        assert made.is_full(0.01)
        assert not made.is_full(1.0)


async def test_a_call_that_wants_more_than_its_time_keeps_out_none_that_wants_little(
    lane: Callable[[], Lane],
) -> None:
    made = await learnt(lane())
    async with made.admitted(forever(), "work", 1):
        with pytest.raises(Shed):
            await made.do("work", 1000, Patience(5.0), lambda: None)
        assert not made.is_full(1.0)


async def test_work_whose_deadline_passes_while_it_waits_never_begins(
    lane: Callable[[], Lane], counts: Counts
) -> None:
    made, begun = lane(), threading.Event()
    async with made._slots:
        waiting = asyncio.ensure_future(made.do("work", 1, Patience(0.05), begun.set))
        await asyncio.sleep(0.1)
    with pytest.raises(DeadlineExceeded):
        await waiting
    assert not begun.is_set()
    assert counts.expired == {"queue": 1}


async def test_work_that_would_end_past_its_deadline_never_begins_once_it_had_to_wait(
    lane: Callable[[], Lane], counts: Counts
) -> None:
    made, begun = await learnt(lane()), threading.Event()
    async with made._slots:
        waiting = asyncio.ensure_future(made.do("work", 10, Patience(0.2), begun.set))
        await asyncio.sleep(0.1)
    with pytest.raises(Shed):
        await waiting
    assert not begun.is_set()
    assert counts.shed == {"deadline": 1}
    # Whoever need not wait is tried: what was expected may be wrong.
    await made.do("work", 10, Patience(0.1), begun.set)
    assert begun.is_set()


async def test_work_that_is_cancelled_while_it_waits_never_begins(
    lane: Callable[[], Lane],
) -> None:
    made, begun = lane(), threading.Event()
    async with made._slots:
        waiting = asyncio.ensure_future(made.do("work", 1, forever(), begun.set))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    await made.do("work", 1, forever(), lambda: None)
    assert not begun.is_set()
    assert made.wait_s == 0


async def test_a_turn_lasts_as_long_as_its_thread_whoever_is_gone(counts: Counts) -> None:
    begun, go_on, order = threading.Event(), threading.Event(), list[str]()

    def work() -> None:
        begun.set()
        go_on.wait(10)
        order.append("first")

    with ThreadPoolExecutor(2) as pool:
        lane = Lane(Traffic(9), counts, 0.5, pool, 1)
        first = asyncio.ensure_future(lane.do("work", 1, forever(), work))
        while not begun.is_set():
            await asyncio.sleep(0.01)
        first.cancel()
        second = asyncio.ensure_future(
            lane.do("work", 1, forever(), lambda: order.append("second"))
        )
        await asyncio.sleep(0.1)
        assert not order
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await first
        await second
    assert order == ["first", "second"]
    assert lane.wait_s == 0


async def test_pieces_of_two_callers_take_turns(lane: Callable[[], Lane]) -> None:
    made, done = lane(), list[str]()

    async def in_pieces(name: str) -> None:
        async with made.admitted(forever(), "work", 3) as place:
            for _ in range(3):
                await place.run(1, lambda: done.append(name))

    async with made._slots:
        callers = asyncio.gather(in_pieces("a"), in_pieces("b"))
        await asyncio.sleep(0)
    await callers
    assert done == ["a", "b"] * 3


@pytest.mark.parametrize(("n_callers", "n_pieces", "n_given"), [(1, 1, 0), (1, 3, 2), (3, 1, 2)])
async def test_others_have_the_loop_between_turns_and_no_answer_waits_for_them(
    counts: Counts, n_callers: int, n_pieces: int, n_given: int
) -> None:
    traffic, end = AsyncMock(Traffic), asyncio.Event()
    made, n_begun = Lane(traffic, counts, 0.5), 0

    async def others(_: float) -> None:
        await end.wait()

    traffic.let_others.side_effect = others

    def begin() -> None:
        nonlocal n_begun
        n_begun += 1
        time.sleep(0.01)

    async def in_pieces() -> None:
        async with made.admitted(forever(), "work", n_pieces) as place:
            for _ in range(n_pieces):
                await place.run(1, begin)

    callers = [asyncio.ensure_future(in_pieces()) for _ in range(n_callers)]
    await asyncio.sleep(0.05)
    # While others have the loop, nobody begins; what was done is told already.
    assert n_begun == 1
    assert [caller.done() for caller in callers] == [n_pieces == 1] + [False] * (n_callers - 1)
    end.set()
    await asyncio.gather(*callers)
    assert n_begun == n_callers * n_pieces
    assert traffic.let_others.await_count == n_given


async def test_others_are_owed_nothing_once_they_had_the_time(counts: Counts) -> None:
    traffic = AsyncMock(Traffic)
    made = Lane(traffic, counts, 0.5)
    for pause_s, n_given in ((0.0, 0), (0.02, 0), (0.0, 1)):
        await asyncio.sleep(pause_s)
        await made.do("work", 1, forever(), lambda: time.sleep(0.01))
        assert traffic.let_others.await_count == n_given


@pytest.mark.parametrize(("left_s", "begun"), [(-1.0, 0), (0.001, 0), (0.1, 1), (None, 1)])
async def test_a_call_that_cannot_be_answered_in_time_is_not_begun(
    counts: Counts, left_s: float | None, begun: int
) -> None:
    context = AsyncMock(grpc.aio.ServicerContext)
    context.time_remaining = lambda: left_s
    context.abort_with_status = AsyncMock(side_effect=grpc.aio.AbortError)
    handler = AsyncMock(return_value=b"answer")
    with contextlib.suppress(grpc.aio.AbortError):
        await Guard(Traffic(9), counts).unary("FindNeighbors", handler)(b"", context)
    assert handler.await_count == begun
    assert counts.expired["arrival"] == 1 - begun


def test_patience_is_endless_without_a_deadline_and_none_for_a_caller_who_is_gone() -> None:
    forever().check()
    assert forever().left_s == float("inf")
    gone = Patience(None)
    gone.gone = True
    for impatient in (gone, Patience(0.0)):
        with pytest.raises(DeadlineExceeded):
            impatient.check()


@pytest.mark.parametrize("rpc", ["BatchFindNeighbors", "StreamFindNeighbors"])
def test_a_call_too_many_is_turned_away_and_told_when_to_come_back(
    serve: "Serve", sample_store: Path, monkeypatch: pytest.MonkeyPatch, rpc: str
) -> None:
    settings = ServerSettings(sample_store, port=0, max_in_flight=1)
    begun, ended = threading.Event(), threading.Event()

    def held(*_: Any) -> list[NotFound]:
        begun.set()
        ended.wait(30)
        return [NotFound("item", "held")]

    monkeypatch.setattr("server.load.work.SHORT", 0)
    monkeypatch.setattr("server.bundles.answers.answer_alike", held)
    with serve(settings) as address, grpc.insecure_channel(address) as channel:
        stub: Any = SimilarityServiceStub(channel)  # type: ignore[no-untyped-call]
        if rpc == "BatchFindNeighbors":
            batch = pb.BatchFindNeighborsRequest(queries=[QUERY])
            answers = iter([stub.BatchFindNeighbors.future(batch, timeout=30)])
        else:
            message = pb.StreamFindNeighborsRequest(query=QUERY)
            answers = stub.StreamFindNeighbors(iter([message]), timeout=30)
        assert begun.wait(30)
        with pytest.raises(grpc.RpcError) as refusal:
            stub.FindNeighbors(QUERY, timeout=30)
        ended.set()
        assert len(list(answers)) == 1
        monkeypatch.undo()
        assert _answered_in_the_end(stub).neighbors
    error: Any = refusal.value
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert int(dict(error.trailing_metadata())["grpc-retry-pushback-ms"]) > 0
    (detail,) = rpc_status.from_call(error).details
    retry = error_details_pb2.RetryInfo()
    assert detail.Unpack(retry)
    assert retry.retry_delay.ToMilliseconds() > 0


def test_streams_that_are_silent_keep_no_call_out_and_few_others(
    serve: "Serve", sample_store: Path
) -> None:
    n_streams = 4
    settings = ServerSettings(sample_store, port=0, max_in_flight=1, grace_s=0.5)
    message = pb.StreamFindNeighborsRequest(query=QUERY)
    with serve(settings) as address, grpc.insecure_channel(address) as channel:
        stub: Any = SimilarityServiceStub(channel)  # type: ignore[no-untyped-call]
        ended = threading.Event()

        def asked() -> Iterator[pb.StreamFindNeighborsRequest]:
            yield message
            ended.wait(30)
            yield message

        open_ones = [stub.StreamFindNeighbors(asked(), timeout=30) for _ in range(n_streams)]
        for stream in open_ones:
            assert next(stream).response.neighbors
        assert stub.FindNeighbors(QUERY, timeout=30).neighbors
        with pytest.raises(grpc.RpcError) as refusal:
            list(stub.StreamFindNeighbors(iter([message]), timeout=30))
        assert refusal.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        ended.set()
        for stream in open_ones:
            assert len(list(stream)) == 1
        assert list(stub.StreamFindNeighbors(iter([message]), timeout=30))


def test_a_request_that_costs_too_much_is_refused(serve: "Serve", sample_store: Path) -> None:
    settings = ServerSettings(sample_store, port=0, max_cost=1e6)
    with serve(settings) as address, SimilarityClient(address) as client:
        query = Query(ItemId(MATRIX), accuracy=EXACT)
        assert client.find_neighbors(query).neighbors
        assert all(isinstance(o, Neighbors) for o in client.batch_find_neighbors([query]))
        with pytest.raises(InvalidRequest, match="multiplications") as refusal:
            client.batch_find_neighbors([query] * 100)
    assert refusal.value.field == "queries"


def test_messages_of_a_stream_are_each_held_against_what_one_may_cost(
    serve: "Serve", sample_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.load.work.SHORT", 0)
    usual = Query(ItemId(MATRIX), accuracy=EXACT)
    dear = Query(ItemId(MATRIX), accuracy=EXACT, neighbor_count=300)
    settings = ServerSettings(sample_store, port=0, max_cost=1e6)
    with serve(settings) as address, SimilarityClient(address) as client:
        told = list(client.stream_find_neighbors([usual] * 40 + [dear] + [usual] * 40))
    assert [isinstance(outcome, Neighbors) for outcome in told] == [True] * 40 + [False] + [
        True
    ] * 40
    assert isinstance(told[40], InvalidRequest)


def test_predictions_are_held_against_what_a_request_may_cost(
    serve: "Serve", sample_store: Path
) -> None:
    settings = ServerSettings(sample_store, port=0, max_cost=5e6)
    someone = Profile((Rating("inception-2010", 4.0),))
    with serve(settings) as address, SimilarityClient(address) as client:
        assert client.predict_ratings(someone, [MATRIX])
        with pytest.raises(InvalidRequest, match="multiplications") as refusal:
            client.predict_ratings(someone, [MATRIX] * 10)
        assert refusal.value.field == "item_ids"
        with pytest.raises(InvalidRequest, match="needs 1 to 1000"):
            client.predict_ratings(someone, [MATRIX] * 1001)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Make each query a long one that takes 20 ms; return the ids of those that were begun."""
    from server.bundles import answers
    from server.calls import service
    from server.load import work

    begun: list[str] = []
    quick: Callable[[Any, Query, str | None], Neighbors] = vars(answers)["answer"]

    def slowed(bundle: Any, query: Query, its_id: str | None) -> Neighbors:
        begun.append(its_id or query.its_id)
        time.sleep(0.02)
        return quick(bundle, query, its_id)

    monkeypatch.setattr(answers, "answer", slowed)
    monkeypatch.setattr(answers.Answers, "_remembered", lambda *_: None)
    for module in (service, work):
        monkeypatch.setattr(module, "SHORT", 0)
    return begun


# The transport, too, may still refuse what came just after a flood.
_LATER = {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE}


def _answered_in_the_end(stub: Any) -> Any:
    """Ask until the server has got over what it was offered before."""
    end_s = time.monotonic() + 30
    while True:
        try:
            return stub.FindNeighbors(QUERY, timeout=30)
        except grpc.RpcError as error:
            if error.code() not in _LATER or time.monotonic() > end_s:
                raise
        time.sleep(0.1)


@pytest.mark.parametrize("long", [True, False], ids=["in threads", "in turns"])
def test_of_calls_that_cannot_be_in_time_hardly_any_is_begun(
    serve: "Serve",
    sample_store: Path,
    slow: list[str],
    monkeypatch: pytest.MonkeyPatch,
    long: bool,
) -> None:
    if long:
        monkeypatch.setattr("server.load.work.LONG", 0)
    settings = ServerSettings(sample_store, port=0, executor_threads=1)
    n_calls = 200
    with serve(settings) as address, grpc.insecure_channel(address) as channel:
        stub: Any = SimilarityServiceStub(channel)  # type: ignore[no-untyped-call]
        for _ in range(10):
            stub.FindNeighbors(QUERY, timeout=30)
        slow.clear()
        calls = [stub.FindNeighbors.future(QUERY, timeout=0.3) for _ in range(n_calls)]
        codes = [call.code() for call in calls]
        n_answered = codes.count(grpc.StatusCode.OK)
        assert 0 < n_answered < n_calls / 2
        in_vain = len(slow) - n_answered
        assert in_vain <= 0.05 * (n_calls - n_answered)
        assert _answered_in_the_end(stub).neighbors


def test_a_caller_without_patience_keeps_no_other_out(serve: "Serve", sample_store: Path) -> None:
    hasty = pb.BatchFindNeighborsRequest(queries=[QUERY] * 1000)
    batch = pb.BatchFindNeighborsRequest(queries=[QUERY])
    settings = ServerSettings(sample_store, port=0)
    with serve(settings) as address, grpc.insecure_channel(address) as channel:
        stub: Any = SimilarityServiceStub(channel)  # type: ignore[no-untyped-call]
        for _ in range(20):
            stub.BatchFindNeighbors.future(hasty, timeout=0.003).exception()
            assert stub.BatchFindNeighbors(batch, timeout=30).outcomes


def test_others_have_the_loop_while_a_batch_of_many_bytes_is_read(
    serve: "Serve", sample_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = pb.Profile(ratings=[pb.Rating(item_id=MATRIX, stars=4.0)] * 10_000)
    query = pb.FindNeighborsRequest(profile=profile)
    batch = pb.BatchFindNeighborsRequest(queries=[query] * 8 + [pb.FindNeighborsRequest()])
    questions, n_read = Answers.questions, list[int]()

    def counted(self: Answers, bodies: Any, privacy: Any) -> Any:
        n_read.append(len(bodies))
        return questions(self, bodies, privacy)

    monkeypatch.setattr(Answers, "questions", counted)
    settings = ServerSettings(sample_store, port=0)
    with serve(settings) as address, grpc.insecure_channel(address) as channel:
        stub: Any = SimilarityServiceStub(channel)  # type: ignore[no-untyped-call]
        outcomes = stub.BatchFindNeighbors(batch, timeout=30).outcomes
        assert n_read == [1] * 9
        assert [outcome.WhichOneof("outcome") for outcome in outcomes] == ["response"] * 8 + [
            "error"
        ]
        few = pb.BatchFindNeighborsRequest(queries=[QUERY] * 500)
        assert len(stub.BatchFindNeighbors(few, timeout=30).outcomes) == 500
        assert n_read[9:] == [500]


def test_of_large_answers_that_nobody_reads_the_oldest_is_let_go(
    serve: "Serve", sample_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.wire.unread._MOST_BYTES", 1 << 20)
    settings = ServerSettings(sample_store, port=0)
    many = pb.FindNeighborsRequest(item_id=MATRIX, neighbor_count=200)
    batch = pb.BatchFindNeighborsRequest(queries=[many] * 500).SerializeToString()
    # Read by nobody, no more of an answer is taken than this.
    options = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_536))
    with serve(settings) as address, grpc.insecure_channel(address, options) as channel:
        ask: Any = channel.unary_stream(f"/{SERVICE}/BatchFindNeighbors")
        oldest = ask(batch, timeout=30)
        # Comes with the answer.
        oldest.initial_metadata()
        (answer,) = ask(batch, timeout=30)
        assert len(answer) > 1 << 20
        with pytest.raises(grpc.RpcError, match="not read in time"):
            list(oldest)
        # What is read is no burden, however much there is of it.
        for _ in range(3):
            assert len(list(ask(batch, timeout=30))) == 1


def test_of_streams_that_nobody_reads_the_oldest_is_let_go(
    serve: "Serve",
    sample_store: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    wait_until: Callable[[Callable[[], bool]], None],
) -> None:
    monkeypatch.setattr("server.wire.unread._MOST_BYTES", 100_000)
    query = pb.FindNeighborsRequest(
        item_id=MATRIX, neighbor_count=400, accuracy=pb.Accuracy(exact=True)
    )
    messages = [pb.StreamFindNeighborsRequest(query=query)] * 300
    options = (
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", 65_536),
        ("grpc.use_local_subchannel_pool", 1),
    )
    with serve(ServerSettings(sample_store, port=0)) as address, contextlib.ExitStack() as stack:
        streams = []
        for _ in range(2):
            channel = stack.enter_context(grpc.insecure_channel(address, options))
            stub: Any = SimilarityServiceStub(channel)  # type: ignore[no-untyped-call]
            streams.append(stub.StreamFindNeighbors(iter(messages), timeout=60))
            assert next(streams[-1]).response.neighbors
        wait_until(lambda: "was let go" in caplog.text)
        with pytest.raises(grpc.RpcError, match="not read in time"):
            list(streams[0])
        # Who reads has all of it.
        assert len(list(streams[1])) == 299


async def test_who_tells_nothing_of_its_time_is_not_taken_for_late(counts: Counts) -> None:
    """By `grpc.aio` nobody does, and one call that came too late would turn everybody away."""
    made = Lane(Traffic(9), counts, 0.5)
    with pytest.raises(DeadlineExceeded):
        await made.do("work", 1, Patience(-1.0), lambda: None)
    assert made.is_full(0.0)
    assert Guard(Traffic(9), counts).refusal(made, None) is None


def test_a_large_batch_does_not_hold_up_single_calls(serve: "Serve", sample_store: Path) -> None:
    batch = pb.BatchFindNeighborsRequest(queries=[QUERY] * 1000)
    settings = ServerSettings(sample_store, port=0)
    with serve(settings) as address, grpc.insecure_channel(address) as channel:
        stub: Any = SimilarityServiceStub(channel)  # type: ignore[no-untyped-call]
        stub.FindNeighbors(QUERY, timeout=30)
        answer = stub.BatchFindNeighbors.future(batch, timeout=30)
        n_meanwhile = 0
        while not answer.done():
            stub.FindNeighbors(QUERY, timeout=30)
            n_meanwhile += 1
        assert len(answer.result().outcomes) == 1000
        assert len({o.response.bundle_version for o in answer.result().outcomes}) == 1
    # Were it answered in one piece, one call at most would come through before it.
    assert n_meanwhile > 2


def test_health_is_told_on_its_port_while_the_event_loop_is_held_up(
    serve: "Serve", sample_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = threading.Event()

    def hold(*_: Any) -> None:
        held.wait(30)
        raise InvalidRequest("", "enough")

    monkeypatch.setattr("server.calls.service.requests.parse_alike", hold)
    with (
        serve(ServerSettings(sample_store, port=0)) as address,
        grpc.insecure_channel(address) as channel,
        health_port("127.0.0.1", 0) as told,
        grpc.insecure_channel(f"127.0.0.1:{told.port}") as beside,
    ):
        told.tell(serving=True)
        stub: Any = SimilarityServiceStub(channel)  # type: ignore[no-untyped-call]
        holding = stub.FindNeighbors.future(QUERY, timeout=30)
        check = health_pb2_grpc.HealthStub(beside).Check
        asked = health_pb2.HealthCheckRequest()
        assert check(asked, timeout=10).status == health_pb2.HealthCheckResponse.SERVING
        assert not holding.done()
        told.tell(serving=False)
        assert check(asked, timeout=10).status == health_pb2.HealthCheckResponse.NOT_SERVING
        held.set()
        assert holding.code() is grpc.StatusCode.INVALID_ARGUMENT
