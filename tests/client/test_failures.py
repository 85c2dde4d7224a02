"""Which error each failure of a call becomes, and which calls are repeated."""

import copy
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from ilk import SimilarityClient, errors
from ilk.client.wire.refusals import error_from_rpc, error_from_status
from ilk.types import (
    ItemId,
    Query,
)
from ilk.v1 import similarity_pb2 as pb

if TYPE_CHECKING:
    from tests.client.conftest import Ask, Listening, ScriptedService

ALIEN = Query(ItemId("alien"))


SERVICE_ERRORS = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidRequest,
    grpc.StatusCode.NOT_FOUND: errors.NotFound,
    grpc.StatusCode.UNAVAILABLE: errors.Unavailable,
    # gRPC's server lets go of calls that have not begun when it stops, or when too many wait.
    grpc.StatusCode.CANCELLED: errors.Unavailable,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.Overloaded,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
    grpc.StatusCode.PERMISSION_DENIED: errors.PermissionDenied,
    grpc.StatusCode.UNAUTHENTICATED: errors.Unauthenticated,
}


def abort(code: grpc.StatusCode, message: str) -> Callable[[Any, grpc.ServicerContext], None]:
    return lambda _, context: context.abort(code, message)


@pytest.mark.parametrize("code", list(grpc.StatusCode), ids=lambda code: code.name)
def test_every_status_of_a_query_has_its_error(code: grpc.StatusCode) -> None:
    error = error_from_status(code.value[0], "what happened")
    assert type(error) is SERVICE_ERRORS.get(code, errors.ServiceError)
    assert "what happened" in str(error)


@pytest.mark.parametrize(
    "code",
    [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK],
    ids=lambda code: code.name,
)
def test_every_status_of_a_call_has_its_error(
    ask: "Ask", service: "ScriptedService", code: grpc.StatusCode
) -> None:
    service.replies["FindNeighbors"] = abort(code, "what happened")
    with pytest.raises(errors.IlkError, match="what happened") as caught:
        ask(lambda client: client.find_neighbors(ALIEN))
    assert type(caught.value) is SERVICE_ERRORS.get(code, errors.ServiceError)
    assert isinstance(caught.value.__cause__, grpc.RpcError)


def test_a_code_from_the_future_is_a_service_error() -> None:
    error = error_from_status(99, "")
    assert type(error) is errors.ServiceError
    assert str(error) == "status 99"


def test_a_failure_without_a_status_is_a_service_error() -> None:
    assert type(error_from_rpc(grpc.RpcError("broken"))) is errors.ServiceError


@pytest.mark.parametrize(
    "refused",
    [
        errors.InvalidRequest("queries[3].profile.ratings", "is empty: give at least one"),
        errors.InvalidRequest("content_weight", "must be in [0, 1]\ngot 2"),
        errors.InvalidRequest("", "Both are given: choose one"),
    ],
)
def test_an_invalid_request_survives_the_wire(refused: errors.InvalidRequest) -> None:
    error = error_from_status(grpc.StatusCode.INVALID_ARGUMENT.value[0], str(refused))
    assert isinstance(error, errors.InvalidRequest)
    assert (error.field, error.problem) == (refused.field, refused.problem)
    assert str(error) == str(refused)


@pytest.mark.parametrize(
    "ids",
    [
        ("x",),
        ("it's", 'say "hi"'),
        ("a', 'b",),
        ("back\\slash", "new\nline", "日本"),
        tuple("abcde"),
    ],
)
@pytest.mark.parametrize("kind", ["item", "user"])
def test_unknown_ids_survive_the_wire(kind: str, ids: tuple[str, ...]) -> None:
    message = str(errors.NotFound(kind, *ids))
    error = error_from_status(grpc.StatusCode.NOT_FOUND.value[0], message)
    assert isinstance(error, errors.NotFound)
    assert (error.kind, error.ids, str(error)) == (kind, ids, message)


def test_of_many_unknown_ids_the_named_ones_and_the_text_are_kept() -> None:
    message = str(errors.NotFound("item", *"abcdefgh"))
    error = error_from_status(grpc.StatusCode.NOT_FOUND.value[0], message)
    assert isinstance(error, errors.NotFound)
    assert error.ids == tuple("abcde")
    assert str(error) == message
    assert str(error).endswith("and 3 more")


@pytest.mark.parametrize("message", ["", "gone", "unknown item x", "unknown item '\\x', evil()"])
def test_a_not_found_of_another_form_keeps_its_text(message: str) -> None:
    error = error_from_status(grpc.StatusCode.NOT_FOUND.value[0], message)
    assert isinstance(error, errors.NotFound)
    assert (error.kind, error.ids, str(error)) == ("", (), message)


def test_unavailable_is_tried_three_times(ask: "Ask", service: "ScriptedService") -> None:
    def third_time_lucky(_: Any, context: grpc.ServicerContext) -> pb.GetBundleResponse:
        if len(service.requests) < 3:
            context.abort(grpc.StatusCode.UNAVAILABLE, "no bundle yet")
        return pb.GetBundleResponse(bundle_version="v1")

    service.replies["GetBundle"] = third_time_lucky
    assert ask(lambda client: client.get_bundle()).version == "v1"
    assert len(service.requests) == 3


def test_unavailable_is_not_tried_forever(ask: "Ask", service: "ScriptedService") -> None:
    service.replies["GetBundle"] = abort(grpc.StatusCode.UNAVAILABLE, "no bundle yet")
    with pytest.raises(errors.Unavailable, match="no bundle yet"):
        ask(lambda client: client.get_bundle())
    assert len(service.requests) == 5


def test_shed_load_is_not_repeated_forever(ask: "Ask", service: "ScriptedService") -> None:
    service.replies["GetBundle"] = abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too busy")
    with pytest.raises(errors.Overloaded):
        ask(lambda client: client.get_bundle())
    assert len(service.requests) == 5


def test_a_slow_answer_is_not_waited_for(ask: "Ask", service: "ScriptedService") -> None:
    released = threading.Event()
    service.replies["GetBundle"] = lambda *_: released.wait(10) and pb.GetBundleResponse()
    try:
        with pytest.raises(errors.DeadlineExceeded):
            ask(lambda client: client.get_bundle(), timeout_s=0.2)
    finally:
        released.set()


def test_nobody_listening_is_unavailable(listening: "Listening") -> None:
    listening.server.stop(None).wait()
    with (
        SimilarityClient(listening.target) as client,
        pytest.raises(errors.Unavailable, match=r"127\.0\.0\.1"),
    ):
        client.get_bundle()


@pytest.mark.parametrize(
    "error",
    [
        errors.InvalidRequest("neighbor_count", "must be positive"),
        errors.NotFound("item", "a", "b"),
        errors.DataError(Path("films.csv"), "is torn", 3),
        errors.Overloaded("later"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_pass_between_processes(error: errors.IlkError) -> None:
    for same in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
        assert type(same) is type(error)
        assert str(same) == str(error)
        assert {**vars(same), "where": None} == {**vars(error), "where": None}


@pytest.mark.parametrize("told", [r"'\\x'", r"'\\N{zz}'", "'\x00'", "'a\nb'"], ids=repr)
def test_what_no_server_of_ours_says_is_not_found_all_the_same(told: str) -> None:
    error = error_from_status(grpc.StatusCode.NOT_FOUND.value[0], f"unknown user {told}", "")
    assert isinstance(error, errors.NotFound)
    assert told in str(error)
