"""Knows one call: what its handler sees of it, what is counted of it, and what the log says of it.

It refuses to know how calls are let in and ended (`guard`).
"""

import logging
import uuid
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import grpc

from server.access.terms import Terms
from server.load.admission import Patience
from server.observability.logs import cause_of
from server.observability.metrics import NO_KIND, Calls, Counts
from server.privacy.users import UserPrivacy

log = logging.getLogger("ilk.server")

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

REQUEST_ID: Final = "x-request-id"
_MAX_REQUEST_ID = 128


class ByKind(dict[str, Calls]):
    """The calls of one rpc by kind of query, each found in one look-up."""

    def __init__(self, counts: Counts, method: str) -> None:
        super().__init__()
        self._counts = counts
        self._method = method

    def __missing__(self, kind: str) -> Calls:
        self[kind] = calls = self._counts.of(self._method, kind)
        return calls


class Call:
    """One call, as its handler sees it; what the handler writes here is counted when it ends.

    Parameters
    ----------
    context
        gRPC's.
    by_kind
        Where queries of its rpc are counted.

    Attributes
    ----------
    terms
        On what terms its caller is answered; None: on any.
    left_s
        Seconds that were left until the deadline when the call began; None if there is none.
    kind
        Of query.
    code
        The name of the status that it ends with.
    search_s, requested, returned
        The time spent looking for neighbors; how many were asked for, and found.
    """

    __slots__ = (
        "_id",
        "by_kind",
        "code",
        "context",
        "kind",
        "left_s",
        "requested",
        "returned",
        "search_s",
        "terms",
    )

    def __init__(self, context: Context, by_kind: ByKind) -> None:
        self.context = context
        self.by_kind = by_kind
        self.left_s = context.time_remaining()
        self.terms: Terms | None = None
        self._id: str | None = None
        self.kind = NO_KIND
        self.code = "OK"
        self.search_s = 0.0
        self.requested = self.returned = 0

    def patience(self) -> Patience:
        """Return how long the caller will wait from now on."""
        return Patience(self.context.time_remaining())

    @property
    def privacy(self) -> UserPrivacy | None:
        """What is kept from the caller; None: nothing."""
        return None if self.terms is None else self.terms.privacy

    @property
    def metadata(self) -> dict[str, str]:
        """What the caller sent with the call, but for binary values."""
        pairs = self.context.invocation_metadata() or ()
        return {key: value for key, value in pairs if isinstance(value, str)}

    @property
    def request_id(self) -> str:
        """The caller's own name for the call, or one made here; what the log knows it by."""
        if self._id is None:
            told = self.metadata.get(REQUEST_ID, "")
            fit = told.isascii() and told.isprintable()
            self._id = told[:_MAX_REQUEST_ID] if told and fit else made_up_id()
        return self._id


Observer: TypeAlias = Callable[[str, Call, float], None]


def made_up_id() -> str:
    """Return a name for a call whose caller gave it none."""
    return uuid.uuid4().hex[:16]


def log_failure(request_id: str, error: BaseException) -> None:
    """Log a fault of ours under the call's request id, without what the caller sent."""
    cause = cause_of(error)
    log.error("request %s failed\n%s", request_id, cause, extra={"request_id": request_id})


def log_call(method: str, call: Call, took_s: float) -> None:
    """Leave a line in the log of a call that ended; an :data:`Observer`."""
    fields = {
        "request_id": call.request_id,
        "method": method,
        "kind": call.kind,
        "code": call.code,
        "took_ms": round(1e3 * took_s, 3),
    }
    if call.terms is not None:
        fields["caller"] = call.terms.name
    log.info("%(method)s %(code)s in %(took_ms)g ms, request %(request_id)s", fields, extra=fields)
