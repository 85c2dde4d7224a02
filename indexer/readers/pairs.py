"""Knows how rows of ids become one entry per (user, item) pair.

It refuses to know where the rows came from. Everything is done on whole arrays: 32 million ratings
never become Python objects.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from indexer.interactions import Interactions, Items, pairs_of
from indexer.readers.columns import CodedIds

IntRows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Events:
    """Rows as read, in the order of the file.

    Attributes
    ----------
    users, items
        Ids of each row; the items' are all in the catalogue.
    ratings
        Shape ``(n,)``, float32, or None where each row is a click.
    timestamps
        Shape ``(n,)``, int64 Unix seconds, or None.
    n_dropped
        Lines passed over.
    clicks
        Shape ``(n,)``, float32: how many clicks each row is; None: one, or none but ratings.
    """

    users: CodedIds
    items: CodedIds
    ratings: npt.NDArray[np.float32] | None
    timestamps: npt.NDArray[np.int64] | None
    n_dropped: int = 0
    clicks: npt.NDArray[np.float32] | None = None


def to_interactions(
    events: Events, items: Items, rating_scale: tuple[float, float] | None, source: str
) -> Interactions:
    """Merge rows of the same pair: the latest rating stands, clicks are summed.

    Among ratings of the same second, or without timestamps, the last in the file stands. Merged
    clicks keep the latest timestamp.
    """
    user_rows = events.users.codes
    item_rows = _catalogue_rows(events.items, items.item_ids)
    n_rows, n_items = len(user_rows), len(items.item_ids)
    ratings, timestamps = events.ratings, events.timestamps
    if ratings is None:
        ratings = np.ones(n_rows, np.float32) if events.clicks is None else events.clicks
    if _has_duplicates(user_rows, item_rows, n_items):
        keys = pairs_of(user_rows, item_rows, n_items)
        if events.ratings is None:
            kept, ratings, timestamps = _summed(keys, ratings, timestamps)
        else:
            kept = _latest(keys, timestamps)
            ratings = ratings[kept]
            timestamps = None if timestamps is None else timestamps[kept]
        user_rows, item_rows = user_rows[kept], item_rows[kept]
    return Interactions(
        user_ids=events.users.ids.to_pylist(),
        items=items,
        user_rows=user_rows,
        item_rows=item_rows,
        ratings=ratings,
        timestamps=timestamps,
        rating_scale=rating_scale,
        source=source,
        n_dropped=events.n_dropped,
        n_duplicates=n_rows - len(user_rows),
    )


def _catalogue_rows(coded: CodedIds, item_ids: list[str]) -> npt.NDArray[np.int32]:
    rows = pc.index_in(coded.ids, value_set=pa.array(item_ids, pa.string()))
    by_code: npt.NDArray[np.int32] = rows.to_numpy(zero_copy_only=False).astype(np.int32)
    return by_code[coded.codes]


def _has_duplicates(
    user_rows: npt.NDArray[np.int32], item_rows: npt.NDArray[np.int32], n_items: int
) -> bool:
    # MovieLens comes by user, then item, and needs no sorting.
    rises = user_rows[1:] > user_rows[:-1]
    rises |= (user_rows[1:] == user_rows[:-1]) & (item_rows[1:] > item_rows[:-1])
    if rises.all():
        return False
    keys = pairs_of(user_rows, item_rows, n_items)
    keys.sort()
    return bool(np.any(keys[1:] == keys[:-1]))


def _latest(keys: IntRows, timestamps: IntRows | None) -> IntRows:
    # The sort is stable, so the last of a group is also the last in the file.
    by_age = (keys,) if timestamps is None else (timestamps, keys)
    order = np.lexsort(by_age)
    ends_group = np.append(keys[order[1:]] != keys[order[:-1]], True)
    kept: IntRows = order[ends_group]
    kept.sort()
    return kept


def _summed(
    keys: IntRows, clicks: npt.NDArray[np.float32], timestamps: IntRows | None
) -> tuple[IntRows, npt.NDArray[np.float32], IntRows | None]:
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.append(True, keys[order[1:]] != keys[order[:-1]]))
    of_each = np.add.reduceat(clicks[order], starts, dtype=np.float64).astype(np.float32)
    first = order[starts]
    by_appearance = np.argsort(first)
    if timestamps is not None:
        timestamps = np.maximum.reduceat(timestamps[order], starts)[by_appearance]
    return first[by_appearance], of_each[by_appearance], timestamps
