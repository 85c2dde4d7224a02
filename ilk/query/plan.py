"""Knows how a query is resolved: where it stands, which space it looks in, what may come back.

It refuses to know how the space is searched; `search` does.
"""

from dataclasses import dataclass

from ilk.bundle import Bundle
from ilk.errors import InvalidRequest
from ilk.query.filters import Allowed, allowed_rows
from ilk.query.seeker import Seeker
from ilk.query.strangers import stranger_effort
from ilk.query.whom import seek
from ilk.space import Space, SpaceKey, n_well_known
from ilk.types import MAX_NEIGHBORS, ItemId, Query, Target, UserId

# More exclusions than this are cheaper as a bitmap than as over-fetched neighbors.
MAX_OVERFETCH = 512
# Of what is excluded, which mostly is what was seen, hardly more than half stands before what is wanted.
_ROOM_BEYOND_HALF = 32
# Re-ranking chooses from this many: from more, diversity would choose what is like nothing.
_POOL = 200


@dataclass(frozen=True, slots=True)
class Plan:
    """One query, resolved: where it stands, where it looks, what may come back.

    Attributes
    ----------
    n_wanted
        Neighbors to find before paging: fewer than asked for if fewer may come back.
    effort
        The index's search setting; None: compare with every row.
    passes_all
        Whether room is left for all that is excluded, else for what most queries need (:func:`room_for`).
    """

    query: Query
    space: Space
    seeker: Seeker
    content_weight: float
    allowed: Allowed
    n_wanted: int
    effort: int | None
    passes_all: bool = False

    @property
    def n_passed(self) -> int:
        """How many of the excluded rows a search has room for, beside what is wanted."""
        n_excluded = len(self.allowed.excluded)
        return n_excluded if self.passes_all else room_for(n_excluded)

    @property
    def needs_bitmap(self) -> bool:
        """Whether exclusions cannot be met by fetching a few rows more and dropping them."""
        return (
            self.allowed.bitmap is not None or room_for(len(self.allowed.excluded)) > MAX_OVERFETCH
        )


def room_for(n_excluded: int) -> int:
    """Return how many of so many excluded rows a search has room for at first."""
    return min(n_excluded, n_excluded // 2 + _ROOM_BEYOND_HALF)


def pool_for(n_wanted: int) -> int:
    """Return from how many neighbors re-ranking chooses ``n_wanted``."""
    # One pool for all pages within it, or they would overlap.
    return _POOL if n_wanted <= _POOL else MAX_NEIGHBORS


def make_plan(bundle: Bundle, query: Query) -> Plan:
    """Return how the query will be answered; errors as :func:`ilk.query.answer`."""
    seeker = seek(bundle, query)
    space = bundle.spaces[SpaceKey(query.target, seeker.kind is query.target)]
    if query.include_explanation and (
        seeker.kind is not Target.USERS or query.target is not Target.ITEMS
    ):
        raise InvalidRequest("include_explanation", "only recommendations to users have reasons")
    weight = query.content_weight
    if weight is None:
        weight = bundle.manifest.default_content_weight
    if seeker.kind is Target.USERS and query.target is Target.ITEMS:
        seeker = seeker.helped_by_content(bundle, weight)
    allowed = allowed_rows(bundle, seeker, query.target, query.filter)
    accuracy, wanted = query.accuracy, query.offset + query.neighbor_count
    if query.diversity or query.popularity_penalty:
        wanted = pool_for(wanted)
    if accuracy is not None and accuracy.exact:
        effort = space.exhaustive_effort(weight)
    else:
        recall = bundle.manifest.default_recall if accuracy is None else accuracy.recall
        if allowed.bitmap is not None:
            # What a filter lets pass lies deeper than what was measured: half as much may be missed.
            recall = (1 + recall) / 2
        if isinstance(query.whom, ItemId | UserId):
            # Whoever asks is its own nearest, and is never missed.
            alone = allowed.bitmap is None and len(allowed.excluded) <= 1
            deep = wanted if alone and not query.filter.exclude_seen else len(space)
            well_known = _is_well_known(bundle, seeker)
            effort = space.effort(weight, recall, deep, well_known=well_known)
        else:
            effort = stranger_effort(bundle, seeker, query.target, weight, recall)
    n_wanted = min(wanted, allowed.n_allowed)
    return Plan(query, space, seeker, weight, allowed, n_wanted, effort)


def _is_well_known(bundle: Bundle, seeker: Seeker) -> bool | None:
    """Return whether who asks stands among the first rows; None where content helps it out."""
    if seeker.helped_at:
        return None
    return seeker.own_rows[0] < n_well_known(len(bundle.side(seeker.kind)))
