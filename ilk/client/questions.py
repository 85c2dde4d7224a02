"""Knows how the usual questions are phrased: items alike, users alike, recommendations, audience.

It refuses to know how a question is asked and answered; the clients do.
"""

import abc
from dataclasses import replace
from typing import TYPE_CHECKING, Generic, TypedDict, TypeVar

from ilk.types import (
    DEFAULT_NEIGHBORS,
    Accuracy,
    Filter,
    ItemId,
    Profile,
    Query,
    Target,
    UserId,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

Answer = TypeVar("Answer")


class QueryOptions(TypedDict, total=False):
    """The fields of a :class:`Query` that the convenient questions pass on."""

    content_weight: float | None
    filter: Filter
    offset: int
    accuracy: Accuracy | None
    diversity: float
    popularity_penalty: float
    include_components: bool
    include_explanation: bool
    ignore_unknown_ids: bool


class Questions(abc.ABC, Generic[Answer]):
    """The usual questions, each phrased as a :class:`Query`; ``Answer`` is how it is answered."""

    @abc.abstractmethod
    def find_neighbors(self, query: Query) -> Answer:
        """Return what is nearest to whom, as ``query`` says."""

    def similar_items(
        self, item_id: str, count: int = DEFAULT_NEIGHBORS, **options: "Unpack[QueryOptions]"
    ) -> Answer:
        """Return the ``count`` items most like an item."""
        return self.find_neighbors(Query(ItemId(item_id), neighbor_count=count, **options))

    def similar_users(
        self, user_id: str, count: int = DEFAULT_NEIGHBORS, **options: "Unpack[QueryOptions]"
    ) -> Answer:
        """Return the ``count`` users most like a user."""
        whom = UserId(user_id)
        return self.find_neighbors(Query(whom, Target.USERS, neighbor_count=count, **options))

    def recommend(
        self,
        user: str | Profile,
        count: int = DEFAULT_NEIGHBORS,
        *,
        exclude_seen: bool = True,
        **options: "Unpack[QueryOptions]",
    ) -> Answer:
        """Return ``count`` items for a user of the bundle (by id) or for anybody's profile.

        ``exclude_seen`` rules over the same field of ``filter``.
        """
        whom = user if isinstance(user, Profile) else UserId(user)
        query = Query(whom, neighbor_count=count, **options)
        unseen = replace(query.filter, exclude_seen=exclude_seen)
        return self.find_neighbors(replace(query, filter=unseen))

    def audience(
        self, item_id: str, count: int = DEFAULT_NEIGHBORS, **options: "Unpack[QueryOptions]"
    ) -> Answer:
        """Return the ``count`` users whom an item would please most."""
        whom = ItemId(item_id)
        return self.find_neighbors(Query(whom, Target.USERS, neighbor_count=count, **options))
