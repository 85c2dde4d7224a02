"""Knows what a query will cost before it is planned, in multiplications.

It refuses to know time: how long a multiplication takes is measured by who runs it. A guess is enough,
but it must cost next to nothing. What a search of an index costs is told by what the build measured, as a
share of what comparing with all rows does.
"""

import functools

import numpy as np

from ilk.ann import IndexSpec, least_us
from ilk.bundle import Bundle
from ilk.query.plan import MAX_OVERFETCH, pool_for, room_for
from ilk.query.strangers import HARDER
from ilk.space import SPACE_KEYS, SpaceKey, n_well_known
from ilk.types import (
    Examples,
    ItemId,
    PredictionMethod,
    Profile,
    Query,
    Target,
    Text,
    UserId,
)
from server.bundles.titles import MOST_COMPARED

# All in the time of multiplications. What finding and writing down one neighbor takes; and if its
# components, or the reasons for it, are told.
_PER_NEIGHBOR = 5_000
_PER_COMPONENTS = 12_000
_PER_EXPLAINED = 100_000
# What re-ranking takes for each neighbor that it chooses from, and each that it chooses.
_PER_CANDIDATE = 8_000
_PER_CHOICE = 10_000
_PER_DIVERSE_CHOICE = 30_000
# What one prediction, comparing with one title, passing one over, and telling of an item take.
_PER_PREDICTION = 1_000_000
_PER_COMPARED_TITLE = 10_000
_PER_TITLE = 100
_PER_ITEM = 25_000
# What finding an id and passing a row over take, reading an example, one rating of many or one from
# anywhere, and comparing one number with others.
_PER_ID = 1_000
_PER_EXAMPLE = 6_000
_PER_RATING = 20
_PER_RATING_READ = 100
_PER_WEIGHT = 20
# What a query takes however small the bundle is.
PER_QUERY = 50_000
# What reading a byte of a request takes, whatever becomes of it.
PER_BYTE = 100
# Shapes of queries are the callers' to choose: so many are remembered.
_MOST_SHAPES = 1024
_OF_ITEMS = (ItemId, Examples, Text)


class Costs:
    """What queries of one bundle cost.

    Parameters
    ----------
    bundle
        The bundle.

    Attributes
    ----------
    usual
        What a query for items takes that asks for nothing out of the ordinary.
    of_titles
        What a search of titles takes.
    """

    def __init__(self, bundle: Bundle) -> None:
        manifest = bundle.manifest
        self._bundle = bundle
        self._by_effort = {key: _by_effort(bundle, key) for key in SPACE_KEYS}
        # Of the well known, and of others.
        self._by_shape: dict[object, tuple[int, int]] = {}
        self._n_well_known: dict[type, int] = {
            kind: n_well_known(len(side))
            for kind, side in ((ItemId, bundle.items), (UserId, bundle.users))
        }
        self._per_entry = manifest.n_factors**2
        n_compared = min(manifest.n_items, MOST_COMPARED)
        self.of_titles = (
            PER_QUERY + _PER_COMPARED_TITLE * n_compared + _PER_TITLE * manifest.n_items
        )
        self.usual = max(self.of(Query(whom)) for whom in (ItemId("any"), UserId("any")))

    def of(self, query: Query, its_id: str | None = None) -> int:
        """Return about how many multiplications the query takes, or one like it about ``its_id``."""
        shape = query.shape
        if shape is None:
            return self._of(query if its_id is None else query.about(its_id))
        if its_id is None:
            its_id = query.its_id
        if query.filter.exclude_seen and self._has_seen_much(its_id):
            return self._of(query.about(its_id))
        costs = self._by_shape.get(shape)
        if costs is None:
            if len(self._by_shape) >= _MOST_SHAPES:
                self._by_shape.clear()
            costs = self._of(query, well_known=True), self._of(query, well_known=False)
            self._by_shape[shape] = costs
        of_well_known, of_others = costs
        if of_well_known == of_others:
            return of_others
        kind = type(query.whom)
        side = self._bundle.items if kind is ItemId else self._bundle.users
        is_well_known = 0 <= side.vocabulary.row_of(its_id) < self._n_well_known[kind]
        return of_well_known if is_well_known else of_others

    def of_predictions(
        self, rater: UserId | Profile, n_items: int, method: PredictionMethod
    ) -> int:
        """Return about how many multiplications predictions for ``n_items`` items take."""
        n_rated = self._n_rated(rater)
        if method is PredictionMethod.COSINE_KNN:
            for_rated = _PER_RATING_READ * self._n_raters * n_rated
        else:
            for_rated = (self._bundle.manifest.n_factors + _PER_WEIGHT) * n_rated * n_items
        return PER_QUERY + _PER_PREDICTION * n_items + int(for_rated)

    @staticmethod
    def of_items(n_items: int) -> int:
        """Return about how many multiplications telling of ``n_items`` items takes."""
        return PER_QUERY + _PER_ITEM * n_items

    def _n_rated(self, whom: UserId | Profile) -> int:
        if type(whom) is UserId:
            row = self._bundle.users.vocabulary.row_of(whom.user_id)
            return self._bundle.ratings_by_user.count(row) if row >= 0 else 0
        assert type(whom) is Profile
        return len(whom.ratings) + len(whom.liked_item_ids) + len(whom.disliked_item_ids)

    @functools.cached_property
    def _n_raters(self) -> float:
        """How many have rated an item, on average over all ratings."""
        counts = np.diff(self._bundle.ratings_by_item.indptr).astype(np.float64)
        return float(np.square(counts).sum() / max(counts.sum(), 1))

    def _of(self, query: Query, *, well_known: bool | None = None) -> int:
        """Return what a query costs, or any of its shape if who asks is ``well_known``, or is not."""
        cost = PER_QUERY + _PER_NEIGHBOR * (query.neighbor_count + query.offset)
        if query.shape is None:
            cost += self._of_reading(query) + self._of_telling(query)
        if well_known is None:
            cost += _PER_ID * self._n_excluded(query)
        return cost + self._of_search(query, well_known=well_known)

    def _of_reading(self, query: Query) -> int:
        """Return what it takes to know where who asks stands, and what may come back."""
        whom, wanted = query.whom, query.filter
        cost = _PER_ID * len(wanted.include_ids)
        if type(whom) is Profile:
            cost += self._n_rated(whom) * self._per_entry
        elif type(whom) is Examples:
            cost += _PER_EXAMPLE * (len(whom.positive_item_ids) + len(whom.negative_item_ids))
            if wanted.exclude_seen:
                cost += _PER_RATING * self._n_raters_of(whom)
        return cost

    def _of_telling(self, query: Query) -> int:
        """Return what re-ranking and the extras of an answer take."""
        manifest, whom, n_told = self._bundle.manifest, query.whom, query.neighbor_count
        cost = 0
        if query.diversity or query.popularity_penalty:
            n_chosen = query.offset + n_told
            pool = pool_for(n_chosen)
            cost += _PER_CANDIDATE * pool + _PER_CHOICE * n_chosen
            if query.diversity:
                dim = manifest.n_factors + manifest.dim_content
                cost += n_chosen * (_PER_DIVERSE_CHOICE + pool * dim // 4)
        if query.include_components or query.include_explanation:
            cost += _PER_COMPONENTS * n_told
        if query.include_explanation and isinstance(whom, UserId | Profile):
            # Each contribution of each rated item to each neighbor is worked out and compared.
            n_explained = n_told + manifest.n_factors
            cost += self._n_rated(whom) * n_explained * (manifest.n_factors + _PER_WEIGHT)
            cost += _PER_EXPLAINED * n_told
        return cost

    def _has_seen_much(self, user_id: str) -> bool:
        row = self._bundle.users.vocabulary.row_of(user_id)
        return row >= 0 and room_for(self._bundle.ratings_by_user.count(row)) > MAX_OVERFETCH

    def _excludes_much(self, query: Query) -> bool:
        return room_for(self._n_excluded(query)) > MAX_OVERFETCH

    def _n_excluded(self, query: Query) -> int:
        """Return how many rows a filter excludes, at the most."""
        n_named, whom, bundle = len(query.filter.exclude_ids), query.whom, self._bundle
        if not query.filter.exclude_seen:
            return n_named
        if type(whom) is UserId:
            row, seen = bundle.users.vocabulary.row_of(whom.user_id), bundle.ratings_by_user
        elif type(whom) is ItemId:
            row, seen = bundle.items.vocabulary.row_of(whom.item_id), bundle.ratings_by_item
        elif type(whom) is Profile:
            return n_named + self._n_rated(whom)
        elif type(whom) is Examples:
            return n_named + min(self._n_raters_of(whom), len(bundle.users))
        else:
            return n_named
        return n_named + (seen.count(row) if row >= 0 else 0)

    def _n_raters_of(self, whom: Examples) -> int:
        """Return how many have rated the examples, added up."""
        rows = self._bundle.items.vocabulary.rows_of(whom.positive_item_ids)
        return int(sum(map(self._bundle.ratings_by_item.count, rows[rows >= 0].tolist())))

    def _of_search(self, query: Query, *, well_known: bool | None) -> int:
        kind = Target.ITEMS if isinstance(query.whom, _OF_ITEMS) else Target.USERS
        key = SpaceKey(query.target, kind is query.target)
        space, manifest = self._bundle.spaces[key], self._bundle.manifest
        weight = query.content_weight
        if weight is None:
            weight = manifest.default_content_weight
        every, accuracy = len(space) * space.index.dim, query.accuracy
        every = int(every * space.exact_share(weight))
        if _may_need_all(query) or self._excludes_much(query):
            return every
        # Whoever must not be told of what it names is given neighbors from deeper down.
        as_told = query.shape is not None and not query.filter.exclude_seen
        wanted = query.neighbor_count + query.offset if as_told else len(space)
        effort = space.effort(
            weight,
            manifest.default_recall if accuracy is None else accuracy.recall,
            wanted,
            well_known=well_known,
        )
        # No effort: the answer is exact.
        cost = every if effort is None else self._by_effort[key].get(effort, every)
        return cost if isinstance(query.whom, ItemId | UserId) else min(HARDER * cost, every)


def _may_need_all(query: Query) -> bool:
    """Whether the index may not answer: little may pass a filter, and much be re-ranked."""
    if query.accuracy is not None and query.accuracy.exact:
        return True
    if query.diversity or query.popularity_penalty:
        return True
    return query.filter.on_content or bool(query.filter.include_ids)


def _by_effort(bundle: Bundle, key: SpaceKey) -> dict[int, int]:
    """Return the multiplications that a search at each effort is worth, at its dearest blend."""
    space, record = bundle.spaces[key], bundle.manifest.indices[key.name]
    n_rows, dim = len(space), space.index.dim
    every_us = least_us(IndexSpec(), (n_rows, dim), 1)
    dearest_us: dict[int, float] = {}
    for row, cost_us in zip(record.recall, record.costs_us, strict=False):
        dearest_us[row.effort] = max(cost_us, dearest_us.get(row.effort, 0.0))
    return {
        effort: int(n_rows * dim * min(cost_us / every_us, 1))
        for effort, cost_us in dearest_us.items()
    }
