"""Which status each error becomes, and that nothing but documented text leaves the server."""

import asyncio
import contextlib
import gc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import grpc
import pytest
from google.rpc import code_pb2, error_details_pb2, status_pb2

from ilk import errors
from ilk.client.wire.refusals import error_from_query, error_from_status
from ilk.v1 import similarity_pb2 as pb
from server import status
from server.calls.call import Call
from server.calls.guard import Guard
from server.calls.service import SimilarityService
from server.load.traffic import Traffic
from server.load.work import Work
from server.observability.metrics import Counts
from server.settings import ServerSettings

if TYPE_CHECKING:
    from tests.server.conftest import Answer, Ask, Stream

PROTO = Path(__file__).parents[2] / "proto" / "ilk" / "v1" / "similarity.proto"
PRINTABLE = "".join(chr(c) for c in range(0x20, 0x7F) if chr(c) != "%")
TABLE: dict[type[errors.IlkError], str] = {
    errors.IlkError: "INTERNAL",
    errors.InvalidRequest: "INVALID_ARGUMENT",
    errors.NotFound: "NOT_FOUND",
    errors.DataError: "INTERNAL",
    errors.SettingsError: "INTERNAL",
    errors.BundleError: "INTERNAL",
    errors.BundleMissing: "UNAVAILABLE",
    errors.BundleCorrupt: "INTERNAL",
    errors.BundleUnsupported: "INTERNAL",
    errors.ServiceError: "INTERNAL",
    errors.Unavailable: "UNAVAILABLE",
    errors.Overloaded: "RESOURCE_EXHAUSTED",
    errors.DeadlineExceeded: "DEADLINE_EXCEEDED",
    errors.PermissionDenied: "PERMISSION_DENIED",
    errors.Unauthenticated: "UNAUTHENTICATED",
}


def tree(kind: type[errors.IlkError]) -> Iterator[type[errors.IlkError]]:
    if kind.__module__ == errors.__name__:
        yield kind
    for below in kind.__subclasses__():
        yield from tree(below)


def made(kind: type[errors.IlkError]) -> errors.IlkError:
    """Return an error of a class, with text that may not leave unless the caller is to blame."""
    if kind is errors.InvalidRequest:
        return errors.InvalidRequest("whom.which", "the secret")
    if kind is errors.NotFound:
        return errors.NotFound("item", "the secret")
    return (
        errors.DataError("here", "the secret") if kind is errors.DataError else kind("the secret")
    )


every_class = pytest.mark.parametrize("kind", TABLE, ids=lambda kind: kind.__name__)


def test_the_table_holds_the_whole_tree() -> None:
    assert set(tree(errors.IlkError)) == TABLE.keys()


@every_class
def test_each_error_has_its_status(kind: type[errors.IlkError]) -> None:
    error = made(kind)
    assert code_pb2.Code.Name(status.code_of(error)) == TABLE[kind]
    assert status.is_ours(error) == (TABLE[kind] == "INTERNAL")


@pytest.mark.parametrize("code", sorted(set(TABLE.values())))
def test_each_status_is_documented_in_the_contract(code: str) -> None:
    assert f"  {code}  " in PROTO.read_text(encoding="utf-8")


def test_an_error_made_later_takes_the_status_of_its_parent() -> None:
    class Younger(errors.NotFound):
        pass

    assert status.code_of(Younger("item", "x")) == code_pb2.NOT_FOUND


@every_class
def test_the_error_of_one_query_hides_only_what_is_ours(kind: type[errors.IlkError]) -> None:
    error = made(kind)
    told = status.to_query_error(error, "7")
    assert code_pb2.Code.Name(told.code) == TABLE[kind]
    assert ("the secret" in told.message) != status.is_ours(error)
    assert told.field == ("whom.which" if kind is errors.InvalidRequest else "")


@every_class
def test_the_client_reads_each_status_back_as_its_error(kind: type[errors.IlkError]) -> None:
    error = made(kind)
    told = status.to_status(error)
    back = error_from_status(told.code.value[0], told.details)
    of_query = error_from_query(status.to_query_error(error, "7"))
    mapped = {"INTERNAL": errors.ServiceError, "UNAVAILABLE": errors.Unavailable}
    expected = mapped.get(TABLE[kind], kind)
    assert type(back) is type(of_query) is expected
    if not status.is_ours(error):
        assert str(back) == str(of_query) == str(error)


@every_class
def test_only_a_bad_field_has_details_and_they_name_it(kind: type[errors.IlkError]) -> None:
    ((_, packed),) = status.to_status(made(kind)).trailing_metadata
    details = status_pb2.Status.FromString(packed).details
    if kind is not errors.InvalidRequest:
        assert not details
        return
    bad_request = error_details_pb2.BadRequest()
    assert details[0].Unpack(bad_request)
    (violation,) = bad_request.field_violations
    assert (violation.field, violation.description) == ("whom.which", "the secret")


def of_longest_ids(character: str) -> errors.NotFound:
    longest = character * (256 // len(character.encode()))
    return errors.NotFound("item", *[longest] * 10_000)


LONG = {
    **{ascii(c): of_longest_ids(c) for c in ("x", "é", "\x01", "\U0001f600", "'", "%")},
    "many genres": errors.InvalidRequest("filter.any_genres", ", ".join(["some genre"] * 500)),
}


@pytest.mark.parametrize("error", LONG.values(), ids=LONG)
def test_the_longest_text_leaves_a_status_that_grpc_delivers(error: errors.IlkError) -> None:
    told = status.to_status(error)
    ((_, details),) = told.trailing_metadata
    # gRPC percent-encodes the message; the rest is the names of the headers.
    assert len(quote(told.details, safe=PRINTABLE)) + len(details) + 256 < 8192


# Nobody has asked it before: its answer is looked for, not remembered.
QUERY = pb.FindNeighborsRequest(item_id="the-matrix-1999", neighbor_count=17)
CALLS = {
    "FindNeighbors": ("ilk.query.answers.answer_known", QUERY),
    "BatchFindNeighbors": (
        "ilk.query.answers.answer_known",
        pb.BatchFindNeighborsRequest(queries=[QUERY]),
    ),
    "PredictRatings": (
        "server.calls.service.predict",
        pb.PredictRatingsRequest(user_id="x", item_ids=["the-matrix-1999"]),
    ),
    "SearchTitles": (
        "server.bundles.titles.TitleSearch.search",
        pb.SearchTitlesRequest(text="matrix"),
    ),
    "GetItems": ("server.calls.service.catalogue.find_items", pb.GetItemsRequest(ids=["x"])),
    "GetBundle": ("server.calls.service.catalogue.describe", pb.GetBundleRequest()),
    "StreamFindNeighbors": (
        "ilk.query.answers.answer_known",
        pb.StreamFindNeighborsRequest(request_id="7", query=QUERY),
    ),
}


@pytest.fixture
def broken(
    monkeypatch: pytest.MonkeyPatch, ask: "Ask", stream: "Stream"
) -> Callable[[str, Exception], "Answer"]:
    """Call an rpc whose work raises, and return how the call ended."""

    def call(rpc: str, failure: Exception) -> "Answer":
        def fail(*_: Any, **__: Any) -> None:
            raise failure

        place, message = CALLS[rpc]
        monkeypatch.setattr(place, fail)
        data = message.SerializeToString()
        return stream([data])[-1] if rpc == "StreamFindNeighbors" else ask(rpc, data)

    return call


@pytest.mark.parametrize("rpc", CALLS)
def test_no_text_of_an_unforeseen_exception_leaves(
    broken: Callable[[str, Exception], "Answer"], caplog: pytest.LogCaptureFixture, rpc: str
) -> None:
    answer = broken(rpc, RuntimeError("the secret"))
    assert answer.code == "INTERNAL"
    assert "secret" not in answer.message
    # The text of an exception that is not ours may quote what the caller sent.
    assert "secret" not in caplog.text
    assert "RuntimeError" in caplog.text
    assert "in fail" in caplog.text
    request_id = answer.message.split()[-1]
    assert f"request {request_id} failed" in caplog.text


@pytest.mark.parametrize("rpc", ["FindNeighbors", "GetItems"])
def test_no_text_of_an_error_of_ours_leaves(
    broken: Callable[[str, Exception], "Answer"], caplog: pytest.LogCaptureFixture, rpc: str
) -> None:
    answer = broken(rpc, errors.BundleCorrupt("the secret"))
    assert answer.code == "INTERNAL"
    assert "secret" not in answer.message
    assert f"request {answer.message.split()[-1]} failed" in caplog.text
    assert "the secret" in caplog.text


@pytest.mark.parametrize("rpc", ["BatchFindNeighbors", "StreamFindNeighbors"])
def test_no_text_of_an_error_of_ours_leaves_with_one_query(
    broken: Callable[[str, Exception], "Answer"], caplog: pytest.LogCaptureFixture, rpc: str
) -> None:
    answer = broken(rpc, errors.BundleCorrupt("the secret"))
    assert answer.code == "OK"
    if rpc == "BatchFindNeighbors":
        error = pb.BatchFindNeighborsResponse.FromString(answer.body).outcomes[0].error
    else:
        error = pb.StreamFindNeighborsResponse.FromString(answer.body).error
    assert error.code == code_pb2.INTERNAL
    assert "secret" not in error.message
    assert "the secret" in caplog.text
    assert f"request {error.message.split()[-1]} failed" in caplog.text


def test_a_call_without_time_left_is_refused_before_any_work() -> None:
    class Late:
        def time_remaining(self) -> float:
            return 0.0

        async def abort_with_status(self, told: grpc.Status) -> None:
            raise grpc.aio.AbortError(told.code)

    nothing: Any = None
    guard = Guard(Traffic(1), Counts())
    details: Any = SimpleNamespace(method="/ilk.v1.SimilarityService/GetBundle")
    live: Any = SimpleNamespace(
        get=lambda: SimpleNamespace(costs=SimpleNamespace(usual=1), lanes={})
    )
    work: Any = Work(Traffic(1), Counts(), nothing, ServerSettings())
    service = SimilarityService(live, work, nothing, guard)
    handler: Any = service.handlers().service(details)
    with pytest.raises(grpc.aio.AbortError, match="DEADLINE_EXCEEDED"):
        asyncio.run(handler.unary_unary(b"", Late()))


def test_a_fault_of_what_looks_for_the_handler_is_told_by_an_id_alone() -> None:
    told: list[object] = []

    class Ended:
        async def abort(self, *what: object) -> None:
            told.extend(what)
            raise grpc.aio.AbortError

    def broken() -> None:
        raise ValueError("the secret")

    nothing: Any = None
    details: Any = SimpleNamespace(method="/ilk.v1.SimilarityService/GetBundle")
    live: Any = SimpleNamespace(get=broken)
    service = SimilarityService(live, nothing, nothing, Guard(Traffic(1), Counts()))
    handler: Any = service.handlers().service(details)
    with pytest.raises(grpc.aio.AbortError):
        asyncio.run(handler.stream_stream(None, Ended()))
    assert told[0] is grpc.StatusCode.INTERNAL
    assert "the secret" not in str(told[1])


@pytest.mark.parametrize(
    ("retry_after_s", "after_ms", "pushback_ms"),
    [(0.0, 10, 10), (0.25, 250, 250), (1.0, 1000, 1000), (1.5, 1500, -1), (1e9, 30_000, -1)],
)
def test_repeats_wait_for_a_short_pause_and_leave_a_long_one_to_the_caller(
    retry_after_s: float, after_ms: int, pushback_ms: int
) -> None:
    told = status.to_shed_status(retry_after_s)
    metadata = dict(told.trailing_metadata)
    assert metadata["grpc-retry-pushback-ms"] == str(pushback_ms)
    retry = error_details_pb2.RetryInfo()
    rich = status_pb2.Status.FromString(metadata["grpc-status-details-bin"])
    assert rich.details[0].Unpack(retry)
    assert retry.retry_delay.ToMilliseconds() == after_ms


@pytest.mark.parametrize(
    "failure", [errors.InvalidRequest("x", "y"), ValueError("z")], ids=["foreseen", "unforeseen"]
)
def test_what_a_refused_call_sent_is_let_go_at_once(failure: Exception) -> None:
    class Sent(bytearray):
        """Bytes that can be watched."""

    sent: list[weakref.ref[Sent]] = []

    async def refuse(data: bytes, _: Call) -> bytes:
        assert isinstance(data, Sent)
        sent.append(weakref.ref(data))
        try:
            raise KeyError(len(data))
        except KeyError as cause:
            raise failure from cause

    class Aborting:
        """Keeps the end of a call, as gRPC does."""

        def time_remaining(self) -> None:
            return None

        def invocation_metadata(self) -> tuple[()]:
            return ()

        async def abort(self, *_: object) -> None:
            self.ended = grpc.aio.AbortError()
            raise self.ended

        abort_with_status = abort

    async def call() -> None:
        context: Any = Aborting()
        guarded: Any = Guard(Traffic(1), Counts()).unary("FindNeighbors", refuse)
        with contextlib.suppress(grpc.aio.AbortError):
            await guarded(Sent(), context)

    gc.disable()
    try:
        asyncio.run(call())
        assert sent[0]() is None
    finally:
        gc.enable()
