"""What a client sends while the server turns calls away: no time passes, a clock is turned."""

import math
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ilk import SimilarityClient, errors
from ilk.client.throttle import NotSent, Throttle, Turn
from ilk.types import ItemId, Query
from ilk.v1 import similarity_pb2 as pb

if TYPE_CHECKING:
    from tests.client.conftest import Ask, ScriptedService

OK, SHED = grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED
REFUSALS = [SHED, grpc.StatusCode.CANCELLED]


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def throttle(clock: Clock) -> Throttle:
    return Throttle(clock=clock, draw=lambda: 0.5)


def end_all(turns: list[Turn], status: grpc.StatusCode | None) -> None:
    for turn in turns:
        turn.end(status)


def narrow(throttle: Throttle, limit: int) -> None:
    """Meet one refusal with ``limit`` other calls under way, all of them answered."""
    turns = n_begun(throttle, limit + 1)
    turns[0].end(SHED)
    end_all(turns[1:], OK)
    assert throttle.limit == limit


def n_begun(throttle: Throttle, n: int) -> list[Turn]:
    """Try to begin ``n`` calls; return the turns of those that may be sent."""
    turns = []
    for _ in range(n):
        try:
            turns.append(throttle.begin())
        except NotSent:
            continue
    return turns


def test_while_nothing_is_refused_there_is_no_limit(throttle: Throttle) -> None:
    end_all(n_begun(throttle, 1000), OK)
    assert len(n_begun(throttle, 1000)) == 1000


@pytest.mark.parametrize(
    "status", [code for code in grpc.StatusCode if code not in REFUSALS], ids=lambda code: code.name
)
def test_a_status_that_answers_the_question_is_no_refusal(
    throttle: Throttle, status: grpc.StatusCode
) -> None:
    end_all(n_begun(throttle, 10), status)
    assert throttle.limit == math.inf


@pytest.mark.parametrize("status", REFUSALS, ids=lambda code: code.name)
def test_a_refusal_limits_the_calls_to_those_under_way(
    throttle: Throttle, status: grpc.StatusCode
) -> None:
    turns = n_begun(throttle, 10)
    turns[0].end(status)
    assert throttle.limit == 9
    assert n_begun(throttle, 5) == []


def test_a_call_that_its_caller_gave_up_says_nothing_and_makes_room(throttle: Throttle) -> None:
    end_all(n_begun(throttle, 10), None)
    assert throttle.limit == math.inf
    narrow(throttle, 1)
    throttle.begin().end(None)
    assert len(n_begun(throttle, 1)) == 1


def test_the_limit_shrinks_to_what_was_answered_of_a_round_trip(throttle: Throttle) -> None:
    narrow(throttle, 20)
    turns = n_begun(throttle, 20)
    # The first answer to a call of this round ends the one before.
    end_all(turns[:6], OK)
    end_all(turns[6:], SHED)
    assert throttle.limit == 20
    throttle.begin().end(OK)
    assert throttle.limit == 20 * 6 // 20


def test_a_limit_that_is_in_the_way_grows_by_one_a_round_trip(throttle: Throttle) -> None:
    narrow(throttle, 3)
    for limit in range(3, 10):
        turns = n_begun(throttle, 100)
        assert len(turns) == limit
        end_all(turns, OK)
        assert throttle.limit == limit + 1


def test_a_limit_is_never_below_one_call(throttle: Throttle, clock: Clock) -> None:
    for _ in range(10):
        end_all(n_begun(throttle, 10), SHED)
        clock.now_s += 1.9
    assert throttle.limit == 1


def test_after_quiet_there_is_no_limit_again(throttle: Throttle, clock: Clock) -> None:
    narrow(throttle, 1)
    clock.now_s = 1.9
    assert len(n_begun(throttle, 10)) == 1
    clock.now_s = 2 * 1.9 + 0.2
    assert len(n_begun(throttle, 10)) == 10


def test_pauses_double_while_everything_is_refused_and_end_with_an_answer(
    throttle: Throttle, clock: Clock
) -> None:
    pauses_s = []
    throttle.begin().end(SHED)
    for _ in range(7):
        throttle.begin().end(SHED)
        began_s = clock.now_s
        while not (turns := n_begun(throttle, 1)):
            clock.now_s += 0.01
        end_all(turns, None)
        pauses_s.append(clock.now_s - began_s)
    assert pauses_s == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0], abs=0.02)
    throttle.begin().end(OK)
    throttle.begin().end(SHED)
    assert not n_begun(throttle, 1)
    clock.now_s += 0.06
    assert len(n_begun(throttle, 1)) == 1


@pytest.mark.parametrize(
    "status", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED], ids=str
)
def test_calls_that_reach_nobody_leave_the_limit_as_it_is(
    throttle: Throttle, status: grpc.StatusCode
) -> None:
    end_all(n_begun(throttle, 50), status)
    assert throttle.limit == math.inf
    narrow(throttle, 20)
    for _ in range(3):
        end_all(n_begun(throttle, 20), status)
        assert throttle.limit == 20
    end_all(n_begun(throttle, 20), OK)
    assert throttle.limit == 20


def test_where_one_server_of_two_hangs_the_other_is_asked_as_before(throttle: Throttle) -> None:
    for _ in range(50):
        turns = n_begun(throttle, 40)
        assert len(turns) == 40
        end_all(turns[::2], grpc.StatusCode.DEADLINE_EXCEEDED)
        end_all(turns[1::2], OK)


def test_a_stream_takes_no_place(throttle: Throttle) -> None:
    streams = [throttle.begin(is_stream=True) for _ in range(10)]
    narrow(throttle, 2)
    assert len(n_begun(throttle, 10)) == 2
    with pytest.raises(NotSent):
        throttle.begin(is_stream=True)
    streams[0].end(SHED)
    assert throttle.limit == 2
    end_all(streams[1:], OK)
    assert n_begun(throttle, 10) == []


def test_a_stream_that_is_refused_limits_the_calls_to_those_under_way(throttle: Throttle) -> None:
    n_begun(throttle, 5)
    throttle.begin(is_stream=True).end(SHED)
    assert throttle.limit == 5


def test_a_turn_ends_once(throttle: Throttle) -> None:
    narrow(throttle, 2)
    turn = throttle.begin()
    for _ in range(5):
        turn.end(None)
    assert len(n_begun(throttle, 10)) == 2


@given(st.lists(st.tuples(st.integers(1, 30), st.sampled_from([OK, SHED, None])), max_size=40))
def test_whatever_happens_a_client_that_waits_may_send(
    rounds: list[tuple[int, grpc.StatusCode | None]],
) -> None:
    clock = Clock()
    throttle = Throttle(clock=clock)
    for n, status in rounds:
        turns = n_begun(throttle, n)
        assert len(turns) <= throttle.limit
        end_all(turns, status)
    clock.now_s += 1.5
    assert n_begun(throttle, 1)


@given(
    st.lists(
        st.one_of(
            st.just("begin"),
            st.tuples(st.integers(0, 3), st.sampled_from([OK, SHED])),
            st.just(2.5),
        ),
        max_size=60,
    )
)
def test_in_whatever_order_calls_end_the_limit_is_a_number_of_calls(
    steps: list[str | float | tuple[int, grpc.StatusCode]],
) -> None:
    clock = Clock()
    throttle, turns = Throttle(clock=clock, draw=lambda: 0.5), list[Turn]()
    for step in steps:
        if isinstance(step, tuple):
            if turns:
                turns.pop(step[0] % len(turns)).end(step[1])
        elif isinstance(step, float):
            clock.now_s += step
        else:
            turns += n_begun(throttle, 1)
        assert throttle.limit >= 1


def test_what_was_refused_before_the_quiet_says_nothing_after_it(
    throttle: Throttle, clock: Clock
) -> None:
    end_all(n_begun(throttle, 2), SHED)
    clock.now_s = 2.5
    first, second = n_begun(throttle, 2)
    first.end(OK)
    second.end(SHED)
    assert throttle.limit == 1


def served(n_clients: int, loads: list[tuple[float, float]]) -> list[float]:
    """Offer a server loads (seconds, share of its capacity); return its goodput in each, as a share.

    It answers a thousand calls a second in the order in which they come, keeps up to 200 waiting, and
    turns the others away for a tenth of the work.
    """
    clock = Clock()
    clients = [Throttle(clock=clock, draw=lambda: 0.5) for _ in range(n_clients)]
    waiting: list[Turn] = []
    turned_away: list[Turn] = []
    n_due, time_left, goodput = 0.0, 0.0, []
    for duration_s, load in loads:
        n_answered = 0
        for _ in range(int(1000 * duration_s)):
            clock.now_s += 1e-3
            n_due += load
            while n_due >= 1:
                n_due -= 1
                clients.append(clients.pop(0))
                for turn in n_begun(clients[0], 1):
                    (waiting if len(waiting) < 200 else turned_away).append(turn)
            time_left = min(time_left + 1, 1)
            while time_left > 0 and turned_away:
                turned_away.pop(0).end(SHED)
                time_left -= 0.1
            while time_left > 0 and waiting:
                waiting.pop(0).end(OK)
                time_left -= 1
                n_answered += 1
        goodput.append(n_answered / 1000 / duration_s)
    return goodput


@pytest.mark.parametrize("n_clients", [1, 8, 50])
def test_a_server_offered_ten_times_its_capacity_goes_on_answering_and_recovers(
    n_clients: int,
) -> None:
    _, _, overloaded, _, after = served(n_clients, [(1, 0.5), (2, 10), (4, 10), (1, 0.5), (1, 0.5)])
    assert overloaded > 0.85
    assert after == pytest.approx(0.5, abs=0.01)


def test_a_client_that_is_told_to_sends_every_call(target: str, service: "ScriptedService") -> None:
    service.replies["GetBundle"] = turned_away

    with SimilarityClient(target, throttled=False) as client:
        for _ in range(5):
            with pytest.raises(errors.Overloaded, match="too busy"):
                client.get_bundle()
    assert len(service.requests) == 5


def test_a_client_says_that_the_refusal_is_its_own() -> None:
    error = NotSent(7)
    assert error.code() is SHED
    assert "not sent, by the client's own choice" in str(error)
    assert "about 7 at a time" in error.details()


def turned_away(asked: Any, context: grpc.ServicerContext) -> None:
    if hasattr(asked, "__next__"):
        # Before the end of what a caller still sends, grpc.aio knows no status but INTERNAL.
        list(asked)
    context.set_trailing_metadata((("grpc-retry-pushback-ms", "-1"),))
    context.abort(SHED, "too busy")


@pytest.mark.parametrize(
    ("question", "rpc"),
    [
        (lambda client: client.get_bundle(), "GetBundle"),
        (lambda client: client.find_neighbors(Query(ItemId("x"))), "FindNeighbors"),
        (lambda client: client.batch_find_neighbors([Query(ItemId("x"))]), "BatchFindNeighbors"),
        (lambda client: client.stream_find_neighbors([Query(ItemId("x"))]), "StreamFindNeighbors"),
    ],
    ids=["GetBundle", "FindNeighbors", "BatchFindNeighbors", "StreamFindNeighbors"],
)
def test_where_all_is_turned_away_the_next_call_is_not_sent_at_once(
    ask: "Ask",
    service: "ScriptedService",
    monkeypatch: pytest.MonkeyPatch,
    question: Callable[[Any], Any],
    rpc: str,
) -> None:
    monkeypatch.setattr("ilk.client.sync.Throttle", lambda: Throttle(clock=Clock()))
    monkeypatch.setattr("ilk.client.aio.Throttle", lambda: Throttle(clock=Clock()))
    service.replies = {rpc: turned_away, "GetBundle": turned_away}

    def thrice(client: Any) -> Any:
        return _after_failures(client, question)

    with pytest.raises(errors.Overloaded, match="not sent") as caught:
        ask(thrice)
    assert isinstance(caught.value.__cause__, NotSent)
    assert len(service.requests) == 2


def test_a_stream_that_asks_nothing_yet_keeps_no_call_from_being_sent(
    target: str, service: "ScriptedService"
) -> None:
    is_open, may_ask = threading.Event(), threading.Event()

    def queries() -> Iterator[Query]:
        may_ask.wait(30)
        yield Query(ItemId("x"))

    def answered(asked: Iterator[Any], _: object) -> Iterator[pb.StreamFindNeighborsResponse]:
        is_open.set()
        for message in asked:
            yield pb.StreamFindNeighborsResponse(request_id=message.request_id, response={})

    service.replies = {"StreamFindNeighbors": answered, "GetBundle": turned_away}
    with SimilarityClient(target) as client, ThreadPoolExecutor(1) as pool:
        told = pool.submit(list, client.stream_find_neighbors(queries()))
        assert is_open.wait(30)
        with pytest.raises(errors.Overloaded, match="too busy"):
            client.get_bundle()
        service.replies["GetBundle"] = pb.GetBundleResponse(bundle_version="v")
        assert client.get_bundle().version == "v"
        may_ask.set()
        assert len(told.result(30)) == 1


def _after_failures(client: Any, question: Callable[[Any], Any]) -> Any:
    """Return what ``client`` says when it is asked for its bundle after ``question`` failed twice."""
    if isinstance(client, SimilarityClient):
        for _ in range(2):
            with pytest.raises(errors.Overloaded, match="too busy"):
                list(question(client))
        return client.get_bundle()

    async def ask_again() -> Any:
        for _ in range(2):
            asked = question(client)
            with pytest.raises(errors.Overloaded, match="too busy"):
                [_ async for _ in asked] if hasattr(asked, "__aiter__") else await asked
        return await client.get_bundle()

    return ask_again()
