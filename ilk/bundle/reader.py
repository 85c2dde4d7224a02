"""Knows how a bundle is opened: verify, map read-only, or refuse with a message that says what to do.

It refuses to know queries.
"""

from collections.abc import Mapping
from dataclasses import dataclass
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
from ilk.bundle.manifest import MANIFEST_NAME, MAX_MANIFEST_BYTES, Manifest
from ilk.bundle.store import Store
from ilk.bundle.writer import sha256_of
from ilk.content import ContentField, ContentModel
from ilk.errors import BundleCorrupt, BundleMissing, SettingsError
from ilk.foldin import FoldIn
from ilk.preference import Preference
from ilk.space import SPACE_KEYS, Space, SpaceKey
from ilk.types import Target

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

    @property
    def version(self) -> str:
        """The version's name, that every answer carries."""
        return self.manifest.version

    def side(self, target: Target) -> Side:
        """Return the users or the items."""
        return self.items if target is Target.ITEMS else self.users


def open_bundle(path: Path, version: str | None = None) -> Bundle:
    """Open the live bundle of a store, or the ``version`` named.

    Raises
    ------
    BundleMissing
        If there is none.
    BundleCorrupt, BundleUnsupported
        If it is not what was published, or in a format this version does not read.
    """
    store = Store(path)
    return open_folder(store.folder_of(version or store.current_version()))


def open_folder(folder: Path) -> Bundle:
    """Open the bundle in ``folder``; errors as :func:`open_bundle`."""
    manifest = read_manifest(folder)
    if manifest.version != folder.name:
        raise BundleCorrupt(f"{folder.name} holds the bundle {manifest.version!r}; rename it back")
    _verify(folder, manifest)
    try:
        return _assemble(folder, manifest, _map_arrays(folder, manifest))
    except (KeyError, ValueError, TypeError, SettingsError) as error:
        raise BundleCorrupt(f"{folder.name}: {error}; build it again") from error


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of the bundle in ``folder``; errors as :func:`open_bundle`."""
    path = folder / MANIFEST_NAME
    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise BundleCorrupt(f"{path}: larger than {MAX_MANIFEST_BYTES} bytes")
        manifest = Manifest.from_json(path.read_bytes())
    except FileNotFoundError as error:
        raise BundleMissing(f"{folder} holds no {MANIFEST_NAME}") from error
    except OSError as error:
        raise BundleCorrupt(f"{path} cannot be read: {error}") from error
    return manifest


def _verify(folder: Path, manifest: Manifest) -> None:
    found = {p.name for p in folder.iterdir()} - {MANIFEST_NAME}
    if found != manifest.files.keys():
        missing, extra = (
            sorted(manifest.files.keys() - found),
            sorted(found - manifest.files.keys()),
        )
        raise BundleCorrupt(f"{folder.name}: missing files {missing}, unexpected files {extra}")
    for name, record in manifest.files.items():
        path = folder / name
        if path.is_symlink() or not path.is_file():
            raise BundleCorrupt(f"{folder.name}: {name} is not a plain file")
        if path.stat().st_size != record.size_bytes or sha256_of(path) != record.sha256:
            raise BundleCorrupt(
                f"{folder.name}: {name} is not the file that was published; "
                "point CURRENT at another version, or build again"
            )


def _map_arrays(folder: Path, manifest: Manifest) -> MappedArrays:
    return {
        name.removesuffix(".npy"): _map_array(folder / name)
        for name in manifest.files
        if name.endswith(".npy")
    }


def _map_array(path: Path) -> npt.NDArray[Any]:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray):
        raise BundleCorrupt(f"{path.name} is not an array")
    # A plain ndarray over the map: slicing np.memmap costs several times as much.
    return np.asarray(array).view(np.ndarray)


def _assemble(folder: Path, manifest: Manifest, arrays: MappedArrays) -> Bundle:
    users: Side = unflatten("users", Side, arrays)
    items: Side = unflatten("items", Side, arrays)
    _check_shapes(manifest, users, items)
    sides = {Target.USERS: users, Target.ITEMS: items}
    return Bundle(
        manifest=manifest,
        users=users,
        items=items,
        ratings_by_user=unflatten("ratings_by_user", Ratings, arrays),
        ratings_by_item=unflatten("ratings_by_item", Ratings, arrays),
        catalogue=unflatten("catalogue", Catalogue, arrays),
        content_model=_content_model(manifest, arrays),
        content_groups=unflatten("content_groups", ContentGroups, arrays),
        item_terms=unflatten("item_terms", TermWeights, arrays),
        fold_in=FoldIn(gram=arrays["gram"], **manifest.fold_in),
        preference=Preference.from_json(manifest.preference),
        biases=unflatten("biases", Biases, arrays),
        spaces={key: _open_space(folder, manifest, key, sides[key.target]) for key in SPACE_KEYS},
    )


def _check_shapes(manifest: Manifest, users: Side, items: Side) -> None:
    shares = (manifest.default_content_weight, manifest.default_recall)
    if not all(isinstance(share, float) and 0 <= share <= 1 for share in shares):
        raise BundleCorrupt(f"the default blend and recall must be in [0, 1], found {shares}")
    for name, side, n in (("users", users, manifest.n_users), ("items", items, manifest.n_items)):
        shapes = (len(side), side.factors.shape, side.content.shape)
        expected = (n, (n, manifest.n_factors), (n, manifest.dim_content))
        if shapes != expected:
            raise BundleCorrupt(f"{name}: shapes {shapes}, the manifest says {expected}")


def _content_model(manifest: Manifest, arrays: MappedArrays) -> ContentModel:
    fields = tuple(ContentField(n, tuple(terms), w) for n, terms, w in manifest.content_fields)
    n_terms = sum(len(field.terms) for field in fields)
    if not fields or n_terms != len(arrays["content.idf"]):
        raise BundleCorrupt(f"{n_terms} terms have {len(arrays['content.idf'])} weights")
    return ContentModel(
        fields=fields,
        idf=arrays["content.idf"],
        projection=arrays.get("content.projection"),
        to_factors=arrays["content.to_factors"],
    )


def _open_space(folder: Path, manifest: Manifest, key: SpaceKey, side: Side) -> Space:
    record = manifest.indices[key.name]
    dim = manifest.n_factors + manifest.dim_content
    index = Index.open(folder / f"{key.name}.faiss", IndexKind(record.kind), len(side), dim)
    factors = side.directions if key.by_likeness else side.factors
    return Space(key, factors, side.content, index, record.recall)
