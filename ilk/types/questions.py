"""Knows what can be asked of those who are named by `whom`, as plain frozen values.

It refuses to know whether a bundle can answer. Ranges are checked when a value is made, so a ``Query``
that exists is one that may be asked.
"""

import enum
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ilk.errors import InvalidRequest
from ilk.types.checks import check_genres, check_many, is_whole
from ilk.types.whom import ItemId, UserId, Whom

DEFAULT_NEIGHBORS = 10
MAX_NEIGHBORS = 1000
MAX_FILTER_IDS = 100_000
MAX_FILTER_GENRES = 100
MIN_RECALL, MAX_RECALL = 0.9, 0.999


class Target(enum.Enum):
    """What is looked for."""

    ITEMS = "items"
    USERS = "users"


class PredictionMethod(enum.Enum):
    """How stars are predicted: around baselines, or the textbook cosine method."""

    BASELINE_KNN = "baseline-knn"
    COSINE_KNN = "cosine-knn"


@dataclass(frozen=True, slots=True)
class Filter:
    """Which neighbors may be returned; every condition given must hold."""

    any_genres: tuple[str, ...] = ()
    all_genres: tuple[str, ...] = ()
    no_genres: tuple[str, ...] = ()
    min_year: int | None = None
    max_year: int | None = None
    include_ids: tuple[str, ...] = ()
    exclude_ids: tuple[str, ...] = ()
    exclude_seen: bool = False

    def __post_init__(self) -> None:
        for name in ("any_genres", "all_genres", "no_genres"):
            check_genres(f"filter.{name}", getattr(self, name))
        for name in ("include_ids", "exclude_ids"):
            check_many(f"filter.{name}", getattr(self, name))
        n_ids = len(self.include_ids) + len(self.exclude_ids)
        if n_ids > MAX_FILTER_IDS:
            raise InvalidRequest("filter", f"names {n_ids} ids; at most {MAX_FILTER_IDS}")
        n_genres = len(self.any_genres) + len(self.all_genres) + len(self.no_genres)
        if n_genres > MAX_FILTER_GENRES:
            raise InvalidRequest("filter", f"names {n_genres} genres; at most {MAX_FILTER_GENRES}")
        for name in ("min_year", "max_year"):
            year = getattr(self, name)
            if year is not None and not is_whole(year):
                raise InvalidRequest(f"filter.{name}", f"must be a whole number, got {year!r}")
        if self.min_year is not None and self.max_year is not None:
            if self.min_year > self.max_year:
                raise InvalidRequest(
                    "filter.min_year", f"{self.min_year} is after max_year {self.max_year}"
                )

    @property
    def on_content(self) -> bool:
        """Whether genres or years are asked for."""
        genres = self.any_genres or self.all_genres or self.no_genres
        return bool(genres) or self.min_year is not None or self.max_year is not None


NO_FILTER = Filter()
# What recommendations are asked for most often.
UNSEEN = Filter(exclude_seen=True)


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How exact a search must be: a recall target, or ``exact`` (``recall`` is then 1)."""

    recall: float = 1.0
    exact: bool = True

    def __post_init__(self) -> None:
        if self.exact and self.recall != 1:
            raise InvalidRequest("accuracy.recall", f"is 1 where exact, got {self.recall}")
        if not self.exact and not MIN_RECALL <= self.recall <= MAX_RECALL:
            raise InvalidRequest(
                "accuracy.recall", f"must be in [{MIN_RECALL}, {MAX_RECALL}], got {self.recall}"
            )

    @classmethod
    def at_recall(cls, recall: float) -> "Accuracy":
        """Return the promise that ``recall`` (in [0.9, 0.999]) of the true neighbors are found."""
        return cls(recall=recall, exact=False)


EXACT = Accuracy()


# Of an item (else a user), for items (else users), content weight, recall (1: exact), count and offset,
# and whether for unseen items alone.
Shape: TypeAlias = tuple[bool, bool, float | None, float | None, int, int, bool]


# Without slots, for what is asked of many is copied from one to the next (`Query.about`).
@dataclass(frozen=True)
class Query:
    """Nearest ``target`` to ``whom``, by the likeness that ``content_weight`` blends.

    ``None`` for ``content_weight`` or ``accuracy`` means the bundle's default.

    Attributes
    ----------
    shape
        Equal for known users, or known items, that ask for the same, and hashed in no time; None for a
        query that asks for more than the nearest, or a user's nearest unseen items, and their scores.
    """

    whom: Whom
    target: Target = Target.ITEMS
    content_weight: float | None = None
    filter: Filter = NO_FILTER
    neighbor_count: int = DEFAULT_NEIGHBORS
    offset: int = 0
    accuracy: Accuracy | None = None
    diversity: float = 0.0
    popularity_penalty: float = 0.0
    include_components: bool = False
    include_explanation: bool = False
    ignore_unknown_ids: bool = False
    shape: Shape | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not (is_whole(self.neighbor_count) and 1 <= self.neighbor_count <= MAX_NEIGHBORS):
            raise InvalidRequest(
                "neighbor_count", f"must be in [1, {MAX_NEIGHBORS}], got {self.neighbor_count}"
            )
        most = MAX_NEIGHBORS - self.neighbor_count
        if not (is_whole(self.offset) and 0 <= self.offset <= most):
            raise InvalidRequest(
                "offset",
                f"must be at least 0 and, with neighbor_count, at most {MAX_NEIGHBORS}, "
                f"got {self.offset}",
            )
        weight = self.content_weight
        # A comparison with NaN is false, so NaN is refused here too.
        if weight is not None and not 0.0 <= weight <= 1.0:
            raise InvalidRequest("content_weight", f"must be in [0, 1], got {weight}")
        if weight == 0:
            # Answers are remembered by it, and -0.0 would be told to who said 0.
            object.__setattr__(self, "content_weight", 0.0)
        if not 0.0 <= self.diversity <= 1.0:
            raise InvalidRequest("diversity", f"must be in [0, 1], got {self.diversity}")
        if not 0.0 <= self.popularity_penalty <= 1.0:
            raise InvalidRequest(
                "popularity_penalty", f"must be in [0, 1], got {self.popularity_penalty}"
            )
        if not isinstance(self.filter, Filter):
            raise InvalidRequest("filter", f"must be a Filter, got {self.filter!r}")
        if self.accuracy is not None and not isinstance(self.accuracy, Accuracy):
            raise InvalidRequest(
                "accuracy", f"must be an Accuracy, as of Accuracy.at_recall, got {self.accuracy!r}"
            )
        object.__setattr__(self, "shape", self._shape())

    def about(self, its_id: str) -> "Query":
        """Return the same query about another user, or item: quicker than it could be made."""
        other = object.__new__(Query)
        other.__dict__.update(self.__dict__)
        kind = ItemId if type(self.whom) is ItemId else UserId
        other.__dict__["whom"] = kind(its_id)
        return other

    @property
    def its_id(self) -> str:
        """The id of the user or item that it is about, where it has a :attr:`shape`."""
        whom: Any = self.whom
        return whom.item_id if type(whom) is ItemId else whom.user_id

    def _shape(self) -> "Shape | None":
        kind, unseen = type(self.whom), self.filter is not NO_FILTER
        if kind is not ItemId and kind is not UserId:
            return None
        if unseen and not (self.filter == UNSEEN and self._recommends):
            return None
        if self.diversity or self.popularity_penalty:
            return None
        if self.include_components or self.include_explanation:
            return None
        return (
            kind is ItemId,
            self.target is Target.ITEMS,
            self.content_weight,
            None if self.accuracy is None else self.accuracy.recall,
            self.neighbor_count,
            self.offset,
            unseen,
        )

    @property
    def _recommends(self) -> bool:
        return type(self.whom) is UserId and self.target is Target.ITEMS
