"""Knows what every data set looks like once it is read: who rated what, and what the items are.

It refuses to know file formats (`movielens`, `tabular` and `sample` produce it) and training
(`factors`, `content` consume it). Rows here are positions in ``user_ids`` and ``item_ids``.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from ilk.errors import DataError


@dataclass(frozen=True, slots=True)
class Items:
    """Items by row.

    Attributes
    ----------
    item_ids, titles
        ``n_items`` strings; ids are unique and not empty.
    years
        Shape ``(n_items,)``, int16; 0 where unknown.
    genres
        ``n_items`` tuples of names; empty where none are known.
    texts
        Further content fields by name, each ``n_items`` strings (tags, a plot, a cast).
    line_times
        Of texts that came line by line, by the same name: for each item the Unix seconds of each line
        of its text. Nothing of texts that tell no times.
    """

    item_ids: list[str]
    titles: list[str]
    years: npt.NDArray[np.int16]
    genres: list[tuple[str, ...]]
    texts: dict[str, list[str]]
    line_times: dict[str, list[npt.NDArray[np.int64]]] = field(default_factory=dict)

    def before(self, cutoff_s: int) -> "Items":
        """Return the items with what was known before a time: lines written from then on are gone."""
        if not self.line_times:
            return self
        texts, line_times = dict(self.texts), dict(self.line_times)
        for name, of_items in self.line_times.items():
            texts[name] = [
                _lines_before(text, times, cutoff_s)
                for text, times in zip(self.texts[name], of_items, strict=True)
            ]
            line_times[name] = [times[times < cutoff_s] for times in of_items]
        return replace(self, texts=texts, line_times=line_times)


def _lines_before(text: str, times: npt.NDArray[np.int64], cutoff_s: int) -> str:
    lines = text.split("\n") if text else []
    return "\n".join(line for line, s in zip(lines, times.tolist(), strict=True) if s < cutoff_s)


@dataclass(frozen=True, slots=True)
class Interactions:
    """Who rated what, one entry per (user, item) pair.

    Attributes
    ----------
    user_ids
        ``n_users`` unique strings.
    items
        The catalogue; it may hold items that nobody rated.
    user_rows, item_rows
        Shape ``(n,)``, int32: positions in ``user_ids`` and ``items.item_ids``.
    ratings
        Shape ``(n,)``, float32, finite; stars, or clicks where ``rating_scale`` is None.
    timestamps
        Shape ``(n,)``, int64 Unix seconds, or None where the data has none.
    rating_scale
        ``(min, max)`` of the stars, or None for clicks.
    source
        One line for the manifest: what the data is, and on what terms it may be used.
    simulated
        True for users who do not exist.
    n_dropped
        Lines passed over because they were malformed (``skip_bad_rows``).
    n_duplicates
        Entries merged into another of the same pair.
    """

    user_ids: list[str]
    items: Items
    user_rows: npt.NDArray[np.int32]
    item_rows: npt.NDArray[np.int32]
    ratings: npt.NDArray[np.float32]
    timestamps: npt.NDArray[np.int64] | None
    rating_scale: tuple[float, float] | None
    source: str
    simulated: bool = False
    n_dropped: int = 0
    n_duplicates: int = 0

    def __post_init__(self) -> None:
        if not len(self.ratings):
            raise DataError(self.source, "holds no ratings")

    def __len__(self) -> int:
        return len(self.ratings)

    def only(self, kept: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> "Interactions":
        """Return some of the entries, a mask or their places; users, items and rows stay."""
        return replace(
            self,
            user_rows=self.user_rows[kept],
            item_rows=self.item_rows[kept],
            ratings=self.ratings[kept],
            timestamps=None if self.timestamps is None else self.timestamps[kept],
        )

    def pairs(self) -> npt.NDArray[np.int64]:
        """Return each entry's pair of user and item as one number, shape ``(n,)``."""
        return pairs_of(self.user_rows, self.item_rows, self.n_items)

    @property
    def n_users(self) -> int:
        """Users, with or without ratings."""
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        """Items, with or without ratings."""
        return len(self.items.item_ids)


def pairs_of(
    user_rows: npt.NDArray[np.int32], item_rows: npt.NDArray[np.int32], n_items: int
) -> npt.NDArray[np.int64]:
    """Return pairs of a user and an item as one number each, which rises by user, then item."""
    pairs = user_rows.astype(np.int64)
    pairs *= n_items
    pairs += item_rows
    return pairs


def found_in(known: npt.NDArray[np.int64], pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return which of ``pairs`` are among those ``known``, which need not be in order."""
    # Sorted, for np.isin hashes such keys, ten times slower over millions of entries.
    ordered = np.sort(known)
    return ordered.searchsorted(pairs, "left") < ordered.searchsorted(pairs, "right")
