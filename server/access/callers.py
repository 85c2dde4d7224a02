"""Knows who a server's callers are: how each proves who they are, and what they may ask.

It refuses to know calls. Of a token it knows the SHA-256 alone: whoever reads the file learns nothing
that would let them in.
"""

import enum
import hashlib
import json
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Final

from ilk.errors import SettingsError

# So that a token that has leaked is known for one, by people and by scanners.
_PREFIX: Final = "ilk_"
# Of randomness: with 32 bytes there is nothing to guess, so that a slow hash would only cost time.
_TOKEN_BYTES: Final = 32
_MAX_TOKEN_CHARS: Final = 256
_FIELDS: Final = {"name", "scopes", "token_sha256", "certificate", "expires_at", "cost_per_s"}


class Scope(str, enum.Enum):
    """What a caller may do; none includes another."""

    QUERY = "query"
    QUERY_USERS = "query-users"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Caller:
    """One caller.

    Parameters
    ----------
    name
        What the log and the limits know it by.
    scopes
        What it may do.
    token_sha256
        The SHA-256 of its token, in hexadecimal; None: no token is its.
    certificate
        The name in its client certificate: a subject alternative name or the common name.
    expires_at_s
        When it stops being a caller, in Unix seconds; None: never.
    cost_per_s
        Its own rate limit, in multiplications a second; None: the server's.

    Raises
    ------
    SettingsError
        If a field makes no sense.
    """

    name: str
    scopes: frozenset[Scope]
    token_sha256: str | None = None
    certificate: str | None = None
    expires_at_s: float | None = None
    cost_per_s: float | None = None

    def __post_init__(self) -> None:
        if not self.name or not self.name.isprintable() or len(self.name) > 128:
            raise SettingsError(
                f"a caller's name must be 1 to 128 printable characters, got {self.name!r}"
            )
        if self.token_sha256 is not None and not _is_sha256(self.token_sha256):
            raise SettingsError(f"caller {self.name!r}: token_sha256 must be 64 hexadecimal digits")
        if self.certificate is not None and not (
            isinstance(self.certificate, str) and self.certificate
        ):
            raise SettingsError(f"caller {self.name!r}: certificate must be a name")
        if self.cost_per_s is not None and not 1 <= self.cost_per_s < float("inf"):
            raise SettingsError(
                f"caller {self.name!r}: cost_per_s must be a number of 1 or more, got {self.cost_per_s}"
            )

    @property
    def has_expired(self) -> bool:
        """Whether its time is over."""
        return self.expires_at_s is not None and time.time() >= self.expires_at_s


class Callers:
    """Everybody who may call.

    Parameters
    ----------
    callers
        In any order; names, tokens and certificates of their own.

    Raises
    ------
    SettingsError
        If two share a name, a token or a certificate.
    """

    def __init__(self, callers: Iterable[Caller] = ()) -> None:
        self.all = tuple(callers)
        for what in ("name", "token_sha256", "certificate"):
            told = [getattr(caller, what) for caller in self.all]
            told = [value for value in told if value is not None]
            if what == "token_sha256":
                told = [value.lower() for value in told]
            if len(set(told)) < len(told):
                twice = next(value for value in told if told.count(value) > 1)
                raise SettingsError(f"two callers have the {what} {twice!r}; remove one of them")
        self._of_digest = {
            bytes.fromhex(c.token_sha256): c for c in self.all if c.token_sha256 is not None
        }
        self._of_certificate = {c.certificate: c for c in self.all if c.certificate is not None}

    def of_token(self, token: str) -> Caller | None:
        """Return whose token it is; None if it is nobody's, or its time is over.

        Notes
        -----
        How long this takes says nothing of the tokens there are: what is looked up is the hash of what
        was sent, which its sender cannot steer.
        """
        if len(token) > _MAX_TOKEN_CHARS:
            return None
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        caller = self._of_digest.get(digest)
        return None if caller is None or caller.has_expired else caller

    def of_certificate(self, names: Iterable[str]) -> Caller | None:
        """Return whose certificate has one of ``names``; None as for tokens."""
        for name in names:
            caller = self._of_certificate.get(name)
            if caller is not None:
                return None if caller.has_expired else caller
        return None


def new_token() -> tuple[str, str]:
    """Return a new token, and its SHA-256 in hexadecimal."""
    token = _PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)
    return token, hashlib.sha256(token.encode()).hexdigest()


def parse_callers(data: bytes) -> Callers:
    """Return the callers in the bytes of a file.

    Raises
    ------
    SettingsError
        If they are no callers; the message says which, and holds no token.
    """
    try:
        told = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"the callers are no JSON: {error}") from error
    if not isinstance(told, dict) or not isinstance(told.get("callers"), list):
        raise SettingsError('the callers must be {"callers": [...]}; see python -m server.callers')
    return Callers(map(_caller, told["callers"]))


def to_bytes(callers: Callers) -> bytes:
    """Return what :func:`parse_callers` reads."""
    told = [_fields(caller) for caller in callers.all]
    return (json.dumps({"callers": told}, indent=1) + "\n").encode()


def parse_time(text: str) -> float:
    """Return a moment such as ``2027-01-31`` or ``2027-01-31T12:00:00Z`` in Unix seconds; UTC.

    Raises
    ------
    SettingsError
        If it is none.
    """
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except (ValueError, AttributeError) as error:
        raise SettingsError(f"{text!r} is no time; write 2027-01-31T12:00:00Z") from error
    told_s = (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
    try:
        datetime.fromtimestamp(told_s, timezone.utc)
    except (OverflowError, ValueError) as error:
        raise SettingsError(f"{text!r} is not of the years 1 to 9999 in UTC") from error
    return told_s


def _caller(told: Any) -> Caller:
    if not isinstance(told, dict) or not isinstance(told.get("name"), str):
        raise SettingsError("each caller must be an object with a name")
    name, expires_at = told["name"], told.get("expires_at")
    if unknown := told.keys() - _FIELDS:
        raise SettingsError(f"caller {name!r}: unknown field {min(unknown)!r}")
    try:
        scopes = frozenset(map(Scope, told.get("scopes", ())))
        caller = Caller(
            name,
            scopes,
            told.get("token_sha256"),
            told.get("certificate"),
            None if expires_at is None else parse_time(expires_at),
            None if told.get("cost_per_s") is None else float(told["cost_per_s"]),
        )
    except (TypeError, ValueError, OverflowError) as error:
        raise SettingsError(
            f"caller {name!r}: {error}; scopes are {', '.join(scope.value for scope in Scope)}"
        ) from error
    if caller.token_sha256 is None and caller.certificate is None:
        raise SettingsError(f"caller {name!r} needs token_sha256 or certificate, to be known by")
    return caller


def _fields(caller: Caller) -> dict[str, object]:
    expires_at = None
    if caller.expires_at_s is not None:
        moment = datetime.fromtimestamp(caller.expires_at_s, timezone.utc)
        expires_at = moment.isoformat().replace("+00:00", "Z")
    told = {
        "name": caller.name,
        "scopes": sorted(scope.value for scope in caller.scopes),
        "token_sha256": caller.token_sha256,
        "certificate": caller.certificate,
        "expires_at": expires_at,
        "cost_per_s": caller.cost_per_s,
    }
    return {name: value for name, value in told.items() if value is not None}


def _is_sha256(text: object) -> bool:
    return (
        isinstance(text, str)
        and len(text) == 64
        and all(digit in "0123456789abcdefABCDEF" for digit in text)
    )
