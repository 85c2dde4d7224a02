"""Knows what a query will cost before it is planned, in multiplications.

It refuses to know time: how long a multiplication takes is measured by who runs it. A bound is enough,
but it must cost next to nothing.
"""

from ilk.bundle import Bundle
from ilk.space import SPACE_KEYS
from ilk.types import NO_FILTER, Profile, Query, Target

# What finding and writing down one neighbor takes, in the time of multiplications.
_PER_NEIGHBOR = 5_000
# What one prediction, and looking at one title, take in the time of multiplications.
_PER_PREDICTION = 1_000_000
_PER_TITLE = 10_000
# What a query takes however small the bundle is.
PER_QUERY = 50_000


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
        dim = manifest.n_factors + manifest.dim_content
        # Of items and of users; what is looked up for every query costs less outside a dict.
        self._every_item = manifest.n_items * dim
        self._every_user = manifest.n_users * dim
        self._usual_items, self._usual_users = (
            max(_usual(bundle, target, by_likeness=alike, dim=dim) for alike in (True, False))
            for target in (Target.ITEMS, Target.USERS)
        )
        self._per_entry = manifest.n_factors**2
        self.of_titles = PER_QUERY + _PER_TITLE * manifest.n_items
        self.usual = PER_QUERY + self._usual_items

    def of(self, query: Query) -> int:
        """Return about how many multiplications the query takes."""
        # The usual effort holds for the bundle's own blend and recall; another blend or recall may need
        # any effort, and a filter every row.
        items = query.target is Target.ITEMS
        usual = query.accuracy is None and query.content_weight is None
        if usual and query.filter is NO_FILTER:
            cost = self._usual_items if items else self._usual_users
        else:
            cost = self._every_item if items else self._every_user
        cost += PER_QUERY + _PER_NEIGHBOR * (query.neighbor_count + query.offset)
        whom = query.whom
        if type(whom) is Profile:
            folded_in = (whom.ratings, whom.liked_item_ids, whom.disliked_item_ids)
            cost += sum(map(len, folded_in)) * self._per_entry
        return cost

    def of_predictions(self, n_items: int) -> int:
        """Return about how many multiplications predictions for ``n_items`` items take."""
        return PER_QUERY + _PER_PREDICTION * n_items


def _usual(bundle: Bundle, target: Target, *, by_likeness: bool, dim: int) -> int:
    """Return the multiplications of the default search in one space."""
    (key,) = (k for k in SPACE_KEYS if k.target is target and k.by_likeness is by_likeness)
    space, manifest = bundle.spaces[key], bundle.manifest
    effort = space.effort(manifest.default_content_weight, manifest.default_recall)
    whole = space.index.exhaustive_effort
    if effort and whole:  # lists looked at, of all lists
        return len(space) * dim * min(effort, whole) // whole
    return len(space) * dim
