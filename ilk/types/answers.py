"""Knows what is answered, as plain frozen values.

It refuses to check them: whoever answers has.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class ShortfallReason(enum.Enum):
    """Why fewer neighbors came than were asked for."""

    BUNDLE_EXHAUSTED = "bundle exhausted"
    FILTERED = "filtered"
    WITHHELD = "withheld"


class Contribution(NamedTuple):
    """The share of a component that one rated item, or one genre, carries."""

    name: str
    contribution: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """The strongest contributions to a recommendation, largest first."""

    items: tuple[Contribution, ...] = ()
    genres: tuple[Contribution, ...] = ()


class Neighbor(NamedTuple):
    """One answer. Components are ``None`` unless asked for; ``score`` rises with likeness.

    A named tuple, for there are ten to a thousand in every answer and a frozen dataclass costs five
    times as much to make.
    """

    id: str
    score: float
    collaborative: float | None = None
    content: float | None = None
    unrelated: bool = False
    inferred: bool = False
    explanation: Explanation | None = None


@dataclass(frozen=True, slots=True)
class Shortfall:
    """How many neighbors were asked for and came, and why the rest did not."""

    requested: int
    returned: int
    reason: ShortfallReason
    message: str


@dataclass(frozen=True, slots=True)
class Neighbors:
    """The answer to a :class:`Query`, from exactly one bundle."""

    neighbors: Sequence[Neighbor]
    bundle_version: str
    content_weight: float
    shortfall: Shortfall | None = None
    ignored_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RatingPrediction:
    """Predicted stars; with ``neighbor_count`` 0 they are a fall-back on means."""

    item_id: str
    stars: float
    neighbor_count: int


@dataclass(frozen=True, slots=True)
class Item:
    """What is known of an item. ``year`` and ``mean_rating`` are ``None`` where unknown."""

    id: str
    title: str
    year: int | None = None
    genres: tuple[str, ...] = ()
    rating_count: int = 0
    mean_rating: float | None = None


@dataclass(frozen=True, slots=True)
class TitleMatch:
    """An item whose title is like a text; ``score`` in [0, 1]."""

    item: Item
    score: float


@dataclass(frozen=True, slots=True)
class MeasuredRecall:
    """Recall of one index at one setting and blend, measured when the bundle was built.

    Recall is the mean over queries less its standard error. ``cpu_us`` is what a query took then. The
    well known, who stand in the first tenth of rows, and all others find unlike shares at equal effort:
    ``recall_at_10`` is the worse. Where nobody was of a sort, what it finds is None.
    """

    space: str
    index: str
    effort: int
    content_weight: float
    recall_at_10: float
    recall_at_100: float
    cpu_us: float = 0.0
    well_known_at_10: float | None = None
    others_at_10: float | None = None

    @property
    def worst(self) -> float:
        """The recall that may be promised however many neighbors are wanted."""
        return min(self.recall_at_10, self.recall_at_100)

    @property
    def by_sort(self) -> tuple[float, float]:
        """Recall at 10 of the well known and of others; where nobody was of a sort, that of all."""
        well_known, others = (
            self.recall_at_10 if found is None else found
            for found in (self.well_known_at_10, self.others_at_10)
        )
        return well_known, others


@dataclass(frozen=True, slots=True)
class RefusedBundle:
    """A version that a server was told to serve and would not; ``refused_at_s`` is Unix seconds."""

    version: str
    refused_at_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class BundleInfo:
    """What a server serves. ``created_at_s`` is Unix seconds; ``rating_scale`` is (min, max).

    ``live_since_s`` (Unix seconds) and ``refused``, the last one first, are those of the one process that
    answers, and unknown of a bundle that no server serves.
    """

    version: str
    format_version: int
    created_at_s: float
    user_count: int
    item_count: int
    rating_count: int
    genres: tuple[str, ...]
    rating_scale: tuple[float, float] | None
    default_content_weight: float
    default_recall: float
    recall: tuple[MeasuredRecall, ...] = ()
    quality: dict[str, float] = field(default_factory=dict)
    source: str = ""
    simulated: bool = False
    settings: dict[str, str] = field(default_factory=dict)
    live_since_s: float | None = None
    refused: tuple[RefusedBundle, ...] = ()
