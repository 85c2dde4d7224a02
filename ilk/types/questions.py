"""Knows what can be asked, as plain frozen values.

It refuses to know whether a bundle can answer. Ranges are checked when a value is made, so a ``Query``
that exists is one that may be asked.
"""

import enum
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ilk.errors import InvalidRequest

DEFAULT_NEIGHBORS = 10
MAX_NEIGHBORS = 1000
MAX_ID_BYTES = 256
MAX_TEXT_CHARS = 1000
MAX_PROFILE_ENTRIES = 10_000
MAX_EXAMPLES = 1000
MAX_FILTER_IDS = 100_000
MAX_FILTER_GENRES = 100
MIN_RECALL, MAX_RECALL = 0.9, 0.999


def check_many(name: str, values: Iterable[str]) -> None:
    """Refuse one text where several belong: each of its characters may be an id."""
    if isinstance(values, str):
        raise InvalidRequest(name, f"must be several texts, such as [{values!r}]; got one")


def _check_genres(name: str, values: Iterable[str]) -> None:
    """Refuse names that no genre has: what is done to compare long ones can take minutes."""
    check_many(name, values)
    for value in values:
        if len(value) > MAX_ID_BYTES:
            raise InvalidRequest(
                name, f"has a name of {len(value)} characters; at most {MAX_ID_BYTES}"
            )


class Target(enum.Enum):
    """What is looked for."""

    ITEMS = "items"
    USERS = "users"


class PredictionMethod(enum.Enum):
    """How stars are predicted: around baselines, or the textbook cosine method."""

    BASELINE_KNN = "baseline-knn"
    COSINE_KNN = "cosine-knn"


@dataclass(frozen=True, slots=True)
class ItemId:
    """An item of the bundle, as the one asked about."""

    item_id: str

    def __post_init__(self) -> None:
        check_id("item_id", self.item_id)


@dataclass(frozen=True, slots=True)
class UserId:
    """A user of the bundle, as the one asked about."""

    user_id: str

    def __post_init__(self) -> None:
        check_id("user_id", self.user_id)


@dataclass(frozen=True, slots=True)
class Rating:
    """Stars (or clicks) for an item, with the Unix time in seconds if known."""

    item_id: str
    stars: float
    rated_at_s: float | None = None

    def __post_init__(self) -> None:
        check_id("profile.ratings.item_id", self.item_id)
        if not math.isfinite(self.stars):
            raise InvalidRequest("profile.ratings.stars", f"must be finite, got {self.stars}")
        if self.rated_at_s is not None and not math.isfinite(self.rated_at_s):
            raise InvalidRequest(
                "profile.ratings.rated_at", f"must be finite, got {self.rated_at_s}"
            )


@dataclass(frozen=True, slots=True)
class Profile:
    """A user who need not be in the bundle: what they rated, liked, disliked and favour."""

    ratings: tuple[Rating, ...] = ()
    liked_item_ids: tuple[str, ...] = ()
    disliked_item_ids: tuple[str, ...] = ()
    favorite_genres: tuple[str, ...] = ()
    half_life_s: float | None = None

    def __post_init__(self) -> None:
        parts = (self.ratings, self.liked_item_ids, self.disliked_item_ids, self.favorite_genres)
        entries = sum(map(len, parts))
        if not entries:
            raise InvalidRequest(
                "profile", "is empty; give ratings, liked items or favorite genres"
            )
        if entries > MAX_PROFILE_ENTRIES:
            raise InvalidRequest("profile", f"has {entries} entries; at most {MAX_PROFILE_ENTRIES}")
        _check_genres("profile.favorite_genres", self.favorite_genres)
        for name, ids in (("liked", self.liked_item_ids), ("disliked", self.disliked_item_ids)):
            check_many(f"profile.{name}_item_ids", ids)
            for item_id in ids:
                check_id(f"profile.{name}_item_ids", item_id)
        if self.half_life_s is not None and not 0 < self.half_life_s < math.inf:
            raise InvalidRequest("profile.half_life", f"must be positive, got {self.half_life_s} s")


@dataclass(frozen=True, slots=True)
class Examples:
    """Items to be near to and, optionally, far from."""

    positive_item_ids: tuple[str, ...]
    negative_item_ids: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.positive_item_ids:
            raise InvalidRequest("examples.positive_item_ids", "at least one is needed")
        n_examples = len(self.positive_item_ids) + len(self.negative_item_ids)
        if n_examples > MAX_EXAMPLES:
            raise InvalidRequest("examples", f"has {n_examples} items; at most {MAX_EXAMPLES}")
        for name in ("positive_item_ids", "negative_item_ids"):
            check_many(f"examples.{name}", getattr(self, name))
            for item_id in getattr(self, name):
                check_id(f"examples.{name}", item_id)


@dataclass(frozen=True, slots=True)
class Text:
    """A content query: names of genres and other words of the items' content."""

    text: str

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise InvalidRequest("text", "is empty")
        if len(self.text) > MAX_TEXT_CHARS:
            raise InvalidRequest(
                "text", f"has {len(self.text)} characters; at most {MAX_TEXT_CHARS}"
            )


Whom: TypeAlias = ItemId | UserId | Profile | Examples | Text


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
            _check_genres(f"filter.{name}", getattr(self, name))
        for name in ("include_ids", "exclude_ids"):
            check_many(f"filter.{name}", getattr(self, name))
        n_ids = len(self.include_ids) + len(self.exclude_ids)
        if n_ids > MAX_FILTER_IDS:
            raise InvalidRequest("filter", f"names {n_ids} ids; at most {MAX_FILTER_IDS}")
        n_genres = len(self.any_genres) + len(self.all_genres) + len(self.no_genres)
        if n_genres > MAX_FILTER_GENRES:
            raise InvalidRequest("filter", f"names {n_genres} genres; at most {MAX_FILTER_GENRES}")
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
        if not 1 <= self.neighbor_count <= MAX_NEIGHBORS:
            raise InvalidRequest(
                "neighbor_count", f"must be in [1, {MAX_NEIGHBORS}], got {self.neighbor_count}"
            )
        if not 0 <= self.offset <= MAX_NEIGHBORS - self.neighbor_count:
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


def check_id(name: str, value: str) -> None:
    """Refuse an id that is no text, empty or over-long; ``name`` is the field to blame."""
    if not isinstance(value, str):
        raise InvalidRequest(name, f"must be text, got {value!r}")
    # Characters bound bytes from both sides, so the encoding is only paid near the limit.
    if not value:
        raise InvalidRequest(name, "is empty")
    if len(value) * 4 > MAX_ID_BYTES:
        n_bytes = len(value.encode("utf-8", "surrogatepass"))
        if n_bytes > MAX_ID_BYTES:
            raise InvalidRequest(name, f"has {n_bytes} bytes; at most {MAX_ID_BYTES}")
