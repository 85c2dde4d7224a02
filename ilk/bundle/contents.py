"""Knows what a bundle is made of, as arrays: the one description that writer and reader share.

It refuses to know files; `writer` and `reader` do. Rows are in falling order of popularity (items) or
activity (users), so among equal scores the lower row is the one that more people know.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ilk.vectors import Float32Matrix, Float32Vector, Rows
from ilk.vocabulary import StringColumn, Vocabulary

Arrays: TypeAlias = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Side:
    """The users, or the items, as vectors.

    Attributes
    ----------
    vocabulary
        Ids and rows.
    factors
        ALS factors, shape ``(n, n_factors)``, float32.
    directions
        Shape ``(n, n_factors)``, float32: the factors at length :func:`ilk.vectors.support`, so that
        inner products are cosines shrunk by the evidence behind both rows.
    content
        Content vectors, shape ``(n, dim_content)``, float32. Of items: of length 1, or 0 where none is
        known. Of users: of length :func:`ilk.vectors.support` of their ratings, for the genres of one
        film are not yet a taste.
    popularity
        Shape ``(n,)``, float32 in [0, 1], on a logarithmic scale relative to the row with most. Of
        users: their ratings. Of items: how often they are among what is recommended, which says
        better than ratings who crowds out whom.
    inferred
        Shape ``(n,)``, bool: factors are predicted from content, for want of positives.
    """

    vocabulary: Vocabulary
    factors: Float32Matrix
    directions: Float32Matrix
    content: Float32Matrix
    popularity: Float32Vector
    inferred: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.vocabulary)


@dataclass(frozen=True, slots=True)
class Ratings:
    """One direction of the ratings matrix: compressed rows.

    Attributes
    ----------
    indptr
        Shape ``(n + 1,)``, int64.
    others, stars
        Shape ``(n_ratings,)``, int32 and float32: whom or what, and how many stars (or clicks).
    times_s
        Shape ``(n_ratings,)``, int64 Unix seconds; empty where the data has none.
    """

    indptr: npt.NDArray[np.int64]
    others: npt.NDArray[np.int32]
    stars: npt.NDArray[np.float32]
    times_s: npt.NDArray[np.int64]

    def span(self, row: int) -> slice:
        """Return where the entries of ``row`` are."""
        return slice(self.indptr.item(row), self.indptr.item(row + 1))

    def count(self, row: int) -> int:
        """Return how many ratings ``row`` has."""
        return self.indptr.item(row + 1) - self.indptr.item(row)

    def others_of(self, row: int) -> npt.NDArray[np.int32]:
        """Return the rows of the other side that ``row`` has a rating with, rising."""
        return self.others[self.indptr.item(row) : self.indptr.item(row + 1)]

    def stars_of(self, row: int) -> npt.NDArray[np.float32]:
        """Return the stars in the order of :meth:`others_of`."""
        return self.stars[self.indptr.item(row) : self.indptr.item(row + 1)]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What is known of the items, by row.

    Attributes
    ----------
    titles
        ``n_items`` strings.
    years
        Shape ``(n_items,)``, int16; 0 where unknown.
    genre_indptr, genre_codes
        Compressed rows of genre codes: int64 ``(n_items + 1,)`` and uint16.
    genre_bitmaps
        Shape ``(n_genres, ceil(n_items / 8))``, uint8, lowest bit first: the items of each genre.
    mean_stars
        Shape ``(n_items,)``, float32; NaN where nobody rated.
    """

    titles: StringColumn
    years: npt.NDArray[np.int16]
    genre_indptr: npt.NDArray[np.int64]
    genre_codes: npt.NDArray[np.uint16]
    genre_bitmaps: npt.NDArray[np.uint8]
    mean_stars: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Biases:
    """How far users and items are from the mean rating; all zero in a bundle of clicks.

    Attributes
    ----------
    mean
        Shape ``(1,)``, float64: of all ratings.
    users, items
        Shapes ``(n_users,)`` and ``(n_items,)``, float32, in stars.
    """

    mean: npt.NDArray[np.float64]
    users: npt.NDArray[np.float32]
    items: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ContentGroups:
    """Items that share one content vector, so that pure-content search compares each vector once.

    Attributes
    ----------
    vectors
        Shape ``(n_groups, dim_content)``, float32, all different.
    indptr, members
        Compressed rows: int64 ``(n_groups + 1,)``; int64 ``(n_items,)``, rising within a group.
    group_of
        Shape ``(n_items,)``, int32.
    """

    vectors: Float32Matrix
    indptr: npt.NDArray[np.int64]
    members: Rows
    group_of: npt.NDArray[np.int32]

    @classmethod
    def of(cls, content: Float32Matrix) -> "ContentGroups":
        """Return the groups of equal rows of ``content``, shape ``(n_items, dim_content)``."""
        vectors, group_of = np.unique(content, axis=0, return_inverse=True)
        group_of = group_of.reshape(-1)
        members = np.argsort(group_of, kind="stable").astype(np.int64)
        indptr = np.zeros(len(vectors) + 1, dtype=np.int64)
        np.cumsum(np.bincount(group_of, minlength=len(vectors)), out=indptr[1:])
        return cls(np.ascontiguousarray(vectors), indptr, members, group_of.astype(np.int32))


@dataclass(frozen=True, slots=True)
class TermWeights:
    """What each item's content is made of, as compressed rows: what explanations are read from.

    Attributes
    ----------
    indptr, codes, weights
        int64 ``(n_items + 1,)``; int32 codes of terms and float32 weights, ``(n_weights,)`` each. An
        item's content vector is what the content model's projection makes of its weights.
    """

    indptr: npt.NDArray[np.int64]
    codes: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]


def flatten(prefix: str, part: object) -> Arrays:
    """Return a part's arrays by dotted name: ``items.factors``, ``items.vocabulary.blob``..."""
    if isinstance(part, np.ndarray):
        return {prefix: part}
    if isinstance(part, StringColumn):
        return {f"{prefix}.blob": part.blob, f"{prefix}.offsets": part.offsets}
    if isinstance(part, Vocabulary):
        return {f"{prefix}.{name}": array for name, array in part.arrays().items()}
    arrays: Arrays = {}
    for name in part.__dataclass_fields__:  # type: ignore[attr-defined]
        arrays.update(flatten(f"{prefix}.{name}", getattr(part, name)))
    return arrays


def unflatten(prefix: str, kind: type, arrays: Mapping[str, npt.NDArray[Any]]) -> Any:
    """Return the part that :func:`flatten` gave ``arrays`` for; KeyError if one is missing."""
    if kind is Vocabulary:
        names = ("blob", "offsets", "hashes", "hash_rows")
        return Vocabulary.from_arrays({name: arrays[f"{prefix}.{name}"] for name in names})
    if kind is StringColumn:
        return StringColumn(arrays[f"{prefix}.blob"], arrays[f"{prefix}.offsets"])
    nested = {"vocabulary": Vocabulary, "titles": StringColumn, "names": StringColumn}
    values = {
        name: unflatten(f"{prefix}.{name}", nested[name], arrays)
        if name in nested
        else arrays[f"{prefix}.{name}"]
        for name in kind.__dataclass_fields__  # type: ignore[attr-defined]
    }
    return kind(**values)
