"""Knows how an expanded world is written: ratings.csv and movies.csv, as MovieLens 32M lays them out.

It refuses to know how ratings are made. A world made from MovieLens is MovieLens data still, so none is
written inside the project.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import csv as arrow_csv

from benchmarks.scale.expansion import Block, Ints, Shape, expand, item_copies
from ilk.errors import SettingsError
from indexer.interactions import Interactions

_PROJECT = Path(__file__).resolve().parents[2]
_RATING = ("userId", "movieId", "rating", "timestamp")
_PLAIN = arrow_csv.WriteOptions(quoting_style="none", include_header=False)
_QUOTED = arrow_csv.WriteOptions(quoting_style="needed")
# Share of the copies of a film that have a genre more; some 1,800 distinct sets in 87,585 films.
_GENRE_ADDED = 0.05


@dataclass(frozen=True, slots=True)
class Tail:
    """How unequal a world's users, or items, are.

    Attributes
    ----------
    n, mean, median, most
        Rows, and ratings of each.
    top_1, top_10
        Shares of all ratings that the first hundredth and the first tenth of the rows have.
    """

    n: int
    mean: float
    median: float
    most: int
    top_1: float
    top_10: float

    @classmethod
    def of(cls, counts: Ints) -> "Tail":
        """Return the tail of ratings by row."""
        falling = np.sort(counts)[::-1]
        n, total = len(counts), max(int(counts.sum()), 1)
        top_1, top_10 = (float(falling[: -(-n // part)].sum()) / total for part in (100, 10))
        return cls(n, total / n, float(np.median(counts)), int(falling[0]), top_1, top_10)


def outside(folder: Path) -> Path:
    """Return ``folder``, made if need be; SettingsError if it lies inside the project."""
    if folder.resolve().is_relative_to(_PROJECT):
        raise SettingsError(
            f"{folder} lies inside the project, where no data may stay; name a folder elsewhere"
        )
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_world(small: Interactions, shape: Shape, folder: Path, seed: int) -> tuple[Tail, Tail]:
    """Write a world that the indexer reads as MovieLens, and return its users' and items' tails.

    Parameters
    ----------
    small
        The world to expand, with stars and timestamps.
    folder
        Outside the project.

    Raises
    ------
    SettingsError
        If the folder lies inside the project, or the shape cannot be had.
    """
    if small.rating_scale is None or small.timestamps is None:
        raise SettingsError("only worlds with stars and timestamps are expanded")
    outside(folder)
    copied = item_copies(small, shape, seed).small_rows()
    unfinished = folder / "ratings.csv.unfinished"
    try:
        made = _write_ratings(expand(small, shape, seed), shape, unfinished)
        _write_movies(small, copied, folder / "movies.csv", seed)
        unfinished.replace(folder / "ratings.csv")
    finally:
        unfinished.unlink(missing_ok=True)
    return made


def tails(data: Interactions) -> tuple[Tail, Tail]:
    """Return the tails of users and items of data that was read."""
    by_user = np.bincount(data.user_rows, minlength=data.n_users)
    by_item = np.bincount(data.item_rows, minlength=data.n_items)
    return Tail.of(by_user), Tail.of(by_item)


def _write_ratings(blocks: Iterable[Block], shape: Shape, path: Path) -> tuple[Tail, Tail]:
    by_user = np.zeros(shape.n_users, dtype=np.int64)
    by_item = np.zeros(shape.n_items, dtype=np.int64)
    with path.open("wb") as file:
        file.write((",".join(_RATING) + "\n").encode())
        for block in blocks:
            by_user += np.bincount(block.user_rows, minlength=shape.n_users)
            by_item += np.bincount(block.item_rows, minlength=shape.n_items)
            stars = pa.DictionaryArray.from_arrays(*_coded(block.ratings)).dictionary_decode()
            columns = (block.user_rows + 1, block.item_rows + 1, stars, block.timestamps)
            arrow_csv.write_csv(pa.table(list(columns), names=list(_RATING)), file, _PLAIN)
    return Tail.of(by_user), Tail.of(by_item)


def _coded(stars: npt.NDArray[np.float32]) -> tuple[pa.Array, pa.Array]:
    """Return stars as codes and texts such as ``4.0``, as MovieLens writes them."""
    distinct, codes = np.unique(stars, return_inverse=True)
    return pa.array(codes.astype(np.int32)), pa.array([str(float(s)) for s in distinct])


def _write_movies(small: Interactions, copied: Ints, path: Path, seed: int) -> None:
    items = small.items
    rng = np.random.default_rng((seed, 2))
    genres = _genres(items.genres, copied, rng)
    titles = [
        f"{items.titles[row]}{_numeral(at // small.n_items)}{_year(int(items.years[row]))}"
        for at, row in enumerate(copied.tolist())
    ]
    ids = pa.array(np.arange(1, len(copied) + 1))
    table = pa.table(
        [ids, pa.array(titles), pa.array(genres)], names=["movieId", "title", "genres"]
    )
    arrow_csv.write_csv(table, path, _QUOTED)


def _numeral(copy: int) -> str:
    return f" {copy + 1}" if copy else ""


def _year(year: int) -> str:
    return f" ({year})" if year else ""


def _genres(
    of_small: Sequence[tuple[str, ...]], copied: Ints, rng: np.random.Generator
) -> list[str]:
    """Return each copy's genres: the small item's and, of some copies, one more by frequency."""
    met = [genre for genres in of_small for genre in genres]
    more = rng.random(len(copied)) < _GENRE_ADDED
    more[: len(of_small)] = False
    drawn = rng.integers(0, max(len(met), 1), len(copied)).tolist()
    return [
        "|".join(
            dict.fromkeys((*of_small[row], met[drawn[at]]) if more[at] and met else of_small[row])
        )
        or "(no genres listed)"
        for at, row in enumerate(copied.tolist())
    ]
