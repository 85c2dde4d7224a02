"""Knows on what terms one caller is answered: what it may ask, how much, and what it is told of users.

It refuses to know how the caller proved who it is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ilk.bundle import Bundle
from ilk.errors import PermissionDenied, Unauthenticated
from ilk.types import Profile, Query, Target, UserId
from server.access.callers import Scope
from server.access.limits import Limit
from server.bundles.cost import PER_QUERY
from server.privacy.users import UserPrivacy

NO_USERS: Final = "this caller may not ask for users: it lacks the scope query-users"
NO_USERS_HERE: Final = "this server answers no query for users: it does not know its callers"
NO_SEEN: Final = (
    "exclude_seen tells who has rated what: beside query-users it needs the scope query"
)
NO_ITEMS: Final = "this caller may not ask for items: it lacks the scope query"


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for one caller.

    Attributes
    ----------
    name
        The caller's, for the log.
    scopes
        What it may do.
    no_users
        What it is told if it asks for users and may not.
    holds
        Whether it is still a caller; asked again and again as long as a stream lasts.
    limit
        How much it may ask for; None: anything.
    privacy
        What is kept from it of the users it asks for; None: nothing.
    """

    name: str
    scopes: frozenset[Scope]
    no_users: str
    holds: Callable[[], bool]
    limit: Limit | None = None
    privacy: UserPrivacy | None = None

    def allow(self, query: Query) -> None:
        """Raise PermissionDenied if the caller may not ask a query."""
        refusal = self.refusal(query)
        if refusal is not None:
            raise PermissionDenied(refusal)

    def charge(self, cost: int) -> None:
        """Take note of what is asked for."""
        if self.limit is not None:
            self.limit.charge(cost)

    def go_on(self, n_queries: int) -> None:
        """Take note that ``n_queries`` come late in a call.

        Raises
        ------
        Unauthenticated
            If the caller is none any more.
        RateLimited
            If it has asked for too much.
        """
        if not self.holds():
            raise Unauthenticated("the caller's access has ended")
        if self.limit is not None:
            self.limit.check(n_queries)
            self.limit.charge(PER_QUERY * n_queries)

    def rater(self, bundle: Bundle, rater: UserId | Profile) -> UserId | Profile:
        """Return whom the caller means.

        Raises
        ------
        NotFound
            If it may not know a user by such an id.
        """
        if self.privacy is None or not isinstance(rater, UserId):
            return rater
        return self.privacy.true_user(bundle, rater)

    def refusal(self, query: Query) -> str | None:
        """Return why the caller may not ask a query; None if it may."""
        if query.target is Target.USERS:
            if Scope.QUERY_USERS not in self.scopes:
                return self.no_users
            tells_seen = query.filter.exclude_seen and Scope.QUERY not in self.scopes
            return NO_SEEN if tells_seen else None
        return None if Scope.QUERY in self.scopes else NO_ITEMS
