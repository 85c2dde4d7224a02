"""Knows a small world in which whatever can be degenerate is: zero vectors, twins, ids that look alike.

It refuses to know real films and people.
"""

from pathlib import Path

import numpy as np

from ilk.bundle import Bundle, open_bundle
from indexer.interactions import Interactions, Items
from indexer.progress import Progress
from indexer.publishing import assemble_and_publish
from indexer.settings import BuildSettings

_GENRES = (("Drama",), ("Comedy", "Crime"), ("Sci-Fi",))
_ITEMS: dict[str, tuple[str, ...]] = {
    **{f"film-{at}": _GENRES[at % 3] for at in range(9)},
    "twin-a": ("Drama", "Sci-Fi"),
    "twin-b": ("Drama", "Sci-Fi"),
    # Nothing is known of it: both of its vectors are zero.
    "blank": (),
    "no-genre": (),
    "nobody-rated": ("Crime",),
    "same": ("Comedy",),
    "x" * 256: ("Drama",),
    " ": ("Drama",),
    "-1": ("Sci-Fi",),
}
_STARS: dict[str, dict[str, float]] = {
    **{
        f"user-{at}": {f"film-{(at + step) % 9}": 1.0 + (at * step) % 5 for step in (0, 1, 3, 5)}
        for at in range(10)
    },
    "hates-all": {"film-0": 1.0, "film-1": 1.0, "film-2": 1.0},
    "loves-all": {item: 5.0 for item in _ITEMS if item not in ("blank", "nobody-rated")},
    "one-rating": {"no-genre": 3.0},
    "twin-a": {"twin-a": 5.0, "twin-b": 5.0},
    "twin-b": {"twin-a": 5.0, "twin-b": 5.0},
    "same": {"same": 4.0},
    "é" * 128: {"x" * 256: 4.0, " ": 2.0, "-1": 5.0},
}


def built(store: Path) -> Bundle:
    """Publish this world's bundle to ``store`` and open it."""
    settings = BuildSettings(factors=4, iterations=4, evaluate=False)
    assemble_and_publish(odd_world(), store, settings, {}, Progress(quiet=True))
    return open_bundle(store)


def odd_world() -> Interactions:
    """Return its ratings."""
    users, items = list(_STARS), list(_ITEMS)
    given = [(u, i, stars) for u, rated in _STARS.items() for i, stars in rated.items()]
    years = np.array([0 if at % 4 == 0 else 1900 + at for at in range(len(items))], dtype=np.int16)
    return Interactions(
        user_ids=users,
        items=Items(
            items, ["" if i == "blank" else i for i in items], years, list(_ITEMS.values()), {}
        ),
        user_rows=np.array([users.index(u) for u, _, _ in given], dtype=np.int32),
        item_rows=np.array([items.index(i) for _, i, _ in given], dtype=np.int32),
        ratings=np.array([stars for _, _, stars in given], dtype=np.float32),
        timestamps=None,
        rating_scale=(1.0, 5.0),
        source="a world of odd cases",
        simulated=True,
    )
