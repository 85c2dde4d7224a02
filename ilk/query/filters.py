"""Knows which rows a query may return, as exclusions (few) or as a bitmap (any).

It refuses to know scores.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from ilk.bundle import Bundle
from ilk.errors import InvalidRequest
from ilk.query.seeker import Seeker
from ilk.types import Filter, Target
from ilk.vectors import Rows

Bitmap = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Allowed:
    """The rows that may come back.

    Attributes
    ----------
    excluded
        Rows that may not, each once; already cleared in ``bitmap`` where there is one.
    bitmap
        All rows that may, lowest bit first; None when only ``excluded`` matters.
    n_allowed
        How many rows may come back.
    """

    excluded: frozenset[int]
    bitmap: Bitmap | None
    n_allowed: int

    def rows(self, n_rows: int) -> Rows:
        """Return the allowed rows, rising."""
        return np.flatnonzero(self.mask(n_rows))

    def mask(self, n_rows: int) -> npt.NDArray[np.bool_]:
        """Return of each row whether it is allowed."""
        if self.bitmap is not None:
            return np.unpackbits(self.bitmap, count=n_rows, bitorder="little").view(np.bool_)
        mask = np.ones(n_rows, dtype=np.bool_)
        mask[list(self.excluded)] = False
        return mask

    def first_rows(self, n_first: int, n_rows: int) -> list[int]:
        """Return the first ``n_first`` of the allowed rows, or all if there are fewer."""
        if self.bitmap is not None:
            return self.rows(n_rows)[:n_first].tolist()  # type: ignore[no-any-return]
        return list(islice((row for row in range(n_rows) if row not in self.excluded), n_first))

    def with_bitmap(self, n_rows: int) -> Bitmap:
        """Return the bitmap, made from the exclusions if need be."""
        if self.bitmap is not None:
            return self.bitmap
        return np.packbits(self.mask(n_rows), bitorder="little")


def within(bitmap: Bitmap, rows: Rows) -> npt.NDArray[np.bool_]:
    """Return of each of ``rows`` whether its bit is set; shape ``(n,)``."""
    inside: npt.NDArray[np.bool_] = (bitmap[rows >> 3] >> (rows & 7).astype(np.uint8)) & 1 == 1
    return inside


def allowed_rows(bundle: Bundle, seeker: Seeker, target: Target, wanted: Filter) -> Allowed:
    """Return which rows of the ``target`` side may be returned to ``seeker``.

    Raises
    ------
    InvalidRequest
        If a condition does not fit the target, or a genre is unknown.
    """
    side = bundle.side(target)
    excluded = set(seeker.own_rows) if seeker.kind is target else set()
    if wanted.exclude_seen:
        excluded.update(_seen(bundle, seeker, target))
    if wanted.exclude_ids:
        excluded.update(side.vocabulary.rows_of(wanted.exclude_ids).tolist())
        excluded.discard(-1)
    if not wanted.on_content and not wanted.include_ids:
        return Allowed(frozenset(excluded), None, len(side) - len(excluded))
    if wanted.on_content and target is Target.USERS:
        raise InvalidRequest("filter", "genres and years filter items, but target is USERS")
    bitmap = _bitmap(bundle, side.vocabulary.rows_of(wanted.include_ids), len(side), wanted)
    gone = np.fromiter(excluded, dtype=np.int64, count=len(excluded))
    np.bitwise_and.at(bitmap, gone >> 3, (~(1 << (gone & 7))).astype(np.uint8))
    return Allowed(frozenset(excluded), bitmap, int(np.bitwise_count(bitmap).sum()))


def _seen(bundle: Bundle, seeker: Seeker, target: Target) -> Sequence[int]:
    if seeker.kind is target:
        raise InvalidRequest(
            "filter.exclude_seen", "items of a user, or users of an item: nothing is seen here"
        )
    if target is Target.ITEMS:
        return seeker.rated_rows.tolist()  # type: ignore[no-any-return]
    has_rated = np.zeros(len(bundle.users), dtype=np.bool_)
    for row in seeker.own_rows:
        has_rated[bundle.ratings_by_item.others_of(row)] = True
    return np.flatnonzero(has_rated).tolist()  # type: ignore[no-any-return]


def _bitmap(bundle: Bundle, included: Rows, n_rows: int, wanted: Filter) -> Bitmap:
    if wanted.include_ids:
        mask = np.zeros(n_rows, dtype=np.bool_)
        mask[included[included >= 0]] = True
    else:
        mask = np.ones(n_rows, dtype=np.bool_)
    if wanted.min_year is not None or wanted.max_year is not None:
        years = bundle.catalogue.years
        mask &= years != 0
        if wanted.min_year is not None:
            mask &= years >= wanted.min_year
        if wanted.max_year is not None:
            mask &= years <= wanted.max_year
    bitmap = np.packbits(mask, bitorder="little")
    bitmaps, codes = bundle.catalogue.genre_bitmaps, bundle.content_model.genre_codes
    if wanted.any_genres:
        any_codes = codes(wanted.any_genres, "filter.any_genres")
        bitmap &= np.bitwise_or.reduce(bitmaps[any_codes], axis=0)
    for code in codes(wanted.all_genres, "filter.all_genres"):
        bitmap &= bitmaps[code]
    for code in codes(wanted.no_genres, "filter.no_genres"):
        bitmap &= ~bitmaps[code]
    return bitmap
