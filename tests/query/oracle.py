"""What every answer must be, recomputed in float64 from the bundle's vectors and the raw data.

Only arrays are taken from the bundle. Who may come back is worked out from the interactions that
the bundle was built from, with sets of ids; nothing of the query path is called.
"""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ilk.bundle import Bundle
from ilk.bundle.contents import Side
from ilk.types import Examples, Filter, ItemId, Neighbors, Profile, Query, Target, UserId, Whom
from indexer.interactions import Interactions

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Place:
    """Where a query stands: its vectors, and the ids of its own kind that it stands for."""

    kind: Target
    collaborative: Float64Array
    content: Float64Array
    own_ids: tuple[str, ...] = ()
    rated_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Equations:
    """``a x = of_ratings + of_favorites``, whose solution is a newcomer's factors."""

    a: Float64Array
    of_ratings: Float64Array
    of_favorites: Float64Array
    n_positives: int


class SideInFloat64:
    """The users, or the items, of a bundle."""

    def __init__(self, side: Side) -> None:
        self.ids = side.vocabulary.ids.to_list()
        self.row_of = {external_id: row for row, external_id in enumerate(self.ids)}
        self.factors = side.factors.astype(np.float64)
        self.directions = side.directions.astype(np.float64)
        self.content = side.content.astype(np.float64)

    def vectors(self, *, alike: bool) -> Float64Array:
        return self.directions if alike else self.factors


class Oracle:
    """A bundle, the data it was built from, and the answers that follow from both."""

    def __init__(self, bundle: Bundle, data: Interactions) -> None:
        self.bundle, self.data = bundle, data
        self.sides = {target: SideInFloat64(bundle.side(target)) for target in Target}
        self.items, self.users = self.sides[Target.ITEMS], self.sides[Target.USERS]
        self.genres = dict(zip(data.items.item_ids, data.items.genres, strict=True))
        self.years = dict(zip(data.items.item_ids, data.items.years.tolist(), strict=True))
        self.rated: dict[str, dict[str, float]] = defaultdict(dict)
        self.raters: dict[str, dict[str, float]] = defaultdict(dict)
        rows = (data.user_rows.tolist(), data.item_rows.tolist(), data.ratings.tolist())
        for user_row, item_row, stars in zip(*rows, strict=True):
            user_id, item_id = data.user_ids[user_row], data.items.item_ids[item_row]
            self.rated[user_id][item_id] = stars
            self.raters[item_id][user_id] = stars
        self._components: dict[tuple[Whom, Target, float], tuple[Float64Array, Float64Array]] = {}
        self._allowed: dict[tuple[Whom, Target, Filter], npt.NDArray[np.int64]] = {}

    def weight(self, query: Query) -> float:
        weight = query.content_weight
        return self.bundle.manifest.default_content_weight if weight is None else weight

    def components(self, query: Query) -> tuple[Float64Array, Float64Array]:
        """The two components of every row of the target, allowed or not."""
        key = query.whom, query.target, self.weight(query)
        if key not in self._components:
            place, side = self.helped(query), self.sides[query.target]
            vectors = side.vectors(alike=place.kind is query.target)
            self._components[key] = vectors @ place.collaborative, side.content @ place.content
        return self._components[key]

    def scores(self, query: Query) -> Float64Array:
        collaborative, content = self.components(query)
        return (1 - self.weight(query)) * collaborative + self.weight(query) * content

    def place(self, query: Query) -> Place:
        whom, alike_items = query.whom, query.target is Target.ITEMS
        if isinstance(whom, ItemId):
            return self._mean_of(Examples((whom.item_id,)), alike=alike_items)
        if isinstance(whom, Examples):
            return self._mean_of(whom, alike=alike_items)
        if isinstance(whom, UserId):
            row = self.users.row_of[whom.user_id]
            vectors = self.users.vectors(alike=not alike_items)
            rated = tuple(self.rated[whom.user_id])
            content = self.users.content[row]
            return Place(Target.USERS, vectors[row], content, (whom.user_id,), rated)
        if isinstance(whom, Profile):
            return self._newcomer(whom, alike=not alike_items)
        content = self._of_genres(whom.text.split())
        inferred: Float64Array = self._inferred(content)
        shrunk = _unit(inferred) * _support(0) if alike_items else inferred
        return Place(Target.ITEMS, shrunk, content)

    def helped(self, query: Query) -> Place:
        """The query's place; of a user who rated few items, with what their content lets expect."""
        place, weight = self.place(query), self.weight(query)
        n_rated = len(place.rated_ids)
        if place.kind is query.target or place.kind is Target.ITEMS or not 0 < n_rated < 10:
            return place
        whom = query.whom
        liked = self._liked_of(whom) if isinstance(whom, Profile) else self.liked(place.own_ids[0])
        rows = [self.items.row_of[item_id] for item_id in liked]
        towards = _unit(self._inferred(self.items.content[rows]).sum(axis=0))
        if weight == 1:
            return place
        strength = 5 * weight * (1 / n_rated - 1 / 10) * np.linalg.norm(place.collaborative)
        return replace(place, collaborative=place.collaborative + strength * towards)

    def _mean_of(self, examples: Examples, *, alike: bool) -> Place:
        def towards(vectors: Float64Array) -> Float64Array:
            pull = _mean(vectors, self.items, examples.positive_item_ids)
            return pull - 0.5 * _mean(vectors, self.items, examples.negative_item_ids)

        own_ids = examples.positive_item_ids + examples.negative_item_ids
        vectors = self.items.vectors(alike=alike)
        return Place(Target.ITEMS, towards(vectors), towards(self.items.content), own_ids)

    def _newcomer(self, profile: Profile, *, alike: bool) -> Place:
        equations = self.normal_equations(profile)
        b = equations.of_ratings + equations.of_favorites
        x = np.linalg.solve(equations.a, b).astype(np.float64)
        if alike:
            x = _unit(x) * _support(equations.n_positives)
        else:
            n_genres = len({name.casefold() for name in profile.favorite_genres})
            x = x + self.in_common(equations.n_positives + n_genres)
        return Place(Target.USERS, x, self._content_of(profile), (), tuple(self._said(profile)))

    def _usual_length(self) -> float:
        """How long the factors are of what those are who rated one of the thousand most liked."""
        n_rated = dict.fromkeys(self.items.ids[:1000], 0)
        for rated in self.rated.values():
            for item_id in rated.keys() & n_rated:
                n_rated[item_id] += 1
        total = sum(
            n * float(np.linalg.norm(self.items.factors[self.items.row_of[i]]))
            for i, n in n_rated.items()
        )
        return total / sum(n_rated.values())

    def in_common(self, n_positives: int) -> Float64Array:
        """What is added to the factors of who likes so many items, because everybody likes it."""
        common = self.bundle.fold_in.common
        assert common is not None
        return common.astype(np.float64) * (10 / (10 + n_positives) if n_positives else 0)

    def normal_equations(self, profile: Profile) -> Equations:
        """Hu, Koren & Volinsky's equation 4, an item at a time."""
        preference, fold_in = self.bundle.preference, self.bundle.fold_in
        said, liked = self._said(profile), self._liked_of(profile)
        busy = preference.typical_activity / max(len(liked), 1)
        alpha = preference.alpha * busy**preference.activity_discount
        a = fold_in.gram.copy()
        of_ratings, of_favorites = np.zeros((2, len(a)))
        for item_id, stars in said.items():
            y = self.items.factors[self.items.row_of[item_id]]
            if item_id in liked:
                a += alpha * np.outer(y, y)
                of_ratings += (1 + alpha) * y
            elif stars is None:
                a += preference.alpha * np.outer(y, y)
        genres = {name.casefold() for name in profile.favorite_genres}
        for genre in genres:
            y = _unit(self._inferred(self._of_genres([genre]))) * self._usual_length()
            a += preference.alpha * np.outer(y, y)
            of_favorites += (1 + preference.alpha) * y
        n_all = len(liked) + len(genres)
        power = math.log(max(n_all, 1) + fold_in.unseen_weight, 1.2) * fold_in.exponent
        penalty = fold_in.regularization * 1.2 ** math.floor(power + 0.5)
        return Equations(a + penalty * np.eye(len(a)), of_ratings, of_favorites, len(liked))

    def _liked_of(self, profile: Profile) -> set[str]:
        merely_said = {*profile.liked_item_ids, *profile.disliked_item_ids}
        starred = {r.item_id: r.stars for r in profile.ratings if r.item_id not in merely_said}
        bar = self._bar(list(starred.values()))
        return {i for i, s in self._said(profile).items() if s is not None and s >= bar}

    def liked(self, user_id: str) -> set[str]:
        """What a user of the bundle likes."""
        rated = self.rated[user_id]
        bar = self._bar(list(rated.values()))
        return {item_id for item_id, stars in rated.items() if stars >= bar}

    def _bar(self, stars: list[float]) -> float:
        """Everybody's, or the user's mean where that is lower, pulled up if they have rated little."""
        preference = self.bundle.preference
        if preference.normalize == "none":
            return preference.liked_from
        pull = preference.habit_shrinkage
        own = (preference.liked_from * pull + sum(stars)) / (pull + len(stars))
        return min(preference.liked_from, own)

    def _said(self, profile: Profile) -> dict[str, float | None]:
        """Stars by item, None for a dislike; the last mention wins."""
        scale = self.bundle.preference.scale
        assert scale is not None
        said: dict[str, float | None] = {r.item_id: r.stars for r in profile.ratings}
        said |= dict.fromkeys(profile.liked_item_ids, scale[1])
        return said | dict.fromkeys(profile.disliked_item_ids, None)

    def _content_of(self, profile: Profile) -> Float64Array:
        scale = self.bundle.preference.scale
        assert scale is not None
        content = np.zeros(self.items.content.shape[1])
        merely_said = {*profile.liked_item_ids, *profile.disliked_item_ids}
        starred = {r.item_id: r.stars for r in profile.ratings if r.item_id not in merely_said}
        middle, pull = sum(scale) / 2, self.bundle.preference.habit_shrinkage
        own = (middle * pull + sum(starred.values())) / (pull + len(starred))
        nothing = min(middle, own)
        for item_id, stars in self._said(profile).items():
            weight = -1.0 if stars is None else max(stars - nothing, 0) / (scale[1] - nothing)
            content += weight * self.items.content[self.items.row_of[item_id]]
        n_said = len(self._said(profile))
        trust = (n_said + 1) / (n_said + 6)
        content = _unit(content) * trust
        if profile.favorite_genres:
            return _unit(content + self._of_genres(profile.favorite_genres)) * max(trust, 0.8)
        return content

    def _of_genres(self, names: Iterable[str]) -> Float64Array:
        model = self.bundle.content_model
        wanted = {name.casefold() for name in names}
        chosen = np.array([genre.casefold() in wanted for genre in model.genres])
        assert chosen.sum() == len(wanted)
        return _unit(chosen * model.idf.astype(np.float64))

    def _inferred(self, content: Float64Array) -> Float64Array:
        to_factors = self.bundle.content_model.to_factors.astype(np.float64)
        inferred: Float64Array = content @ to_factors[:-1] + to_factors[-1]
        return inferred

    def allowed(self, query: Query) -> npt.NDArray[np.int64]:
        """The rows that may come back, rising."""
        key = query.whom, query.target, query.filter
        if key not in self._allowed:
            self._allowed[key] = self._find_allowed(query)
        return self._allowed[key]

    def _find_allowed(self, query: Query) -> npt.NDArray[np.int64]:
        place, wanted = self.place(query), query.filter
        gone = set(wanted.exclude_ids)
        if place.kind is query.target:
            gone |= set(place.own_ids)
        elif wanted.exclude_seen:
            gone |= set(place.rated_ids)
            if place.kind is Target.ITEMS:
                gone |= {user for item_id in place.own_ids for user in self.raters[item_id]}
        ids = self.sides[query.target].ids
        only = set(wanted.include_ids) or set(ids)
        passing = [i in only and i not in gone and self._fits(i, wanted) for i in ids]
        return np.flatnonzero(passing)

    def _fits(self, item_id: str, wanted: Filter) -> bool:
        if not wanted.on_content:
            return True
        genres, year = set(self.genres[item_id]), self.years[item_id]
        in_years = (wanted.min_year is None and wanted.max_year is None) or (
            year != 0
            and (wanted.min_year is None or wanted.min_year <= year)
            and (wanted.max_year is None or year <= wanted.max_year)
        )
        return (
            in_years
            and (not wanted.any_genres or bool(genres & set(wanted.any_genres)))
            and genres >= set(wanted.all_genres)
            and not genres & set(wanted.no_genres)
        )

    def check(self, query: Query, answer: Neighbors, tolerance: float = 5e-6) -> None:
        """Assert that ``answer`` is the page of the full ranking that ``query`` asks for.

        Ranks are compared by score: which of several equal rows stands at a place is not judged
        here, only that equal scores stand in the order of rows.
        """
        allowed = self.allowed(query)
        scores = self.scores(query)
        true = -np.sort(-scores[allowed])[query.offset : query.offset + query.neighbor_count]
        row_of = self.sides[query.target].row_of
        rows = np.array([row_of[n.id] for n in answer.neighbors], dtype=np.int64)
        got = np.array([n.score for n in answer.neighbors])
        assert set(rows.tolist()) <= set(allowed.tolist())
        assert len(set(rows.tolist())) == len(rows) == len(true)
        np.testing.assert_allclose(got, scores[rows], rtol=0, atol=tolerance)
        np.testing.assert_allclose(scores[rows], true, rtol=0, atol=tolerance)
        in_order = (got[:-1] > got[1:]) | ((got[:-1] == got[1:]) & (rows[:-1] < rows[1:]))
        assert in_order.all()
        self._check_the_rest(query, answer, rows, tolerance)

    def _check_the_rest(
        self, query: Query, answer: Neighbors, rows: npt.NDArray[np.int64], tolerance: float
    ) -> None:
        assert answer.bundle_version == self.bundle.version
        assert answer.content_weight == self.weight(query)
        assert (answer.shortfall is None) == (len(rows) == query.neighbor_count)
        if answer.shortfall is not None:
            assert answer.shortfall.requested == query.neighbor_count
            assert answer.shortfall.returned == len(rows)
        told = [(n.collaborative, n.content) for n in answer.neighbors]
        if not query.include_components:
            assert set(told) <= {(None, None)}
        elif told:
            true = np.stack(self.components(query), axis=1)[rows]
            np.testing.assert_allclose(np.array(told), true, rtol=0, atol=tolerance)


def _mean(vectors: Float64Array, side: SideInFloat64, ids: tuple[str, ...]) -> Float64Array:
    if not ids:
        return np.zeros(vectors.shape[1])
    mean: Float64Array = np.mean([vectors[side.row_of[i]] for i in ids], axis=0)
    return mean


def _unit(vector: Float64Array) -> Float64Array:
    length = np.linalg.norm(vector)
    return vector / length if length else vector


def _support(n_positives: int) -> float:
    return (n_positives + 1) / (n_positives + 6)
