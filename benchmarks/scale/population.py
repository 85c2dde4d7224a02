"""Knows how a bundle of millions is made from a small fitted one, in bounded memory.

It refuses to know what is drawn (`drawing` does) and what serving it costs. Memory holds the indices, and
the vectors of the one being built.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.scale.drawing import (
    Population,
    draw_origins,
    drawn_arrays,
    drawn_side,
    expected_of,
)
from ilk.ann import Index
from ilk.bundle import Bundle, Store, publish
from ilk.bundle.contents import Arrays, Ratings, unflatten
from ilk.bundle.manifest import IndexRecord, Manifest
from ilk.space import SPACE_KEYS
from ilk.types import Target
from indexer.indexing.spaces import build_space
from indexer.progress import Progress
from indexer.settings import BuildSettings


def publish_drawn(
    fitted: Bundle,
    population: Population,
    store: Path,
    scratch: Path,
    settings: BuildSettings,
    progress: Progress,
) -> str:
    """Publish a bundle drawn from a fitted one, and return its version.

    Parameters
    ----------
    scratch
        Folder for as many bytes as the bundle has; what is left there may be deleted.
    settings
        Which indices, which recall, which seed.
    """
    rng = np.random.default_rng(settings.seed)
    with progress.step("draw"):
        users, items = draw_origins(fitted, population, scratch, rng)
        sides = {
            target: drawn_side(fitted, target, drawn, scratch / target.value, rng)
            for target, drawn in ((Target.USERS, users), (Target.ITEMS, items))
        }
        arrays = drawn_arrays(fitted, population, sides, items, rng)
        by_user: Ratings = unflatten("ratings_by_user", Ratings, arrays)
        arrays["users.expected"] = expected_of(fitted, by_user, users, sides, scratch / "expected")
    with progress.step("index", len(SPACE_KEYS)) as advance:
        indices: dict[str, Index] = {}
        records: dict[str, IndexRecord] = {}
        rejected: dict[str, list[IndexRecord]] = {}
        for done, key in enumerate(SPACE_KEYS, start=1):
            indices[key.name], records[key.name], rejected[key.name] = build_space(
                key, sides, settings
            )
            advance(done)
    manifest = _manifest(fitted, population, arrays, settings)
    manifest = replace(manifest, indices=records, rejected_indices=rejected)
    with progress.step("publish"):
        publish(Store(store), manifest, arrays, indices, check=_read_back)
    return manifest.version


def _read_back(_: Bundle) -> None:
    """Ask nothing of a bundle that was opened, and so verified, as every build is when published."""


def _manifest(
    fitted: Bundle,
    population: Population,
    arrays: Arrays,
    settings: BuildSettings,
) -> Manifest:
    unseen = fitted.manifest.fold_in["unseen_weight"] / len(fitted.items) * population.n_items
    return replace(
        fitted.manifest,
        version=f"drawn-{population.n_users}x{population.n_items}",
        n_users=population.n_users,
        n_items=population.n_items,
        n_ratings=len(arrays["ratings_by_user.others"]),
        fold_in={**fitted.manifest.fold_in, "unseen_weight": unseen},
        source=f"vectors drawn from {fitted.manifest.source}",
        simulated=True,
        settings=settings.to_strings(),
        quality={},
        files={},
    )
