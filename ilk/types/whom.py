"""Knows to whom something can be near: an item, a user, a profile, examples or a text.

It refuses to know what is looked for.
"""

import math
from dataclasses import dataclass
from typing import TypeAlias

from ilk.errors import InvalidRequest
from ilk.types.checks import check_genres, check_id, check_many, is_finite

MAX_TEXT_CHARS = 1000
MAX_PROFILE_ENTRIES = 10_000
MAX_EXAMPLES = 1000


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
        if not is_finite(self.stars):
            raise InvalidRequest("profile.ratings.stars", f"must be finite, got {self.stars!r}")
        if self.rated_at_s is not None and not is_finite(self.rated_at_s):
            raise InvalidRequest(
                "profile.ratings.rated_at", f"must be finite, got {self.rated_at_s!r}"
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
        check_genres("profile.favorite_genres", self.favorite_genres)
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
        if not isinstance(self.text, str):
            raise InvalidRequest("text", f"must be text, got {self.text!r}")
        if not self.text.strip():
            raise InvalidRequest("text", "is empty")
        if len(self.text) > MAX_TEXT_CHARS:
            raise InvalidRequest(
                "text", f"has {len(self.text)} characters; at most {MAX_TEXT_CHARS}"
            )


Whom: TypeAlias = ItemId | UserId | Profile | Examples | Text
