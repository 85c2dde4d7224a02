"""Knows which of Ilk's errors a gRPC status stands for: the server's table, read backwards.

It refuses to know what was asked; where the text of a status has not the form that the server
writes, the error still has the right class and the whole text, only its details stay empty.
"""

import ast
import re

import grpc

from ilk.errors import (
    DeadlineExceeded,
    IlkError,
    InvalidRequest,
    NotFound,
    Overloaded,
    PermissionDenied,
    ServiceError,
    Unauthenticated,
    Unavailable,
)
from ilk.v1 import similarity_pb2 as pb

_STATUSES: dict[int, grpc.StatusCode] = {status.value[0]: status for status in grpc.StatusCode}
_SERVICE_ERRORS: dict[grpc.StatusCode, type[ServiceError]] = {
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    # The server's transport let the call go before anything was done with it.
    grpc.StatusCode.CANCELLED: Unavailable,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
}
# A dotted path as the wire names fields, such as "queries[3].profile.ratings", and what is wrong.
_FIELD_PROBLEM = re.compile(
    r"([a-z_][a-z_0-9]*(?:\[\d+\])?(?:\.[a-z_0-9]+(?:\[\d+\])?)*): (.+)", re.S
)
_QUOTED = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
_UNKNOWN_IDS = re.compile(rf"unknown (item|user)s? ({_QUOTED}(?:, {_QUOTED})*)(?: and \d+ more)?")


def error_from_rpc(rpc_error: grpc.RpcError) -> IlkError:
    """Return the error of Ilk's tree that a failed call stands for; raise it from ``rpc_error``."""
    code, details = getattr(rpc_error, "code", None), getattr(rpc_error, "details", None)
    if code is None or details is None:
        return ServiceError(f"the call failed without a status: {rpc_error!r}")
    return error_from_status(code().value[0], details() or "")


def error_from_query(error: pb.QueryError) -> IlkError:
    """Return the error of one query of a batch or stream, as its own call would have raised it."""
    return error_from_status(error.code, error.message, error.field)


def error_from_status(code: int, message: str, field: str = "") -> IlkError:
    """Return the error that a status stands for.

    Parameters
    ----------
    code
        A ``google.rpc.Code``; one this version does not know becomes a :class:`ServiceError`.
    message
        The status's text, kept as the error's.
    field
        The offending field where it is told apart from the text; else it is read from the text.
    """
    status = _STATUSES.get(code)
    if status is grpc.StatusCode.INVALID_ARGUMENT:
        return _invalid_request(message, field)
    if status is grpc.StatusCode.NOT_FOUND:
        return _not_found(message)
    name = f"status {code}" if status is None else status.name
    if status in _SERVICE_ERRORS:
        return _SERVICE_ERRORS[status](message or name)
    return ServiceError(f"{name}: {message}" if message else name)


def _invalid_request(message: str, field: str) -> InvalidRequest:
    if field:
        return InvalidRequest(field, message.removeprefix(f"{field}: "))
    told = _FIELD_PROBLEM.fullmatch(message)
    return InvalidRequest(*told.groups()) if told else InvalidRequest("", message)


def _not_found(message: str) -> NotFound:
    told = _UNKNOWN_IDS.fullmatch(message)
    kind, quoted = told.groups() if told else ("", "")
    try:
        ids = [ast.literal_eval(literal) for literal in re.findall(_QUOTED, quoted)]
    except (SyntaxError, ValueError):  # no server of ours says so
        ids = []
    error = NotFound(kind, *ids)
    # Rebuilt from the ids, the text would lose "and 3 more", or all of a text of another form.
    error.args = (message,)
    return error
