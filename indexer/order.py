"""Knows which users and items a bundle keeps, and in which order their rows and ratings stand.

It refuses to know vectors. Falling frequency puts the better known first among equal scores, and
makes the levels of frequency that training works in runs of rows. Ratings stand by user, then item:
whatever is made of them is then a compressed matrix already.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from ilk.errors import DataError
from indexer.interactions import Interactions, Items
from indexer.settings import BuildSettings


def kept_and_ordered(
    data: Interactions, liked: npt.NDArray[np.bool_], settings: BuildSettings
) -> Interactions:
    """Return the users and items with enough ratings, most liked first; ratings by user, then item.

    Parameters
    ----------
    liked
        Shape ``(len(data),)``: which ratings are positives.

    Raises
    ------
    DataError
        If nothing is left.
    """
    kept = _with_enough(data, settings)
    if kept is not None:
        data, liked = _only(data, kept), liked[kept]
    users = _order(data.user_rows, liked, data.user_ids, settings.min_user_ratings)
    items = _order(data.item_rows, liked, data.items.item_ids, settings.min_item_ratings)
    user_rows = _renumber(data.user_rows, users, data.n_users)
    item_rows = _renumber(data.item_rows, items, data.n_items)
    # Counting sorts: their time grows like the number of ratings.
    by_user = sp.coo_matrix(
        (positions(len(data)), (user_rows, item_rows)), shape=(len(users), len(items))
    ).tocsr()
    return replace(
        data,
        user_ids=[data.user_ids[r] for r in users.tolist()],
        items=_items(data.items, items),
        user_rows=np.repeat(np.arange(len(users), dtype=np.int32), np.diff(by_user.indptr)),
        item_rows=by_user.indices,
        ratings=data.ratings[by_user.data],
        timestamps=None if data.timestamps is None else data.timestamps[by_user.data],
    )


def positions(n: int) -> npt.NDArray[np.signedinteger[Any]]:
    """Return 0, 1... to ``n - 1``: as a matrix's data they tell, transposed, what came from where."""
    return np.arange(n, dtype=np.int32 if n < 2**31 else np.int64)


def _with_enough(data: Interactions, settings: BuildSettings) -> npt.NDArray[np.int64] | None:
    """Return which ratings are of a user and an item with enough of them; None for all."""
    kept = None
    user_rows, item_rows = data.user_rows, data.item_rows
    # Dropping items can leave a user with too few ratings and the other way round: until it settles.
    while True:
        by_user = np.bincount(user_rows, minlength=data.n_users)
        by_item = np.bincount(item_rows, minlength=data.n_items)
        enough_by_user = by_user >= settings.min_user_ratings
        enough_by_item = by_item >= settings.min_item_ratings
        if np.all(enough_by_user[by_user > 0]) and np.all(enough_by_item[by_item > 0]):
            break
        still = np.flatnonzero(enough_by_user[user_rows] & enough_by_item[item_rows])
        kept = still if kept is None else kept[still]
        user_rows, item_rows = user_rows[still], item_rows[still]
    if not len(user_rows):
        raise DataError(data.source, "no rating is left; lower --min-user-ratings and its like")
    return kept


def _only(data: Interactions, entries: npt.NDArray[np.int64]) -> Interactions:
    return replace(
        data,
        user_rows=data.user_rows[entries],
        item_rows=data.item_rows[entries],
        ratings=data.ratings[entries],
        timestamps=None if data.timestamps is None else data.timestamps[entries],
    )


def _order(
    rows: npt.NDArray[np.int32], liked: npt.NDArray[np.bool_], ids: list[str], at_least: int
) -> npt.NDArray[np.int64]:
    """Return the old rows that stay, by falling positives, then ratings, then as they came."""
    n_ratings = np.bincount(rows, minlength=len(ids))
    n_liked = np.bincount(rows[liked], minlength=len(ids))
    order = np.lexsort((np.arange(len(ids)), -n_ratings, -n_liked))
    return order[n_ratings[order] >= at_least]


def _renumber(
    rows: npt.NDArray[np.int32], order: npt.NDArray[np.int64], n_before: int
) -> npt.NDArray[np.int32]:
    new = np.full(n_before, -1, dtype=np.int32)
    new[order] = np.arange(len(order), dtype=np.int32)
    return new[rows]


def _items(items: Items, order: npt.NDArray[np.int64]) -> Items:
    return Items(
        item_ids=[items.item_ids[r] for r in order],
        titles=[items.titles[r] for r in order],
        years=items.years[order],
        genres=[items.genres[r] for r in order],
        texts={name: [texts[r] for r in order] for name, texts in items.texts.items()},
    )
