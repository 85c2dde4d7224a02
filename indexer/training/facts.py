"""Knows what of a bundle the data tells before anything is trained: ratings, catalogue, biases, terms.

It refuses to know factors, and what anybody likes.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from ilk.baseline import fit_biases
from ilk.bundle.contents import (
    Arrays,
    Biases,
    Catalogue,
    ContentGroups,
    Ratings,
    TermWeights,
    flatten,
)
from ilk.titles import TitleNames
from ilk.vocabulary import StringColumn
from indexer.interactions import Interactions
from indexer.training.content import Content
from indexer.training.order import positions


class Rated(NamedTuple):
    """Who rated what, and with how many stars: three arrays of one length, and how many there are."""

    user_rows: npt.NDArray[np.int32]
    item_rows: npt.NDArray[np.int32]
    stars: npt.NDArray[np.float32]
    n_users: int
    n_items: int


def known_arrays(data: Interactions, starts: npt.NDArray[np.int64], content: Content) -> Arrays:
    """Return the arrays that depend on no factors; ``starts`` are those of users' ratings."""
    return (
        _ratings_arrays(data, starts)
        | flatten("catalogue", _catalogue(data, content))
        | flatten("title_names", TitleNames.of(data.items.titles))
        | flatten("content_groups", ContentGroups.of(content.vectors))
        | flatten("biases", biases_of(_rated(data), data.rating_scale))
        | flatten("item_terms", _terms(content))
    )


def _rated(data: Interactions) -> Rated:
    return Rated(data.user_rows, data.item_rows, data.ratings, data.n_users, data.n_items)


def starts_of(rows: npt.NDArray[np.int32], n_rows: int) -> npt.NDArray[np.int64]:
    """Return where the entries of each row begin and end when they stand by row."""
    starts = np.zeros(n_rows + 1, dtype=np.int64)
    np.cumsum(np.bincount(rows, minlength=n_rows), out=starts[1:])
    return starts


def matrix_of(
    values: npt.NDArray[Any],
    columns: npt.NDArray[np.int32],
    starts: npt.NDArray[np.int64],
    n_columns: int,
) -> sp.csr_matrix:
    """Return compressed rows as a matrix, shape ``(len(starts) - 1, n_columns)``."""
    return sp.csr_matrix((values, columns, starts), shape=(len(starts) - 1, n_columns))


def _ratings_arrays(data: Interactions, starts: npt.NDArray[np.int64]) -> Arrays:
    times = np.empty(0, dtype=np.int64) if data.timestamps is None else data.timestamps
    by_user = Ratings(starts, data.item_rows, data.ratings, times)
    turned = matrix_of(positions(len(data)), data.item_rows, starts, data.n_items).tocsc()
    by_item = Ratings(
        turned.indptr.astype(np.int64),
        turned.indices,
        data.ratings[turned.data],
        times[turned.data] if len(times) else times,
    )
    return flatten("ratings_by_user", by_user) | flatten("ratings_by_item", by_item)


def biases_of(rated: Rated, scale: tuple[float, float] | None) -> Biases:
    """Return the biases of stars on a scale; zeros for clicks, of which ``scale`` is None."""
    if scale is None:
        mean, users, items = 0.0, np.zeros(rated.n_users), np.zeros(rated.n_items)
    else:
        mean, users, items = fit_biases(*rated)
    return Biases(np.array([mean]), users.astype(np.float32), items.astype(np.float32))


def mean_stars(rated: Rated) -> npt.NDArray[np.float32]:
    """Return the mean of each item's stars, shape ``(n_items,)``; NaN where there are none."""
    counts = np.bincount(rated.item_rows, minlength=rated.n_items)
    sums = np.bincount(rated.item_rows, weights=rated.stars, minlength=rated.n_items)
    means: npt.NDArray[Any] = np.divide(
        sums, counts, out=np.full(rated.n_items, np.nan), where=counts > 0
    )
    return means.astype(np.float32)


def _terms(content: Content) -> TermWeights:
    weights = content.weights.tocsr()
    return TermWeights(
        weights.indptr.astype(np.int64),
        weights.indices.astype(np.int32),
        weights.data.astype(np.float32),
    )


def _catalogue(data: Interactions, content: Content) -> Catalogue:
    codes = {genre: code for code, genre in enumerate(content.fields[0].terms)}
    per_item = [[codes[g] for g in genres] for genres in data.items.genres]
    indptr = np.zeros(data.n_items + 1, dtype=np.int64)
    np.cumsum([len(c) for c in per_item], out=indptr[1:])
    genre_codes = np.fromiter((c for row in per_item for c in row), dtype=np.uint16)
    mask = np.zeros((len(codes), data.n_items), dtype=np.bool_)
    mask[genre_codes, np.repeat(np.arange(data.n_items), np.diff(indptr))] = True
    return Catalogue(
        titles=StringColumn.of(data.items.titles),
        years=data.items.years,
        genre_indptr=indptr,
        genre_codes=genre_codes,
        genre_bitmaps=np.packbits(mask, axis=1, bitorder="little"),
        mean_stars=mean_stars(_rated(data)),
    )
