"""Knows splits that somebody else has drawn: a file to learn from, a file to predict.

It refuses to know what is measured on them, and how a file is laid out (`events` does).
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ilk.errors import DataError
from indexer.interactions import Interactions, Items, found_in
from indexer.readers.columns import CodedIds
from indexer.readers.events import read_events
from indexer.readers.pairs import Events, to_interactions
from indexer.readers.quantities import extremes
from indexer.readers.tabular import check_scale

# Scales that people are asked on, by their highest mark; data need not hold the lower marks.
_USUAL_SCALES = ((1.0, 5.0), (0.5, 5.0), (1.0, 10.0))


@dataclass(frozen=True, slots=True, eq=False)
class GivenSplit:
    """A split as it was given.

    Attributes
    ----------
    interactions
        The entries of both files.
    is_train
        Shape ``(len(interactions),)``, bool: entries of the training file; the others are the test's.
    """

    interactions: Interactions
    is_train: npt.NDArray[np.bool_]


def read_given(
    train: Path,
    test: Path | None = None,
    *,
    items: Items | None = None,
    rating_scale: tuple[float, float] | None = None,
    skip_bad_rows: bool = False,
) -> GivenSplit:
    """Read a training file and, if there is one, its test file.

    Parameters
    ----------
    train, test
        As :func:`indexer.readers.events.read_events` takes them. A pair that is twice in one file is
        merged; one that is in both is an error. Test users and items that training does not know
        are kept.
    items
        What is known of the items; of those that it lacks, and of all if it is None, no content is.
        Items that neither file has are left out: they were no part of the split.
    rating_scale
        ``(min, max)`` of the stars. If not given: 1 to 5, 0.5 to 5 or 1 to 10 where the ratings fit
        and the highest is given, for a published split may hold no low ratings; else as found. Where
        all ratings are equal, they are read as clicks.

    Raises
    ------
    DataError
        As ``read_events``, or if a pair is in both files, or only one of them has ratings.
    SettingsError
        If ``rating_scale`` is not a range.
    """
    check_scale(rating_scale)
    paths = [train] if test is None else [train, test]
    parts = [
        read_events(path, rating_scale=rating_scale, skip_bad_rows=skip_bad_rows) for path in paths
    ]
    if len({part.ratings is None for part in parts}) > 1:
        raise DataError(paths[1], f"and {train}: one has a column of ratings, the other has none")
    scale = rating_scale or _scale_of(parts)
    if scale is None:
        parts = [replace(part, ratings=None) for part in parts]
    if any(part.timestamps is None for part in parts):
        parts = [replace(part, timestamps=None) for part in parts]
    catalogue = _catalogue(_distinct([part.items for part in parts]), items)
    source = " and ".join(path.name for path in paths) + " (on their owner's terms)"
    read = [to_interactions(part, catalogue, scale, source) for part in parts]
    return _joined(read, paths)


def _scale_of(parts: list[Events]) -> tuple[float, float] | None:
    """Return the scale that the ratings were given on, or None for clicks."""
    ratings = [part.ratings for part in parts if part.ratings is not None]
    if not ratings:
        return None
    low, high = extremes(np.concatenate(ratings))
    if low == high:
        return None
    usual = ((a, b) for a, b in _USUAL_SCALES if a <= low and high == b)
    return next(usual, (low, high))


def _distinct(coded: list[CodedIds]) -> list[str]:
    return list(dict.fromkeys(i for part in coded for i in part.ids.to_pylist()))


def _catalogue(item_ids: list[str], known: Items | None) -> Items:
    """Return the items of these ids, with what is known of them."""
    if known is None:
        known = Items([], [], np.zeros(0, np.int16), [], {})
    row_of = {item_id: row for row, item_id in enumerate(known.item_ids)}
    rows = [row_of.get(item_id) for item_id in item_ids]
    return Items(
        item_ids=item_ids,
        titles=[i if r is None else known.titles[r] for i, r in zip(item_ids, rows, strict=True)],
        years=np.array([0 if r is None else known.years[r] for r in rows], np.int16),
        genres=[() if r is None else known.genres[r] for r in rows],
        texts={
            name: ["" if r is None else texts[r] for r in rows]
            for name, texts in known.texts.items()
        },
        line_times={
            name: [np.zeros(0, np.int64) if r is None else times[r] for r in rows]
            for name, times in known.line_times.items()
        },
    )


def _joined(read: list[Interactions], paths: list[Path]) -> GivenSplit:
    user_ids = list(dict.fromkeys(user_id for part in read for user_id in part.user_ids))
    known_users = pa.array(user_ids, pa.string())
    users = [
        pc.index_in(pa.array(part.user_ids, pa.string()), value_set=known_users)
        .to_numpy(zero_copy_only=False)
        .astype(np.int32)[part.user_rows]
        for part in read
    ]
    times = [part.timestamps for part in read if part.timestamps is not None]
    joined = replace(
        read[0],
        user_ids=user_ids,
        user_rows=np.concatenate(users),
        item_rows=np.concatenate([part.item_rows for part in read]),
        ratings=np.concatenate([part.ratings for part in read]),
        timestamps=np.concatenate(times) if times else None,
        n_dropped=sum(part.n_dropped for part in read),
        n_duplicates=sum(part.n_duplicates for part in read),
    )
    is_train = np.arange(len(joined)) < len(read[0])
    _refuse_common(joined, is_train, paths)
    return GivenSplit(joined, is_train)


def _refuse_common(data: Interactions, is_train: npt.NDArray[np.bool_], paths: list[Path]) -> None:
    pairs = data.pairs()
    test = pairs[~is_train]
    common = test[found_in(pairs[is_train], test)]
    if len(common):
        user, item = divmod(int(common[0]), data.n_items)
        raise DataError(
            paths[1],
            f"shares {len(common)} pairs of user and item with {paths[0]}, the first of user "
            f"{data.user_ids[user]!r}, item {data.items.item_ids[item]!r}: what is to be predicted "
            "must not be learned from; take them out of one of the files",
        )
