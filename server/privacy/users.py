"""Knows what is kept from callers who may ask for users: whose id it is, and who stands out.

It refuses to know who calls, and how neighbors are found. What is asked is put to the kernel in true ids,
and what it finds is told in pseudonyms, in crowds and in coarse scores, as far as each is on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ilk.bundle import Bundle
from ilk.errors import IlkError, InvalidRequest, NotFound, let_go
from ilk.query import answer, answer_many
from ilk.types import (
    MAX_ID_BYTES,
    MAX_NEIGHBORS,
    NO_FILTER,
    Examples,
    Filter,
    ItemId,
    Neighbors,
    Profile,
    Query,
    Shortfall,
    ShortfallReason,
    Target,
    UserId,
)
from server.privacy.crowds import in_crowds, rounded
from server.privacy.pseudonyms import Pseudonyms, read_pseudonyms
from server.settings import ServerSettings

# Equal scores are told in an order of their own as far as this, however few are asked for.
_ROUNDED_DEPTH = 100
# Longer than any id, and so nobody's.
_NOBODY = "?" * (MAX_ID_BYTES + 1)
# For what only has to cost the same whoever is named; an id that may be.
_UNKNOWN = "?"


@dataclass(frozen=True, slots=True)
class UserPrivacy:
    """What is kept from a caller.

    Attributes
    ----------
    pseudonyms
        What users are called; None: by their ids.
    crowd
        Users among whom each neighbor must not stand out; 1: none.
    score_step
        What told scores are multiples of; 0: they are exact.
    """

    pseudonyms: Pseudonyms | None = None
    crowd: int = 1
    score_step: float = 0.0

    def answer(self, bundle: Bundle, query: Query) -> Neighbors:
        """Return the answer to a query as it may be told; errors as :func:`ilk.query.answer`."""
        asked, rare = self._true_query(bundle, query)
        if asked is None:
            return self._withheld(bundle, query, rare)
        return self._told(query, answer(bundle, asked), rare)

    def answer_many(self, bundle: Bundle, queries: Sequence[Query]) -> list[Neighbors | IlkError]:
        """Return the answer to each query as it may be told, or its error."""
        outcomes: list[Neighbors | IlkError | None] = [None] * len(queries)
        asked: list[tuple[int, Query, tuple[str, ...]]] = []
        for at, query in enumerate(queries):
            try:
                true, rare = self._true_query(bundle, query)
            except IlkError as error:
                outcomes[at] = let_go(error)
                continue
            if true is None:
                outcomes[at] = self._withheld(bundle, query, rare)
            else:
                asked.append((at, true, rare))
        found = answer_many(bundle, [true for _, true, _ in asked])
        for (at, _, rare), outcome in zip(asked, found, strict=True):
            if isinstance(outcome, Neighbors):
                outcome = self._told(queries[at], outcome, rare)
            outcomes[at] = outcome
        return outcomes  # type: ignore[return-value]

    def meant(self, query: Query) -> Query:
        """Return the query about whom a pseudonym in it stands for; what is none stands for nobody."""
        if self.pseudonyms is None or not isinstance(query.whom, UserId):
            return query
        true_id = self.pseudonyms.user_id(query.whom.user_id)
        return query.about(true_id or _UNKNOWN)

    def true_user(self, bundle: Bundle, user: UserId) -> UserId:
        """Return the user that a caller means.

        Raises
        ------
        NotFound
            If the caller knows none by that name; the true id is in no message.
        """
        if self.pseudonyms is None:
            return user
        true_id = self.pseudonyms.user_id(user.user_id)
        if not true_id or bundle.users.vocabulary.row_of(true_id) < 0:
            raise NotFound("user", user.user_id)
        return UserId(true_id)

    def _true_query(self, bundle: Bundle, query: Query) -> tuple[Query | None, tuple[str, ...]]:
        """Return what is put to the kernel, and items that are passed over because few rated them.

        The query is None if nobody may be told of.
        """
        whom = query.whom
        if isinstance(whom, UserId):
            query = replace(query, whom=self.true_user(bundle, whom))
        if query.target is not Target.USERS:
            return query, ()
        query = replace(query, filter=self._true_filter(query.filter))
        if self.crowd == 1:
            return (self._deeper(query) if self.score_step else query), ()
        common, rare = self._common(bundle, query)
        return None if common is None else self._whole_crowds(common), rare

    def _true_filter(self, asked: Filter) -> Filter:
        if asked is NO_FILTER or asked == NO_FILTER:
            return asked
        if self.crowd > 1:
            # Two answers that differ by one user, or by who has rated, would tell of that user alone.
            raise InvalidRequest("filter", "users cannot be filtered where they are told in crowds")
        if self.pseudonyms is None:
            return asked
        include, exclude = (
            tuple(self.pseudonyms.user_id(told) or _NOBODY for told in ids)
            for ids in (asked.include_ids, asked.exclude_ids)
        )
        return replace(asked, include_ids=include, exclude_ids=exclude)

    def _common(self, bundle: Bundle, query: Query) -> tuple[Query | None, tuple[str, ...]]:
        """Return the query without the items that fewer than a crowd have rated, and those items."""
        whom = query.whom
        if isinstance(whom, ItemId):
            rare = self._rare(bundle, (whom.item_id,))
            return (None if rare else query), tuple(rare)
        if isinstance(whom, Examples):
            rare = self._rare(bundle, whom.positive_item_ids + whom.negative_item_ids)
            positive = _without(rare, whom.positive_item_ids)
            if not positive:
                return None, tuple(rare)
            negative = _without(rare, whom.negative_item_ids)
            return replace(query, whom=Examples(positive, negative)), tuple(rare)
        if isinstance(whom, Profile):
            rated = tuple(rating.item_id for rating in whom.ratings)
            rare = self._rare(bundle, rated + whom.liked_item_ids + whom.disliked_item_ids)
            ratings = tuple(r for r in whom.ratings if r.item_id not in rare)
            liked = _without(rare, whom.liked_item_ids)
            disliked = _without(rare, whom.disliked_item_ids)
            if not (ratings or liked or disliked or whom.favorite_genres):
                return None, tuple(rare)
            common = replace(
                whom, ratings=ratings, liked_item_ids=liked, disliked_item_ids=disliked
            )
            return replace(query, whom=common), tuple(rare)
        return query, ()

    def _rare(self, bundle: Bundle, item_ids: Sequence[str]) -> dict[str, None]:
        """Return, in order, the items of the bundle that fewer than a crowd have rated."""
        rows = bundle.items.vocabulary.rows_of(item_ids)
        ends = bundle.ratings_by_item.indptr
        n_raters = np.where(rows < 0, self.crowd, ends[rows + 1] - ends[rows])
        return {item_ids[at]: None for at in np.flatnonzero(n_raters < self.crowd).tolist()}

    def _whole_crowds(self, query: Query) -> Query:
        """Return the query for all crowds, from the first on, that the asked places are in."""
        n_crowds = -(-(query.offset + query.neighbor_count) // self.crowd)
        most = MAX_NEIGHBORS // self.crowd
        return replace(query, offset=0, neighbor_count=min(n_crowds, most) * self.crowd)

    def _deeper(self, query: Query) -> Query:
        depth = max(query.offset + query.neighbor_count, _ROUNDED_DEPTH)
        return replace(query, offset=0, neighbor_count=min(depth, MAX_NEIGHBORS))

    def _told(self, query: Query, found: Neighbors, rare: tuple[str, ...]) -> Neighbors:
        """Return what is told of what was found."""
        if query.target is not Target.USERS:
            return found
        told = list(found.neighbors)
        if self.pseudonyms is not None:
            told = [n._replace(id=self.pseudonyms.of(n.id)) for n in told]
        if self.crowd > 1:
            told = in_crowds(told, self.crowd)
        if self.score_step:
            told = rounded(told, self.score_step, crowded=self.crowd > 1)
        if self.crowd > 1 or self.score_step:
            told = told[query.offset : query.offset + query.neighbor_count]
        shortfall = self._shortfall(query, len(told), found.shortfall)
        ignored = found.ignored_ids + rare
        return replace(found, neighbors=told, shortfall=shortfall, ignored_ids=ignored)

    def _withheld(self, bundle: Bundle, query: Query, rare: tuple[str, ...]) -> Neighbors:
        """Return the answer that tells of nobody."""
        weight = query.content_weight
        if weight is None:
            weight = bundle.manifest.default_content_weight
        return Neighbors((), bundle.version, weight, self._shortfall(query, 0, None), rare)

    def _shortfall(self, query: Query, n_told: int, found: Shortfall | None) -> Shortfall | None:
        """Return why fewer are told than were asked for; ``found`` says why fewer were found."""
        n_asked = query.neighbor_count
        if n_told == n_asked:
            return None
        if self.crowd == 1:
            if found is None:
                return None
            # What was found goes deeper than what was asked for.
            message = f"{n_told} of {n_asked}: {found.message.partition(': ')[2]}"
            return Shortfall(n_asked, n_told, found.reason, message)
        message = f"{n_told} of {n_asked}: answers about fewer than {self.crowd} users are withheld"
        return Shortfall(n_asked, n_told, ShortfallReason.WITHHELD, message)


def open_privacy(settings: ServerSettings) -> UserPrivacy | None:
    """Return what the settings keep from callers; None: nothing.

    Raises
    ------
    SettingsError
        If the file of the key holds none.
    """
    path = settings.pseudonym_key
    pseudonyms = None if path is None else read_pseudonyms(path)
    privacy = UserPrivacy(pseudonyms, settings.users_crowd, settings.users_score_step)
    return None if privacy == UserPrivacy() else privacy


def _without(rare: dict[str, None], item_ids: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(item_id for item_id in item_ids if item_id not in rare)
