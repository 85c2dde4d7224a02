"""Knows which gRPC status each error of the tree becomes, and what a caller may read of it.

It refuses to know handlers. Whatever is not in the table is a fault of ours: its text stays here.
"""

import functools
from dataclasses import dataclass

import grpc
from google.protobuf import any_pb2, message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from ilk import errors
from ilk.v1 import similarity_pb2 as pb

_NAMES: dict[int, str] = {value: name for name, value in code_pb2.Code.items()}
SHED = "the server is at its limit; try again later, and less often"
EXPIRED = "the deadline passed before the work began"
# When to try again is told in steps, so that there are few such statuses to make.
_RETRY_STEP_MS = 10
_MAX_RETRY_STEPS = 3000
# After pauses up to this gRPC repeats calls by itself; whether to wait longer is for callers to say.
_MAX_PUSHBACK_MS = 1000
# Metadata holds 8 KiB, and the text goes out three times, each character in up to three bytes.
_MAX_TEXT = 600

CODES: dict[type[errors.IlkError], int] = {
    errors.InvalidRequest: code_pb2.INVALID_ARGUMENT,
    errors.NotFound: code_pb2.NOT_FOUND,
    errors.Overloaded: code_pb2.RESOURCE_EXHAUSTED,
    errors.DeadlineExceeded: code_pb2.DEADLINE_EXCEEDED,
    errors.PermissionDenied: code_pb2.PERMISSION_DENIED,
    errors.Unauthenticated: code_pb2.UNAUTHENTICATED,
    errors.Unavailable: code_pb2.UNAVAILABLE,
    errors.BundleMissing: code_pb2.UNAVAILABLE,
}


@dataclass(frozen=True)
class _Status(grpc.Status):
    """What gRPC ends a call with: a code, a text, and metadata that is sent after it."""

    code: grpc.StatusCode
    details: str
    trailing_metadata: tuple[tuple[str, str | bytes], ...]


def code_of(error: errors.IlkError) -> int:
    """Return the ``google.rpc.Code`` of an error; INTERNAL for what no caller can mend."""
    for kind in type(error).__mro__:
        if kind in CODES:
            return CODES[kind]
    return int(code_pb2.INTERNAL)


def name_of(error: errors.IlkError) -> str:
    """Return the name of the code of an error, such as NOT_FOUND."""
    return _NAMES[code_of(error)]


def is_ours(error: errors.IlkError) -> bool:
    """Whether the error is a fault of the server, whose text no caller may read."""
    return code_of(error) == int(code_pb2.INTERNAL)


def to_status(error: errors.IlkError) -> grpc.Status:
    """Return the error as a rich status; a bad field is named in a BadRequest detail."""
    status = status_pb2.Status(code=code_of(error), message=_short(str(error)))
    if isinstance(error, errors.InvalidRequest):
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=error.field, description=_short(error.problem)
        )
        _attach(status, error_details_pb2.BadRequest(field_violations=[violation]))
    rich: grpc.Status = rpc_status.to_status(status)
    return rich


def to_shed_status(retry_after_s: float, text: str = SHED) -> grpc.Status:
    """Return the status of a call that is turned away for load, quickly: many are.

    Parameters
    ----------
    retry_after_s
        When the caller may try again: told in a RetryInfo detail, and as ``grpc-retry-pushback-ms``,
        which gRPC's own retries obey. Above a second that is -1, and they leave it be: a caller that is
        over its rate should hear of it, not hang.
    text
        Why; one of few.
    """
    steps = round(1e3 * retry_after_s / _RETRY_STEP_MS)
    return _shed_status(_RETRY_STEP_MS * min(max(steps, 1), _MAX_RETRY_STEPS), text)


@functools.cache
def _shed_status(after_ms: int, text: str) -> grpc.Status:
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(after_ms)
    status = status_pb2.Status(code=code_pb2.RESOURCE_EXHAUSTED, message=text)
    _attach(status, retry)
    rich: grpc.Status = rpc_status.to_status(status)
    pushback_ms = after_ms if after_ms <= _MAX_PUSHBACK_MS else -1
    metadata = (*rich.trailing_metadata, ("grpc-retry-pushback-ms", str(pushback_ms)))
    return _Status(rich.code, rich.details, metadata)


def internal(request_id: str) -> str:
    """Return all that a caller may read of a fault of ours."""
    return f"internal error; the server's log has it as request {request_id}"


def to_query_error(error: errors.IlkError, request_id: str) -> pb.QueryError:
    """Return the error of one query of a batch or stream, ``request_id`` being that of the call."""
    if is_ours(error):
        return pb.QueryError(code=code_pb2.INTERNAL, message=internal(request_id))
    field = error.field if isinstance(error, errors.InvalidRequest) else ""
    return pb.QueryError(code=code_of(error), message=_short(str(error)), field=field)


def _attach(status: status_pb2.Status, detail: message.Message) -> None:
    packed = any_pb2.Any()
    packed.Pack(detail)
    status.details.append(packed)


def _short(text: str) -> str:
    """Cut what an answer's metadata cannot carry: gRPC drops calls whose status is too long."""
    return text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "..."
