"""Knows what a query will cost before it is planned, in multiplications.

It refuses to know time: how long a multiplication takes is measured by who runs it. A bound is enough,
but it must cost next to nothing.
"""

from collections.abc import Sequence

from ilk.bundle import Bundle
from ilk.space import SPACE_KEYS
from ilk.types import Profile, Query, Target

# What finding and writing down one neighbor takes, in the time of multiplications.
_PER_NEIGHBOR = 5_000
# What a query takes however small the bundle is.
_PER_QUERY = 50_000


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
    """

    def __init__(self, bundle: Bundle) -> None:
        manifest = bundle.manifest
        dim = manifest.n_factors + manifest.dim_content
        self._every_row = {
            Target.ITEMS: manifest.n_items * dim,
            Target.USERS: manifest.n_users * dim,
        }
        self._usual = {
            target: max(
                _usual(bundle, target, by_likeness=alike, dim=dim) for alike in (True, False)
            )
            for target in Target
        }
        self._per_entry = manifest.n_factors**2
        self.usual = _PER_QUERY + self._usual[Target.ITEMS]

    def of(self, query: Query) -> int:
        """Return about how many multiplications the query takes."""
        # The usual effort holds for the bundle's own blend and recall; others may need any effort,
        # and a filter may need every row.
        usual = query.accuracy is None and query.content_weight is None
        cost = self._usual if usual else self._every_row
        whom = query.whom
        profile = len(whom.ratings) * self._per_entry if type(whom) is Profile else 0
        return (
            _PER_QUERY
            + cost[query.target]
            + profile
            + _PER_NEIGHBOR * (query.neighbor_count + query.offset)
        )

    def of_many(self, queries: Sequence[object]) -> int:
        """Return about how many multiplications those of ``queries`` that are queries take."""
        return sum(self.of(query) for query in queries if isinstance(query, Query))


def _usual(bundle: Bundle, target: Target, *, by_likeness: bool, dim: int) -> int:
    """Return the multiplications of the default search in one space."""
    (key,) = (k for k in SPACE_KEYS if k.target is target and k.by_likeness is by_likeness)
    space, manifest = bundle.spaces[key], bundle.manifest
    effort = space.effort(manifest.default_content_weight, manifest.default_recall)
    whole = space.index.exhaustive_effort
    if effort and whole:  # lists looked at, of all lists
        return len(space) * dim * min(effort, whole) // whole
    return len(space) * dim
