"""Knows how the verified files of a version become arrays and indices, mapped and never written.

It refuses to know stores, checksums and queries.
"""

from collections.abc import Container, Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ilk.ann import Index, IndexKind
from ilk.bundle.contents import (
    Biases,
    Catalogue,
    ContentGroups,
    Ratings,
    Side,
    TermWeights,
    unflatten,
)
from ilk.bundle.lease import Lease
from ilk.bundle.manifest import Manifest
from ilk.bundle.shapes import check_arrays
from ilk.content import ContentField, ContentModel
from ilk.errors import BundleCorrupt
from ilk.foldin import FoldIn
from ilk.index_file import check_contents
from ilk.preference import Preference
from ilk.space import SPACE_KEYS, Space, SpaceKey
from ilk.titles import TitleNames
from ilk.types import Target
from ilk.vectors import Float32Matrix, norms

# Of so many items it is told how long factors of what is liked are.
_MOST_LIKED = 1000

MappedArrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Bundle:
    """One opened version: everything a query reads, mapped and never written.

    Attributes
    ----------
    manifest
        What the bundle says of itself.
    users, items
        The two sides.
    ratings_by_user, ratings_by_item
        The ratings matrix in both directions.
    catalogue, content_model, fold_in, preference, biases
        What is known of the items; how words and ratings become vectors and stars.
    content_groups, item_terms
        Items by equal content; what the content is made of.
    spaces
        The four spaces.
    liked_length
        How long the factors are of what one rated, by the items that most have liked.
    lease
        Keeps the version from being deleted while anybody has it open.
    title_names
        What titles are asked for by; None in bundles of before 30 November 2026.
    expected
        What content adds to each user's factors (`ilk.query.expectation`) at a content weight of 1, shape
        ``(n_users, n_factors)``, or ``(0, n_factors)`` where all rated enough; None as above.
    fast_paths, bounds, shares
        What the query path has worked out for queries of each shape (`ilk.query.known`), for exact ones
        (`ilk.query.pruning`) and for those of who is no row (`ilk.query.strangers`).
    """

    manifest: Manifest
    users: Side
    items: Side
    ratings_by_user: Ratings
    ratings_by_item: Ratings
    catalogue: Catalogue
    content_model: ContentModel
    content_groups: ContentGroups
    item_terms: TermWeights
    fold_in: FoldIn
    preference: Preference
    biases: Biases
    spaces: dict[SpaceKey, Space]
    liked_length: float
    lease: Lease
    title_names: TitleNames | None = None
    expected: Float32Matrix | None = None
    fast_paths: dict[Hashable, Any] = field(default_factory=dict, repr=False, compare=False)
    bounds: dict[SpaceKey, Any] = field(default_factory=dict, repr=False, compare=False)
    shares: dict[SpaceKey, float] = field(default_factory=dict, repr=False, compare=False)

    @property
    def version(self) -> str:
        """The version's name, that every answer carries."""
        return self.manifest.version

    def side(self, target: Target) -> Side:
        """Return the users or the items."""
        return self.items if target is Target.ITEMS else self.users


def map_bundle(folder: Path, manifest: Manifest, fresh: Container[str], lease: Lease) -> Bundle:
    """Map what is in ``folder``, whose files have been verified, read-only.

    Parameters
    ----------
    fresh
        Names of indices that were not looked through when they were verified before.
    lease
        Kept with the bundle.

    Raises
    ------
    BundleCorrupt
        If types, shapes or kinds are not as the manifest says; numpy raises many other things over
        files that no writer of ours wrote.
    """
    arrays = _map_arrays(folder, manifest)
    check_arrays(manifest, arrays)
    _check_defaults(manifest)
    users: Side = unflatten("users", Side, arrays)
    items: Side = unflatten("items", Side, arrays)
    ratings_by_item: Ratings = unflatten("ratings_by_item", Ratings, arrays)
    sides = {Target.USERS: users, Target.ITEMS: items}
    return Bundle(
        manifest=manifest,
        users=users,
        items=items,
        ratings_by_user=unflatten("ratings_by_user", Ratings, arrays),
        ratings_by_item=ratings_by_item,
        catalogue=unflatten("catalogue", Catalogue, arrays),
        content_model=_content_model(manifest, arrays),
        content_groups=unflatten("content_groups", ContentGroups, arrays),
        item_terms=unflatten("item_terms", TermWeights, arrays),
        fold_in=FoldIn(gram=arrays["gram"], common=arrays.get("common_taste"), **manifest.fold_in),
        preference=Preference.from_json(manifest.preference),
        biases=unflatten("biases", Biases, arrays),
        spaces={
            key: _open_space(folder, manifest, key, sides[key.target], fresh) for key in SPACE_KEYS
        },
        liked_length=_liked_length(items, ratings_by_item),
        lease=lease,
        title_names=(
            unflatten("title_names", TitleNames, arrays) if "title_names.rows" in arrays else None
        ),
        expected=arrays.get("users.expected"),
    )


def _liked_length(items: Side, ratings: Ratings) -> float:
    # The items that most like come first.
    counts = np.diff(ratings.indptr[: _MOST_LIKED + 1])
    lengths = norms(items.factors[: len(counts)])
    return float(counts @ lengths) / max(float(counts.sum()), 1.0)


def _map_arrays(folder: Path, manifest: Manifest) -> MappedArrays:
    return {
        name.removesuffix(".npy"): _map_array(folder / name)
        for name in manifest.files
        if name.endswith(".npy")
    }


def _map_array(path: Path) -> npt.NDArray[Any]:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray):
        raise BundleCorrupt(f"{path.name} is not an array; build again")
    # A plain ndarray over the map: slicing np.memmap costs several times as much.
    return np.asarray(array).view(np.ndarray)


def _check_defaults(manifest: Manifest) -> None:
    shares = (manifest.default_content_weight, manifest.default_recall)
    if not all(isinstance(share, float) and 0 <= share <= 1 for share in shares):
        raise BundleCorrupt(
            f"the default blend and recall must be in [0, 1], found {shares}; build again"
        )


def _content_model(manifest: Manifest, arrays: MappedArrays) -> ContentModel:
    fields = tuple(ContentField(n, tuple(terms), w) for n, terms, w in manifest.content_fields)
    n_terms = sum(len(field.terms) for field in fields)
    if not fields or n_terms != len(arrays["content.idf"]):
        raise BundleCorrupt(
            f"{n_terms} terms have {len(arrays['content.idf'])} weights; build again"
        )
    return ContentModel(
        fields=fields,
        idf=arrays["content.idf"],
        projection=arrays.get("content.projection"),
        to_factors=arrays["content.to_factors"],
    )


def _open_space(
    folder: Path, manifest: Manifest, key: SpaceKey, side: Side, fresh: Container[str]
) -> Space:
    record = manifest.indices[key.name]
    dim = manifest.n_factors + manifest.dim_content
    path, kind = folder / f"{key.name}.faiss", IndexKind(record.kind)
    if path.name in fresh:
        check_contents(path, kind.value, len(side), kind.width(dim))
    index = Index.open(path, kind, len(side), dim)
    for row in record.recall:
        # No search of an effort that nobody knows: LookupError.
        index.candidates(1, row.effort)
    factors = side.directions if key.by_likeness else side.factors
    return Space(key, factors, side.content, index, record.recall, record.costs_us)
