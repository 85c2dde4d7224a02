"""Knows which gRPC status each error of the tree becomes, and what a caller may read of it.

It refuses to know handlers. Whatever is not in the table is a fault of ours: its text stays here.
"""

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from ilk import errors
from ilk.v1 import similarity_pb2 as pb

# Metadata holds 8 KiB, and the text goes out three times, each character in up to three bytes.
_MAX_TEXT = 600

CODES: dict[type[errors.IlkError], int] = {
    errors.InvalidRequest: code_pb2.INVALID_ARGUMENT,
    errors.NotFound: code_pb2.NOT_FOUND,
    errors.Overloaded: code_pb2.RESOURCE_EXHAUSTED,
    errors.DeadlineExceeded: code_pb2.DEADLINE_EXCEEDED,
    errors.PermissionDenied: code_pb2.PERMISSION_DENIED,
    errors.Unavailable: code_pb2.UNAVAILABLE,
    errors.BundleMissing: code_pb2.UNAVAILABLE,
}


def code_of(error: errors.IlkError) -> int:
    """Return the ``google.rpc.Code`` of an error; INTERNAL for what no caller can mend."""
    for kind in type(error).__mro__:
        if kind in CODES:
            return CODES[kind]
    return int(code_pb2.INTERNAL)


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
        detail = any_pb2.Any()
        detail.Pack(error_details_pb2.BadRequest(field_violations=[violation]))
        status.details.append(detail)
    rich: grpc.Status = rpc_status.to_status(status)
    return rich


def to_query_error(error: errors.IlkError) -> pb.QueryError:
    """Return the error of one query of a batch or stream."""
    if is_ours(error):
        return pb.QueryError(code=code_pb2.INTERNAL, message="internal error")
    field = error.field if isinstance(error, errors.InvalidRequest) else ""
    return pb.QueryError(code=code_of(error), message=_short(str(error)), field=field)


def _short(text: str) -> str:
    """Cut what an answer's metadata cannot carry: gRPC drops calls whose status is too long."""
    return text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "..."
