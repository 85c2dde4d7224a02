"""Knows which users and items a bundle keeps, and in which order their rows stand.

It refuses to know vectors. Falling frequency puts the better known first among equal scores, and
makes the rows that training gives one λ a run.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ilk.errors import DataError
from indexer.interactions import Interactions, Items
from indexer.settings import BuildSettings


def kept_and_ordered(
    data: Interactions, liked: npt.NDArray[np.bool_], settings: BuildSettings
) -> Interactions:
    """Return the users and items with enough ratings, most liked first.

    Parameters
    ----------
    liked
        Shape ``(len(data),)``: which ratings are positives.

    Raises
    ------
    DataError
        If nothing is left.
    """
    # Dropping items can leave a user with too few ratings and the other way round: until it settles.
    kept = np.ones(len(data), dtype=np.bool_)
    while True:
        by_user = np.bincount(data.user_rows[kept], minlength=data.n_users)
        by_item = np.bincount(data.item_rows[kept], minlength=data.n_items)
        still = kept & (by_user >= settings.min_user_ratings)[data.user_rows]
        still &= (by_item >= settings.min_item_ratings)[data.item_rows]
        if still.sum() == kept.sum():
            break
        kept = still
    if not kept.any():
        raise DataError(data.source, "no rating is left; lower --min-user-ratings and its like")
    users = _order(data.user_rows[kept], liked[kept], data.user_ids, settings.min_user_ratings)
    items = _order(
        data.item_rows[kept], liked[kept], data.items.item_ids, settings.min_item_ratings
    )
    return replace(
        data,
        user_ids=[data.user_ids[r] for r in users],
        items=_items(data.items, items),
        user_rows=_renumber(data.user_rows[kept], users, data.n_users),
        item_rows=_renumber(data.item_rows[kept], items, data.n_items),
        ratings=data.ratings[kept],
        timestamps=None if data.timestamps is None else data.timestamps[kept],
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
