"""Knows every way Ilk can say no, and that nothing else may be raised across a room's door.

It refuses to know gRPC: one table in the server maps this tree to status codes, one in the client
maps them back.

::

    IlkError
    ├── InvalidRequest       the caller's query is wrong; names the field
    ├── NotFound             an id the bundle does not hold
    ├── DataError            input data is malformed; names file and line
    ├── SettingsError        flags, environment or settings file contradict themselves
    ├── BundleError          a bundle cannot be written, opened or believed
    │   ├── BundleMissing        there is nothing to open
    │   ├── BundleCorrupt        what is there is not what was published
    │   └── BundleUnsupported    written in a format this version does not read
    └── ServiceError         the call failed for reasons outside the query (client side)
        ├── Unavailable          nobody answered, or nobody is ready to
        ├── Overloaded           the server sheds load
        ├── DeadlineExceeded     the caller's time ran out
        └── PermissionDenied     not for this caller
            └── Unauthenticated      nobody knows the caller
"""

from typing import Any, TypeAlias, TypeVar

Error = TypeVar("Error", bound=BaseException)
_Made: TypeAlias = tuple[type, tuple[Any, ...]]


class IlkError(Exception):
    """Base of everything Ilk raises on purpose."""


class InvalidRequest(IlkError):
    """A query that can never be answered as it stands; change it before sending it again.

    Parameters
    ----------
    field
        Dotted path of the offending field as the wire names it, such as ``profile.ratings``.
    problem
        What was found and what was expected.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}" if field else problem)
        self.field = field
        self.problem = problem

    def __reduce__(self) -> _Made:
        """Return how it is made again, in another process too."""
        return type(self), (self.field, self.problem)


class NotFound(IlkError):
    """An id that the bundle does not hold.

    Parameters
    ----------
    kind
        ``"item"`` or ``"user"``.
    ids
        The unknown ids; the message names the first few, long ones cut short. A client is told only what
        the message says: to ask without them all, let unknown ids be ignored.
    """

    def __init__(self, kind: str, *ids: str) -> None:
        shown = ", ".join(repr(i if len(i) <= 80 else i[:77] + "...") for i in ids[:5])
        more = f" and {len(ids) - 5} more" if len(ids) > 5 else ""
        plural = "s" if len(ids) > 1 else ""
        super().__init__(f"unknown {kind}{plural} {shown}{more}")
        self.kind = kind
        self.ids = ids

    def __reduce__(self) -> _Made:
        """Return how it is made again, in another process too."""
        return type(self), (self.kind, *self.ids)


class DataError(IlkError):
    """Input data that cannot be used; the message names the file and, if known, the line."""

    def __init__(self, where: object, problem: str, line: int | None = None) -> None:
        at = f"{where}, line {line}" if line is not None else f"{where}"
        super().__init__(f"{at}: {problem}")
        self.where = where
        self.problem = problem
        self.line = line

    def __reduce__(self) -> _Made:
        """Return how it is made again, in another process too."""
        return type(self), (str(self.where), self.problem, self.line)


class SettingsError(IlkError):
    """Settings that are out of range or contradict each other."""


class BundleError(IlkError):
    """A bundle that cannot be written, opened or believed."""


class BundleMissing(BundleError):
    """There is no bundle where one was looked for."""


class BundleCorrupt(BundleError):
    """The files are not the ones that were published: a checksum, a shape or a range is off."""


class BundleUnsupported(BundleError):
    """The bundle's format is not one this version reads."""


class ServiceError(IlkError):
    """The call failed for reasons outside the query; the same query may succeed later."""


class Unavailable(ServiceError):
    """The server cannot be reached, or has no bundle yet, or is stopping."""


class Overloaded(ServiceError):
    """The server sheds load, or the message is too large."""


class DeadlineExceeded(ServiceError):
    """The call's time ran out."""


class PermissionDenied(ServiceError):
    """The caller is not allowed to ask this."""


class Unauthenticated(PermissionDenied):
    """Nobody knows the caller: its token or certificate is missing, wrong or out of date."""


def let_go(error: Error) -> Error:
    """Return an error that is to be kept, without where it came from.

    The frames on the way hold what was asked and the bundle, and are held by it.
    """
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error
