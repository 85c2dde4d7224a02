"""Knows how ids are drawn: the popular often, the rest seldom, from a seed.

It refuses to know what the ids are put into.
"""

import itertools
from collections.abc import Sequence

import numpy as np

from loadtest.world import World

_CHUNK = 4096
# Draws for each item that is wanted: by a steep --zipf the same few would come up forever.
_PATIENCE = 32


class Draw:
    """Draws what one call after another asks about.

    Parameters
    ----------
    world
        What may be asked about.
    zipf
        The r-th most popular is drawn in proportion to ``1 / r ** zipf``; 0 draws all alike.
    rng
        Drawn from, and nothing else.
    """

    def __init__(self, world: World, zipf: float, rng: np.random.Generator) -> None:
        self.world = world
        self.rng = rng
        self._items = _Popular(world.items, zipf, rng)
        self._users = _Popular(world.users, zipf, rng)

    def item(self) -> str:
        """Return an item's id."""
        return self._items.next()

    def items(self, n: int) -> list[str]:
        """Return ``n`` different items' ids, or all where there are fewer.

        What is missing after many draws is filled up with the most popular of the others.
        """
        drawn: dict[str, None] = {}
        for _ in range(_PATIENCE * n):
            if len(drawn) == n:
                return list(drawn)
            drawn[self.item()] = None
        others = (item_id for item_id in self.world.items if item_id not in drawn)
        return [*drawn, *itertools.islice(others, n - len(drawn))]

    def user(self) -> str:
        """Return a user's id."""
        return self._users.next()

    def genre(self) -> str:
        """Return a genre's name; all are equally likely."""
        return self.world.genres[int(self.rng.integers(len(self.world.genres)))]

    def stars(self) -> float:
        """Return stars within the bundle's scale, in halves; clicks where it has none."""
        low, high = self.world.scale or (1.0, 5.0)
        return low + 0.5 * int(self.rng.integers(int((high - low) * 2) + 1))


class _Popular:
    """Ids in falling order of popularity, drawn a chunk at a time."""

    def __init__(self, ids: Sequence[str], zipf: float, rng: np.random.Generator) -> None:
        weights = np.arange(1, len(ids) + 1, dtype=np.float64) ** -zipf
        self._ids = ids
        self._cumulative = np.cumsum(weights)
        self._rng = rng
        self._drawn: list[int] = []

    def next(self) -> str:
        if not self._drawn:
            at = self._rng.uniform(0, self._cumulative[-1], _CHUNK)
            rows = np.searchsorted(self._cumulative, at, side="right")
            self._drawn = np.minimum(rows, len(self._ids) - 1).tolist()
        return self._ids[self._drawn.pop()]
