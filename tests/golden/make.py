"""Makes the golden bundle of the present format: ``python -m tests.golden.make``.

One is made when a format is new, and never again: what it shows is that files written then are read now.
The films and the people are invented.
"""

import base64
import json
import sys
import tempfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from ilk.ann import IndexKind
from ilk.bundle import Bundle, Store, open_bundle, publish
from ilk.bundle.manifest import FORMAT_VERSION
from ilk.query import answer
from ilk.types import Examples, Filter, ItemId, Profile, Query, Rating, Target, Text, UserId, Whom
from indexer import publishing
from indexer.interactions import Interactions, Items
from indexer.progress import Progress
from indexer.settings import BuildSettings

FOLDER = Path(__file__).parent
# With those of the older formats, all kinds are read for ever but PQ and IVFPQ, which find too few of so
# few films.
_KIND_OF_SPACE = {
    "items.likeness": IndexKind.IVF_PQ_2,
    "items.affinity": IndexKind.FLAT,
    "users.likeness": IndexKind.HNSW,
    "users.affinity": IndexKind.IVF_SQ,
}
_SETTINGS = BuildSettings(factors=2, iterations=4, evaluate=False, half_life_days=30.0)
_FILMS = {
    "tin-moon": ("The Tin Moon", 1961, ("Sci-Fi", "Adventure")),
    "ninth-orbit": ("Ninth Orbit", 1998, ("Sci-Fi",)),
    "sugar-tax": ("Sugar Tax", 2004, ("Comedy", "Crime")),
    "aunt-heist": ("My Aunt's Heist", 2011, ("Comedy", "Crime")),
    "salt-letters": ("Salt Letters", 1987, ("Drama", "Romance")),
    "last-ferry": ("最後の渡し船", 0, ("Drama",)),
    "unseen-reel": ("The Unseen Reel", 2020, ("Sci-Fi", "Drama")),
}
_STARS = {
    "ada": {"tin-moon": 5, "ninth-orbit": 5, "sugar-tax": 2},
    "bo": {"tin-moon": 4, "ninth-orbit": 5, "last-ferry": 1},
    "chi": {"sugar-tax": 5, "aunt-heist": 4, "tin-moon": 2},
    "dag": {"aunt-heist": 5, "sugar-tax": 4, "salt-letters": 3},
    "eve": {"salt-letters": 5, "last-ferry": 5, "aunt-heist": 2},
    "fay": {"salt-letters": 4, "last-ferry": 4, "ninth-orbit": 1},
}
QUERIES: dict[str, tuple[Whom, Target, Filter]] = {
    "items like an item": (ItemId("tin-moon"), Target.ITEMS, Filter()),
    "items for a user": (UserId("eve"), Target.ITEMS, Filter(exclude_seen=True)),
    "users like a user": (UserId("dag"), Target.USERS, Filter()),
    "users for an item": (ItemId("sugar-tax"), Target.USERS, Filter()),
    "items for a profile": (
        Profile(ratings=(Rating("aunt-heist", 5.0),), favorite_genres=("Comedy",)),
        Target.ITEMS,
        Filter(min_year=1980),
    ),
    "items between examples": (
        Examples(("salt-letters",), ("tin-moon",)),
        Target.ITEMS,
        Filter(no_genres=("Crime",)),
    ),
    "items for a text": (Text("romance drama"), Target.ITEMS, Filter()),
}


def answers_of(bundle: Bundle) -> dict[str, list[list[Any]]]:
    """Return what is answered to each query: ids and scores, best first."""
    return {
        name: [
            [n.id, round(n.score, 5)]
            for n in answer(bundle, Query(whom, target, filter=only, neighbor_count=4)).neighbors
        ]
        for name, (whom, target, only) in QUERIES.items()
    }


def unpack(golden: Path, store: Path) -> dict[str, Any]:
    """Write a golden bundle to ``store`` and make it live; return what else its file holds."""
    told: dict[str, Any] = json.loads(golden.read_text(encoding="utf-8"))
    folder = Store(store).folder_of(told["version"])
    folder.mkdir(parents=True)
    for name, packed in told.pop("files").items():
        (folder / name).write_bytes(zlib.decompress(base64.b85decode(packed)))
    Store(store).point_current_at(told["version"])
    return told


def _people() -> Interactions:
    users, films = list(_STARS), list(_FILMS)
    entries = [(u, f, s) for u, given in _STARS.items() for f, s in given.items()]
    return Interactions(
        user_ids=users,
        items=Items(
            films,
            [title for title, _, _ in _FILMS.values()],
            np.array([year for _, year, _ in _FILMS.values()], dtype=np.int16),
            [genres for _, _, genres in _FILMS.values()],
            {},
        ),
        user_rows=np.array([users.index(u) for u, _, _ in entries], dtype=np.int32),
        item_rows=np.array([films.index(f) for _, f, _ in entries], dtype=np.int32),
        ratings=np.array([s for _, _, s in entries], dtype=np.float32),
        timestamps=np.arange(len(entries), dtype=np.int64) * 86_400 + 1_000_000_000,
        rating_scale=(1.0, 5.0),
        source="invented films",
        simulated=True,
    )


def _publish(store: Store) -> Path:
    """Publish one bundle of indices of all kinds."""
    built: dict[IndexKind, tuple[Any, ...]] = {}
    for kind in IndexKind:
        with mock.patch.object(publishing, "publish_checked", lambda *handed: handed):
            built[kind] = publishing.assemble_and_publish(  # type: ignore[assignment]
                _people(), Path(), replace(_SETTINGS, index=kind), {}, Progress(quiet=True)
            )
    _, manifest, arrays, _, _, _ = built[IndexKind.FLAT]
    chosen = {space: built[kind] for space, kind in _KIND_OF_SPACE.items()}
    indices = {space: handed[3][space] for space, handed in chosen.items()}
    records = {space: handed[1].indices[space] for space, handed in chosen.items()}
    return publish(store, replace(manifest, indices=records), arrays, indices)


def main() -> int:
    """Write ``format-N.json``, unless it is there."""
    golden = FOLDER / f"format-{FORMAT_VERSION}.json"
    if golden.exists():
        sys.stderr.write(f"{golden.name} is there, and is never made again\n")
        return 2
    with tempfile.TemporaryDirectory() as name:
        folder = _publish(Store(Path(name)))
        bundle = open_bundle(Path(name))
        packed = {
            path.name: base64.b85encode(zlib.compress(path.read_bytes(), 9)).decode()
            for path in sorted(folder.iterdir())
        }
        told = {"version": bundle.version, "answers": answers_of(bundle), "files": packed}
    golden.write_text(json.dumps(told, indent=0, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
