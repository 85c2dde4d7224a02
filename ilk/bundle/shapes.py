"""Knows the type and shape of every array of a bundle, and holds what was read against them.

It refuses to know what the values are; that takes reading them all, and is done once, before publishing.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ilk.bundle.manifest import Manifest
from ilk.errors import BundleCorrupt

_SIDE: Final = {
    "vocabulary.blob": ("u1", "*"),
    "vocabulary.offsets": ("i8", "{n}+1"),
    "vocabulary.hashes": ("u8", "{n}"),
    "vocabulary.hash_rows": ("i8", "{n}"),
    "factors": ("f4", "{n}", "factors"),
    "directions": ("f4", "{n}", "factors"),
    "content": ("f4", "{n}", "content"),
    "popularity": ("f4", "{n}"),
    "inferred": ("?", "{n}"),
}
_RATINGS: Final = {
    "indptr": ("i8", "{n}+1"),
    "others": ("i4", "ratings"),
    "stars": ("f4", "ratings"),
    "times_s": ("i8", "ratings?"),
}


def _of(prefix: str, table: Mapping[str, tuple[str, ...]], side: str) -> dict[str, tuple[str, ...]]:
    return {
        f"{prefix}.{name}": tuple(part.format(n=side) for part in expected)
        for name, expected in table.items()
    }


# Each array's type, then its dimensions: a name is a count of the manifest, ``*`` any number, and
# ``?`` says that the array may be empty instead.
_ARRAYS: Final[dict[str, tuple[str, ...]]] = {
    **_of("users", _SIDE, "users"),
    **_of("items", _SIDE, "items"),
    "users.expected": ("f4", "users?", "factors"),
    **_of("ratings_by_user", _RATINGS, "users"),
    **_of("ratings_by_item", _RATINGS, "items"),
    "catalogue.titles.blob": ("u1", "*"),
    "catalogue.titles.offsets": ("i8", "items+1"),
    "catalogue.years": ("i2", "items"),
    "catalogue.genre_indptr": ("i8", "items+1"),
    "catalogue.genre_codes": ("u2", "*"),
    "catalogue.genre_bitmaps": ("u1", "genres", "items/8"),
    "catalogue.mean_stars": ("f4", "items"),
    "title_names.names.blob": ("u1", "*"),
    "title_names.names.offsets": ("i8", "*"),
    "title_names.rows": ("i4", "*"),
    "title_names.n_grams": ("i4", "*"),
    "title_names.grams": ("i4", "*"),
    "title_names.indptr": ("i8", "*"),
    "title_names.holders": ("i4", "*"),
    "content_groups.vectors": ("f4", "*", "content"),
    "content_groups.indptr": ("i8", "*"),
    "content_groups.members": ("i8", "items"),
    "content_groups.group_of": ("i4", "items"),
    "item_terms.indptr": ("i8", "items+1"),
    "item_terms.codes": ("i4", "*"),
    "item_terms.weights": ("f4", "*"),
    "content.idf": ("f4", "terms"),
    "content.projection": ("f4", "terms", "content"),
    "content.to_factors": ("f4", "content+1", "factors"),
    "gram": ("f8", "factors", "factors"),
    "common_taste": ("f4", "factors"),
    "biases.mean": ("f8", "1"),
    "biases.users": ("f4", "users"),
    "biases.items": ("f4", "items"),
}


def check_arrays(manifest: Manifest, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Refuse arrays of another type or shape than the manifest's counts ask for.

    Raises
    ------
    BundleCorrupt
        Naming the array, what it is and what was expected.
    """
    counts = _counts(manifest)
    for name, (dtype, *dims) in _ARRAYS.items():
        if name not in arrays:
            continue
        array = arrays[name]
        expected = tuple(None if dim == "*" else counts[dim.rstrip("?")] for dim in dims)
        sound = array.dtype == np.dtype(dtype) and array.ndim == len(expected)
        sound = sound and array.flags.c_contiguous
        if sound and all(e in (None, n) for n, e in zip(array.shape, expected, strict=True)):
            continue
        if sound and dims[0].endswith("?") and not array.size:
            continue
        shown = tuple("any" if e == -1 else e for e in expected)
        raise BundleCorrupt(
            f"{name} is {array.dtype} {array.shape}, expected {np.dtype(dtype)} {shown}; build again"
        )


def _counts(manifest: Manifest) -> dict[str, int]:
    n_users, n_items = manifest.n_users, manifest.n_items
    terms = [len(terms) for _, terms, _ in manifest.content_fields]
    return {
        "users": n_users,
        "users+1": n_users + 1,
        "items": n_items,
        "items+1": n_items + 1,
        "items/8": -(-n_items // 8),
        "ratings": manifest.n_ratings,
        "factors": manifest.n_factors,
        "content": manifest.dim_content,
        "content+1": manifest.dim_content + 1,
        "terms": sum(terms),
        "genres": terms[0] if terms else 0,
        "1": 1,
    }
