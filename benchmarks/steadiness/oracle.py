"""Knows the right answer of every version of a store to a set of queries, from the kernel alone.

It refuses to know servers: an answer is held against the version that it names.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ilk.bundle import Store, open_bundle
from ilk.query import answer
from ilk.types import ItemId, Neighbors, Profile, Query, Text, UserId

# A batch adds up its scores in another order.
_ROUNDING = 1e-5


class Oracle:
    """What each version answers.

    Parameters
    ----------
    store
        All its versions are opened.
    n_queries
        Of every kind, for items that are in all versions.
    """

    def __init__(self, store: Path, n_queries: int = 40) -> None:
        versions = Store(store).list_versions()
        bundles = {version: open_bundle(store, version) for version in versions}
        every = bundles.values()
        common: set[str] = set.intersection(*(set(b.items.vocabulary.ids.to_list()) for b in every))
        people: set[str] = set.intersection(*(set(b.users.vocabulary.ids.to_list()) for b in every))
        genres = bundles[versions[0]].content_model.genres
        self.queries = _queries(sorted(common), sorted(people), genres, n_queries)
        self._answers = {
            version: [answer(bundle, query) for query in self.queries]
            for version, bundle in bundles.items()
        }

    def is_right(self, at: int, told: object) -> bool:
        """Whether ``told`` is what the version it names answers to the query ``at``."""
        if not isinstance(told, Neighbors) or told.bundle_version not in self._answers:
            return False
        right = self._answers[told.bundle_version][at]
        return [n.id for n in told.neighbors] == [n.id for n in right.neighbors] and np.allclose(
            [n.score for n in told.neighbors], [n.score for n in right.neighbors], atol=_ROUNDING
        )


def _queries(
    items: Sequence[str], users: Sequence[str], genres: Sequence[str], n: int
) -> list[Query]:
    rng = np.random.default_rng(0)
    queries = []
    for at in range(n):
        liked = tuple(items[i] for i in rng.choice(len(items), 4, replace=False))
        whoms = (
            ItemId(liked[0]),
            UserId(users[int(rng.integers(len(users)))]),
            Profile(liked_item_ids=liked),
            Text(genres[at % len(genres)]),
        )
        queries.append(Query(whoms[at % len(whoms)]))
    return queries
