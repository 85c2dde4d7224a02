"""Knows what the values of a bundle must be like before anybody is answered from them.

It refuses to know how they were made, and whether they are good: `gate` asks that of other figures.
Types and shapes were checked when the bundle was opened.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from ilk.bundle import Bundle
from ilk.bundle.contents import Ratings, Side, flatten
from ilk.errors import BundleError
from ilk.query.expectation import needing_help
from ilk.vocabulary import Vocabulary

Array = npt.NDArray[Any]

# Arrays are looked through in parts of so many elements, so that a large bundle costs little memory.
_CHUNK = 1 << 22
_SLACK = 1e-4
_MAX_IDS_ASKED = 20_000


def check_values(bundle: Bundle) -> None:
    """Refuse a bundle with a value that no sound build gives; BundleError says which.

    Notes
    -----
    Reads every array once. Row numbers must be in range, offsets rising, columns sorted, vectors finite
    and no longer than 1, the two directions of the ratings the same ratings, and every id found under
    its own row.
    """
    manifest = bundle.manifest
    for name, side in (("users", bundle.users), ("items", bundle.items)):
        _check_side(name, side)
    _check_ratings("ratings_by_user", bundle.ratings_by_user, manifest.n_items, bundle)
    _check_ratings("ratings_by_item", bundle.ratings_by_item, manifest.n_users, bundle)
    _check_same_ratings(bundle)
    _check_catalogue(bundle)
    _check_groups(bundle)
    _check_title_names(bundle)
    _check_expected(bundle)
    terms = bundle.item_terms
    _check_rows("item_terms", terms.indptr, terms.codes, len(bundle.content_model.idf), sort=False)
    parts: tuple[tuple[str, Array], ...] = (
        ("item_terms", terms.weights),
        ("content.idf", bundle.content_model.idf),
        ("content.to_factors", bundle.content_model.to_factors),
        ("gram", bundle.fold_in.gram),
        ("common_taste", bundle.fold_in.in_common(1)),
        *flatten("biases", bundle.biases).items(),
    )
    for name, array in parts:
        _check_finite(name, array)


def _check_side(name: str, side: Side) -> None:
    for part in ("factors", "directions", "content", "popularity"):
        _check_finite(f"{name}.{part}", getattr(side, part))
    for part in ("directions", "content"):
        for rows in _parts(getattr(side, part)):
            _expect(
                np.einsum("ij,ij->i", rows, rows).max(initial=0) <= 1 + _SLACK,
                f"{name}.{part} holds a vector that is longer than 1",
            )
    popularity = side.popularity
    _expect(
        popularity.min(initial=0) >= 0 and popularity.max(initial=0) <= 1 + _SLACK,
        f"{name}.popularity is outside [0, 1]",
    )
    _check_vocabulary(name, side.vocabulary)


def _check_vocabulary(name: str, vocabulary: Vocabulary) -> None:
    arrays = vocabulary.arrays()
    offsets, hashes, rows = (arrays[part] for part in ("offsets", "hashes", "hash_rows"))
    _expect(bool((offsets[1:] > offsets[:-1]).all()), f"{name}: an id is empty")  # type: ignore[operator]
    _expect(bool((hashes[1:] >= hashes[:-1]).all()), f"{name}: hashes of ids are not sorted")  # type: ignore[operator]
    _check_permutation(f"{name}.vocabulary.hash_rows", rows, len(vocabulary))
    step = -(-len(vocabulary) // _MAX_IDS_ASKED)
    for row in range(0, len(vocabulary), step):
        found = vocabulary.row_of(vocabulary.id_of(row))
        _expect(found == row, f"{name}: the id of row {row} is found under row {found}")


def _check_ratings(name: str, ratings: Ratings, n_others: int, bundle: Bundle) -> None:
    _check_rows(name, ratings.indptr, ratings.others, n_others)
    _check_finite(f"{name}.stars", ratings.stars)
    scale = bundle.preference.scale
    if scale is not None and len(ratings.stars):
        low, high = ratings.stars.min(), ratings.stars.max()
        _expect(
            scale[0] <= low and high <= scale[1],
            f"{name}.stars are in [{low:g}, {high:g}], outside the scale {scale}",
        )


def _check_same_ratings(bundle: Bundle) -> None:
    """Refuse directions of the ratings matrix that differ: in counts and sums, to the last row."""
    one, other = bundle.ratings_by_user, bundle.ratings_by_item
    with ThreadPoolExecutor(2, "check") as executor:
        checks = [
            executor.submit(_check_direction, name, own, of)
            for name, own, of in (("item", other, one), ("user", one, other))
        ]
        for check in checks:
            check.result()


def _check_direction(name: str, own: Ratings, of: Ratings) -> None:
    n = len(own.indptr) - 1
    counts = np.bincount(of.others, minlength=n)
    _expect(
        np.array_equal(counts, np.diff(own.indptr)),
        f"the ratings by user and by item count a {name}'s ratings differently",
    )
    sums = np.bincount(of.others, of.stars, n)
    _expect(
        np.allclose(sums, _sums(own), rtol=_SLACK),
        f"the ratings by user and by item give a {name} different stars",
    )


def _sums(ratings: Ratings) -> npt.NDArray[np.float64]:
    """Return the sum of each row's stars."""
    sums = np.zeros(len(ratings.indptr) - 1)
    filled = np.flatnonzero(np.diff(ratings.indptr))
    if len(filled):
        starts = ratings.indptr[filled]
        sums[filled] = np.add.reduceat(ratings.stars, starts, dtype=np.float64)
    return sums


def _check_catalogue(bundle: Bundle) -> None:
    catalogue, n_items = bundle.catalogue, bundle.manifest.n_items
    genres = bundle.content_model.genres
    _check_rows(
        "catalogue.genre", catalogue.genre_indptr, catalogue.genre_codes, len(genres), sort=False
    )
    bits = np.unpackbits(catalogue.genre_bitmaps, axis=1, count=n_items, bitorder="little")
    _expect(
        np.array_equal(bits.sum(axis=1), np.bincount(catalogue.genre_codes, minlength=len(genres))),
        "catalogue.genre_bitmaps and catalogue.genre_codes name different genres",
    )
    stars, scale = catalogue.mean_stars, bundle.preference.scale
    _expect(not np.isinf(stars).any(), "catalogue.mean_stars holds an infinite mean")
    if scale is not None:
        known = stars[~np.isnan(stars)]
        _expect(
            known.min(initial=scale[0]) >= scale[0] - _SLACK
            and known.max(initial=scale[1]) <= scale[1] + _SLACK,
            f"catalogue.mean_stars is outside the scale {scale}",
        )


def _check_groups(bundle: Bundle) -> None:
    groups = bundle.content_groups
    _check_finite("content_groups.vectors", groups.vectors)
    _expect(
        len(groups.indptr) == len(groups.vectors) + 1,
        f"content_groups: {len(groups.vectors)} vectors have {len(groups.indptr) - 1} groups",
    )
    _check_permutation("content_groups.members", groups.members, bundle.manifest.n_items)
    _check_rows("content_groups", groups.indptr, groups.members, bundle.manifest.n_items)
    by_member = np.repeat(np.arange(len(groups.vectors)), np.diff(groups.indptr))
    _expect(
        np.array_equal(groups.group_of[groups.members], by_member),
        "content_groups.group_of and content_groups.members disagree",
    )


def _check_title_names(bundle: Bundle) -> None:
    names = bundle.title_names
    if names is None:
        return
    n_names, n_items = len(names.names), bundle.manifest.n_items
    _check_rows("title_names", names.indptr, names.holders, n_names)
    _expect(bool((np.diff(names.grams) > 0).all()), "title_names.grams do not rise")
    _expect(
        np.array_equal(np.bincount(names.holders, minlength=n_names), names.n_grams),
        "title_names.n_grams and title_names.holders disagree",
    )
    _expect(
        np.array_equal(np.unique(names.rows), np.arange(n_items)),
        f"title_names.rows does not name each of {n_items} items",
    )
    _expect(bool((np.diff(names.rows) >= 0).all()), "title_names.rows fall")


def _check_rows(
    name: str, indptr: Array, columns: Array, n_columns: int, *, sort: bool = True
) -> None:
    """Refuse compressed rows with offsets out of order or columns that are not there."""
    sound = len(indptr) and indptr[0] == 0 and indptr[-1] == len(columns)
    _expect(bool(sound), f"{name}: offsets do not span the {len(columns)} values")
    _expect(bool((np.diff(indptr) >= 0).all()), f"{name}: offsets fall")
    if not len(columns):
        return
    low, high = columns.min(), columns.max()
    _expect(
        low >= 0 and high < n_columns,
        f"{name}: {low} to {high} are named, of {n_columns} there are",
    )
    if sort:
        # Within a row they rise; where a row begins, anything may follow.
        rises = columns[1:] > columns[:-1]
        begins = indptr[(indptr > 0) & (indptr < len(columns))] - 1
        rises[begins] = True
        _expect(bool(rises.all()), f"{name}: a row is not sorted, or names something twice")


def _check_permutation(name: str, rows: Array, n: int) -> None:
    in_range = len(rows) == n and rows.min(initial=0) >= 0 and rows.max(initial=0) < n
    _expect(
        bool(in_range) and bool((np.bincount(rows, minlength=n) == 1).all()),
        f"{name} does not name each of {n} rows once",
    )


def _check_expected(bundle: Bundle) -> None:
    if bundle.expected is None:
        return
    helped = needing_help(np.diff(bundle.ratings_by_user.indptr))
    _expect(len(bundle.expected) > 0 or not len(helped), "users.expected lacks users who rated few")
    _check_finite("users.expected", bundle.expected)


def _check_finite(name: str, array: Array) -> None:
    for part in _parts(array):
        _expect(bool(np.isfinite(part).all()), f"{name} holds a value that is not finite")


def _parts(array: Array) -> Iterator[Array]:
    width = array[:1].size or 1
    step = max(1, _CHUNK // width)
    for start in range(0, len(array), step):
        yield array[start : start + step]


def _expect(holds: bool, problem: str) -> None:
    if not holds:
        raise BundleError(f"the bundle is not sound: {problem}; this is a fault of the build")
