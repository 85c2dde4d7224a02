"""Knows how a bundle becomes the same one without some of its users, from nothing but itself.

It refuses to know stores, and why. Vectors of those who stay are not touched; whatever is computed from
ratings alone is computed anew.
"""

import os
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ilk.ann import IndexKind
from ilk.bundle import Bundle
from ilk.bundle.contents import Arrays, Ratings, Side, flatten
from ilk.bundle.manifest import IndexRecord, Manifest
from ilk.bundle.writer import Savable
from ilk.errors import BundleError
from ilk.space import SPACE_KEYS
from ilk.types import Target
from ilk.vocabulary import Vocabulary
from indexer.indexing.spaces import build_space
from indexer.settings import BuildSettings
from indexer.training.facts import Rated, biases_of, mean_stars

Mask = npt.NDArray[np.bool_]


def without_users(
    bundle: Bundle, folder: Path, rows: npt.NDArray[np.int64]
) -> tuple[Manifest, Arrays, dict[str, Savable]]:
    """Return what to publish: the bundle in ``folder`` without the users in ``rows``.

    Their vectors, ids and ratings go; what is counted or averaged over ratings (the users' activity, mean
    stars, biases) and the users' indices are made anew; the rest is as it was.

    Raises
    ------
    BundleError
        If nobody or no rating would be left.
    """
    kept = np.ones(len(bundle.users), dtype=np.bool_)
    kept[rows] = False
    by_user, by_item = _ratings(bundle, kept)
    if not len(by_user.stars):
        raise BundleError(
            "nothing would be left of the live bundle, which goes on serving them; they are on the list, "
            "and no later build has them: build one from other data"
        )
    users = _users(bundle.users, kept)
    arrays = _stored_arrays(bundle, folder)
    user_rows = np.repeat(np.arange(len(users), dtype=np.int32), np.diff(by_user.indptr))
    rated = Rated(user_rows, by_user.others, by_user.stars, len(users), len(bundle.items))
    biases = biases_of(rated, bundle.preference.scale)
    arrays |= flatten("users", users) | flatten("biases", biases)
    arrays |= flatten("ratings_by_user", by_user) | flatten("ratings_by_item", by_item)
    arrays["catalogue.mean_stars"] = mean_stars(rated)
    if bundle.expected is not None and len(bundle.expected):
        arrays["users.expected"] = bundle.expected[kept]
    indices, records = _indices(bundle, folder, users)
    manifest = replace(
        bundle.manifest,
        version="",
        files={},
        created_at_s=float(int(time.time())),
        n_users=len(users),
        n_ratings=len(by_user.stars),
        indices=records,
        provenance={**bundle.manifest.provenance, "made without some users of": bundle.version},
    )
    return manifest, arrays, indices


@dataclass(frozen=True, slots=True)
class _Copied:
    """An index that is written as the file it is in another version."""

    file: Path

    def save(self, path: Path) -> None:
        shutil.copyfile(self.file, path)
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _stored_arrays(bundle: Bundle, folder: Path) -> Arrays:
    return {
        name.removesuffix(".npy"): np.load(folder / name, mmap_mode="r", allow_pickle=False)
        for name in bundle.manifest.files
        if name.endswith(".npy")
    }


def _users(users: Side, kept: Mask) -> Side:
    popularity = users.popularity[kept]
    return Side(
        Vocabulary.of(users.vocabulary.id_of(row) for row in np.flatnonzero(kept).tolist()),
        users.factors[kept],
        users.directions[kept],
        users.content[kept],
        popularity / np.float32(max(float(popularity.max(initial=0)), 1e-9)),
        users.inferred[kept],
    )


def _ratings(bundle: Bundle, kept: Mask) -> tuple[Ratings, Ratings]:
    by_user, by_item = bundle.ratings_by_user, bundle.ratings_by_item
    counts = np.diff(by_user.indptr)
    new_row = (np.cumsum(kept) - 1).astype(np.int32)
    item_of = np.repeat(np.arange(len(bundle.items)), np.diff(by_item.indptr))
    stays = kept[by_item.others]
    n_of_item = np.bincount(item_of[stays], minlength=len(bundle.items))
    return (
        _picked(by_user, np.repeat(kept, counts), counts[kept], by_user.others),
        _picked(by_item, stays, n_of_item, new_row[by_item.others]),
    )


def _picked(
    ratings: Ratings,
    stays: Mask,
    counts: npt.NDArray[np.int64],
    others: npt.NDArray[np.int32],
) -> Ratings:
    indptr = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=indptr[1:])
    times = ratings.times_s[stays] if len(ratings.times_s) else ratings.times_s
    return Ratings(indptr, others[stays], ratings.stars[stays], times)


def _indices(
    bundle: Bundle, folder: Path, users: Side
) -> tuple[dict[str, Savable], dict[str, IndexRecord]]:
    """Return the items' indices as they are, and those of the users built and measured anew."""
    indices: dict[str, Savable] = {}
    records = dict(bundle.manifest.indices)
    sides = {Target.USERS: users, Target.ITEMS: bundle.items}
    for key in SPACE_KEYS:
        indices[key.name] = _Copied(folder / f"{key.name}.faiss")
        if key.target is Target.USERS:
            settings = BuildSettings(
                factors=bundle.manifest.n_factors,
                index=IndexKind(records[key.name].kind),
                content_weight=bundle.manifest.default_content_weight,
                recall_target=bundle.manifest.default_recall,
                seed=int(bundle.manifest.settings["seed"]),
            )
            indices[key.name], records[key.name], _ = build_space(key, sides, settings)
    return indices, records
