"""Knows who calls, and lets in who may.

It refuses to know what is asked beyond the rpc: that is weighed by the caller's terms.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ilk.errors import PermissionDenied, Unauthenticated
from server.access.callers import Caller, Callers, Scope, parse_callers
from server.access.limits import Ledger, Limit
from server.access.terms import NO_USERS, NO_USERS_HERE, Terms
from server.address import is_loopback
from server.bundles.cost import PER_BYTE, PER_QUERY
from server.observability.metrics import Counts
from server.privacy.users import UserPrivacy, open_privacy
from server.settings import ServerSettings

if TYPE_CHECKING:
    from server.calls.call import Call, Context

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")

MISSING: Final = "this server answers known callers: send 'authorization: Bearer TOKEN'"
UNKNOWN: Final = "the token is unknown, or has expired"
UNLISTED: Final = "the client certificate is not that of a known caller, and no token came"
FORBIDDEN: Final = "this caller lacks the scope for this rpc"

_ASKERS: Final = frozenset({Scope.QUERY, Scope.QUERY_USERS})
# Any one of them is enough. What is not listed, such as reflection, is for administrators.
SCOPES_OF: Final[dict[str, frozenset[Scope]]] = {
    "FindNeighbors": _ASKERS,
    "BatchFindNeighbors": _ASKERS,
    "StreamFindNeighbors": _ASKERS,
    "PredictRatings": frozenset({Scope.QUERY}),
    "SearchTitles": _ASKERS,
    "GetItems": _ASKERS,
    "GetBundle": _ASKERS | {Scope.ADMIN},
}
_ADMINISTRATORS: Final = frozenset({Scope.ADMIN})
_BEARER: Final = "bearer "
# Terms are kept for so many callers; where anybody may call, that is addresses.
_MAX_KEPT: Final = 10_000


class Access:
    """Lets callers in.

    Parameters
    ----------
    settings
        How callers are known, and what holds for all of them.
    ledger
        What they have asked for lately.
    counts
        Where refusals for their rates are counted.
    """

    def __init__(self, settings: ServerSettings, ledger: Ledger, counts: Counts) -> None:
        self._settings = settings
        self._ledger = ledger
        self._counts = counts
        self._privacy: UserPrivacy | None = open_privacy(settings)
        self._callers: Callers | None = None
        self._anybody = Caller("anybody", self._scopes_of_anybody())
        self._kept: dict[str, tuple[Caller, Terms]] = {}

    def load(self, files: Sequence[bytes]) -> None:
        """Take the bytes of a file of callers into force; SettingsError if they are none."""
        (data,) = files
        self._callers = parse_callers(data)
        self._kept = {}

    def admitted(
        self, method: str, handler: "Callable[[Asked, Call], Awaitable[Answered]]"
    ) -> "Callable[[Asked, Call], Awaitable[Answered]]":
        """Return what does as ``handler`` for callers that may use the rpc.

        Errors as :meth:`check`.
        """
        scopes = SCOPES_OF.get(method, _ADMINISTRATORS)

        async def admitted(asked: Asked, call: "Call") -> Answered:
            checked: Terms | None = getattr(call.context, "terms", None)
            # Known before it is checked: the log tells who it is that asks too much.
            call.terms = terms = checked or self.terms_for(call.context, scopes)
            if terms.limit is not None:
                if checked is None:
                    terms.limit.check()
                n_bytes = len(asked) if isinstance(asked, bytes) else 0
                terms.limit.charge(PER_QUERY + PER_BYTE * n_bytes)
            return await handler(asked, call)

        return admitted

    def check(self, method: str, context: Any) -> None:
        """Tell the context on what terms the caller of an rpc is answered; see that it may call it now.

        Raises
        ------
        Unauthenticated, PermissionDenied
            As :meth:`terms_for`.
        RateLimited
            If it has asked for too much lately.
        """
        terms = self.terms_for(context, SCOPES_OF.get(method, _ADMINISTRATORS))
        context.terms = terms
        if terms.limit is not None:
            terms.limit.check()

    def terms_for(self, context: "Context", scopes: frozenset[Scope] = _ADMINISTRATORS) -> Terms:
        """Return on what terms the caller is answered.

        Raises
        ------
        Unauthenticated
            If nobody knows it.
        PermissionDenied
            If it has none of ``scopes``.
        """
        caller, key = self._who(context)
        if not scopes & caller.scopes:
            raise PermissionDenied(FORBIDDEN)
        kept = self._kept.get(key)
        if kept is None or kept[0] is not caller:
            if len(self._kept) >= _MAX_KEPT:
                self._kept.clear()
            kept = self._kept[key] = (caller, self._terms(caller, key))
        return kept[1]

    def _who(self, context: "Context") -> tuple[Caller, str]:
        """Return who calls, and what it is limited as."""
        if self._callers is None:
            if self._settings.tls_client_ca is None:
                return self._anybody, f"address {_address_of(context.peer())}"
            # Any certificate that the authority signed is good for queries.
            names = certificate_names(context)
            key = f"certificate {names[0] if names else ''}"
            kept = self._kept.get(key)
            caller = kept[0] if kept else Caller(_printable(key), frozenset({Scope.QUERY}))
            return caller, key
        token = bearer_token(context)
        if token is not None:
            found, why = self._callers.of_token(token), UNKNOWN
        else:
            names = certificate_names(context)
            found, why = self._callers.of_certificate(names), UNLISTED if names else MISSING
        if found is None:
            raise Unauthenticated(why)
        return found, f"caller {found.name}"

    def _terms(self, caller: Caller, key: str) -> Terms:
        settings = self._settings
        cost_per_s = caller.cost_per_s or settings.rate_limit
        return Terms(
            caller.name,
            caller.scopes,
            NO_USERS if settings.knows_callers else NO_USERS_HERE,
            lambda: self._holds(caller),
            None
            if cost_per_s is None
            else Limit(self._ledger, key, cost_per_s, settings.burst_s, self._counts),
            # Who may not see users knows them by their true ids, as its own.
            self._privacy if Scope.QUERY_USERS in caller.scopes else None,
        )

    def _holds(self, caller: Caller) -> bool:
        """Whether somebody who was let in would be again."""
        callers = self._callers
        return not caller.has_expired and (callers is None or caller in callers.all)

    def _scopes_of_anybody(self) -> frozenset[Scope]:
        everything = frozenset(Scope)
        alone = is_loopback(self._settings.host)
        return everything if alone else everything - {Scope.QUERY_USERS}


def bearer_token(context: "Context") -> str | None:
    """Return the token that came with a call."""
    for key, value in context.invocation_metadata() or ():
        if key == "authorization" and isinstance(value, str):
            if value[: len(_BEARER)].lower() == _BEARER:
                return value[len(_BEARER) :].strip()
    return None


def certificate_names(context: "Context") -> list[str]:
    """Return the names in the client's certificate: the alternative ones, then the common one."""
    told = context.auth_context()
    found = [*told.get("x509_subject_alternative_name", ()), *told.get("x509_common_name", ())]
    return [name.decode("utf-8", "replace") for name in found]


def _printable(name: str) -> str:
    """Return a caller's name for the log; what is in a certificate may be anything."""
    return "".join(c if c.isprintable() else "?" for c in name[:128])


def _address_of(peer: str) -> str:
    """Return the address in what gRPC calls a peer, without the port."""
    return peer.rpartition(":")[0]
