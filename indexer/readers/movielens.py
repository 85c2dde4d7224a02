"""Knows every layout in which GroupLens has published MovieLens; the only door to them.

It refuses to know what is done with the ratings, and how files are downloaded (`fetch` does).

    ml-latest, -small, 32m, 25m, 20m    ratings.csv, movies.csv and, optionally, tags.csv
    ml-10m                              ratings.dat, movies.dat, tags.dat; ``::``, UTF-8
    ml-1m                               ratings.dat, movies.dat, users.dat; ``::``, Latin-1
    ml-100k                             u.data (tabs), u.item and u.genre (``|``), Latin-1
"""

import contextlib
import itertools
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from ilk.errors import DataError
from indexer.interactions import Interactions, Items
from indexer.readers.columns import Column, IdColumn, TextColumn
from indexer.readers.delimited import Delimited, Member, reading
from indexer.readers.pairs import Events, to_interactions
from indexer.readers.quantities import NumberColumn, SecondsColumn
from indexer.readers.rows import read_rows
from indexer.readers.titles import parse_title

HALF_STARS = (0.5, 5.0)
WHOLE_STARS = (1.0, 5.0)
NO_GENRES = frozenset({"", "(no genres listed)", "unknown"})
EXPECTED = (
    "expected ratings.csv and movies.csv, or ratings.dat and movies.dat, "
    "or u.data, u.item and u.genre"
)
_RATING = ("userId", "movieId", "rating", "timestamp")
_MOVIE = ("movieId", "title", "genres")
_TAG = ("userId", "movieId", "tag", "timestamp")
_U_GENRE = ("genre", "number")
_U_ITEM = ("movieId", "title", "release date", "video release date", "IMDb URL")


@dataclass(frozen=True, slots=True)
class _Layout:
    ratings: Delimited
    movies: Delimited
    scale: tuple[float, float]
    tags: Delimited | None = None
    flag_genres: tuple[str, ...] = ()


def read_movielens(
    path: Path, *, skip_bad_rows: bool = False, with_tags: bool = True
) -> Interactions:
    """Read a MovieLens data set.

    Parameters
    ----------
    path
        A folder with the files, a folder with one such folder, or the published zip.
    skip_bad_rows
        Pass over and count malformed lines, where the default is to refuse the data.
    with_tags
        Keep the tags people gave: ``items.texts["tags"]`` then holds, per film, one tag to a
        line, each as often as it was given, and ``items.line_times["tags"]`` when; absent where the
        data set has no tags.

    Returns
    -------
    Interactions
        All films of the movies file in its order. Stars are 0.5 to 5 (CSV, 10m) or 1 to 5.
        Titles come without the year and with their article in front.

    Raises
    ------
    DataError
        If files are missing or malformed, or name a film that the movies file does not have.
        Tags of such films, and blank tags, are passed over.
    """
    with _opened(path) as folder:
        layout = _layout_of(folder)
        items, n_bad_items = _read_items(layout, skip_bad_rows)
        n_bad_tags = 0
        if with_tags and layout.tags is not None:
            items, n_bad_tags = _with_tags(items, layout.tags, skip_bad_rows)
        events = _read_ratings(layout, items.item_ids, skip_bad_rows)
        events = replace(events, n_dropped=events.n_dropped + n_bad_items + n_bad_tags)
        # The folder in the zip has the published name, the zip itself may have been renamed.
        names = (folder.name.removesuffix(".zip"), path.resolve().stem)
        name = next((name for name in names if name.startswith("ml-")), "data")
    source = f"MovieLens {name} (GroupLens; research use, see its README)"
    return to_interactions(events, items, layout.scale, source)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Member]:
    if path.is_dir():
        yield _data_folder(path)
        return
    with reading(str(path)):
        if not path.exists():
            raise DataError(path, f"does not exist; {EXPECTED}, as a folder or the published zip")
        if not zipfile.is_zipfile(path):
            raise DataError(path, "is neither a folder nor a zip archive")
        archive = zipfile.ZipFile(path)
    with archive:
        yield _data_folder(zipfile.Path(archive))


def _data_folder(root: Member) -> Member:
    if _looks_like_data(root):
        return root
    folders = [child for child in _children(root) if child.is_dir() and _looks_like_data(child)]
    if len(folders) > 1:
        names = ", ".join(sorted(folder.name for folder in folders))
        raise DataError(root, f"holds several data sets ({names}); name one of them")
    if not folders:
        raise DataError(root, f"holds no MovieLens data; {EXPECTED}")
    return folders[0]


def _children(folder: Member) -> list[Member]:
    with reading(str(folder)):
        return list(folder.iterdir())


def _looks_like_data(folder: Member) -> bool:
    tell_tales = {"ratings.csv", "movies.csv", "ratings.dat", "movies.dat", "u.data", "u.item"}
    return any(child.name in tell_tales for child in _children(folder))


def _layout_of(folder: Member) -> _Layout:
    names = {child.name for child in _children(folder)}
    if names & {"ratings.csv", "movies.csv"}:
        _require(folder, names, "ratings.csv", "movies.csv")
        tags = Delimited(folder / "tags.csv") if "tags.csv" in names else None
        ratings, movies = (Delimited(folder / name) for name in ("ratings.csv", "movies.csv"))
        return _Layout(ratings, movies, HALF_STARS, tags)
    if names & {"ratings.dat", "movies.dat"}:
        _require(folder, names, "ratings.dat", "movies.dat")
        return _dat_layout(folder, names)
    _require(folder, names, "u.data", "u.item", "u.genre")
    genres = _read_flag_genres(Delimited(folder / "u.genre", "|", False, _U_GENRE, "latin-1"))
    return _Layout(
        Delimited(folder / "u.data", "\t", False, _RATING, "latin-1"),
        Delimited(folder / "u.item", "|", False, (*_U_ITEM, *genres), "latin-1"),
        WHOLE_STARS,
        flag_genres=genres,
    )


def _require(folder: Member, present: set[str], *names: str) -> None:
    for name in names:
        if name not in present:
            raise DataError(folder / name, f"is missing; {EXPECTED} in one folder")


def _dat_layout(folder: Member, names: set[str]) -> _Layout:
    # 1m has users.dat, 10m tags.dat. Where both were taken away, the bytes of the titles tell.
    is_1m = "users.dat" in names and "tags.dat" not in names
    is_1m = is_1m or ("tags.dat" not in names and not _is_utf8(folder / "movies.dat"))
    encoding = "latin-1" if is_1m else "utf-8"

    def file(name: str, columns: Sequence[str]) -> Delimited:
        return Delimited(folder / name, "::", False, columns, encoding)

    return _Layout(
        file("ratings.dat", _RATING),
        file("movies.dat", _MOVIE),
        WHOLE_STARS if is_1m else HALF_STARS,
        file("tags.dat", _TAG) if "tags.dat" in names else None,
    )


def _is_utf8(file: Member) -> bool:
    with reading(str(file)):
        try:
            file.read_bytes().decode()
        except UnicodeDecodeError:
            return False
    return True


def _read_flag_genres(file: Delimited) -> tuple[str, ...]:
    columns = (TextColumn("genre", 0), TextColumn("number", 1, r"\d{1,3}", "a genre's number"))
    rows = read_rows(file, columns)
    numbers = [int(number) for number in rows.values["number"]]
    if sorted(numbers) != list(range(len(numbers))):
        raise DataError(file.name, f"numbers its {len(numbers)} genres {numbers}; expected 0, 1...")
    by_number = sorted(zip(numbers, rows.values["genre"], strict=True))
    return tuple(genre for _, genre in by_number)


def _read_items(layout: _Layout, skip_bad_rows: bool) -> tuple[Items, int]:
    file = layout.movies
    title = TextColumn("title", _position(file, "title"))
    movie_id = IdColumn("movieId", _position(file, "movieId"), unique=True)
    content: list[Column]
    if layout.flag_genres:
        content = [
            TextColumn(genre, position, "[01]", f"0 or 1 for the genre {genre}")
            for position, genre in enumerate(layout.flag_genres, start=len(_U_ITEM))
        ]
    else:
        content = [TextColumn("genres", _position(file, "genres"))]
    rows = read_rows(file, [title, *content, movie_id], skip_bad_rows=skip_bad_rows)
    if layout.flag_genres:
        flags = zip(*(rows.values[genre] for genre in layout.flag_genres), strict=True)
        genres = [
            _known_genres(itertools.compress(layout.flag_genres, map(int, row))) for row in flags
        ]
    else:
        texts = rows.values["genres"]
        # Far fewer combinations than films: equal ones share a tuple.
        by_text = {text: _known_genres(text.split("|")) for text in set(texts)}
        genres = [by_text[text] for text in texts]
    titles_and_years = [parse_title(text) for text in rows.values["title"]]
    items = Items(
        item_ids=rows.values["movieId"].ids.to_pylist(),
        titles=[title for title, _ in titles_and_years],
        years=np.array([year for _, year in titles_and_years], np.int16),
        genres=genres,
        texts={},
    )
    return items, rows.n_dropped


def _known_genres(names: Iterable[str]) -> tuple[str, ...]:
    stripped = (name.strip() for name in names)
    return tuple(dict.fromkeys(name for name in stripped if name not in NO_GENRES))


def _with_tags(items: Items, file: Delimited, skip_bad_rows: bool) -> tuple[Items, int]:
    movie, tag, timestamp = (_position(file, name) for name in _TAG[1:])
    columns = (
        IdColumn("movieId", movie),
        TextColumn("tag", tag),
        SecondsColumn("timestamp", timestamp),
    )
    tags: dict[str, list[str]] = {item_id: [] for item_id in items.item_ids}
    times: dict[str, list[int]] = {item_id: [] for item_id in items.item_ids}
    n_dropped = 0
    if any(record.cells for record in file.records()):
        rows = read_rows(file, columns, skip_bad_rows=skip_bad_rows)
        n_dropped, movies = rows.n_dropped, rows.values["movieId"]
        ids, seconds = movies.ids.to_pylist(), rows.values["timestamp"].tolist()
        for code, text, time_s in zip(
            movies.codes.tolist(), rows.values["tag"], seconds, strict=True
        ):
            words = " ".join(text.split())
            if words and ids[code] in tags:
                tags[ids[code]].append(words)
                times[ids[code]].append(time_s)
    texts = ["\n".join(given) for given in tags.values()]
    line_times = [np.array(given, np.int64) for given in times.values()]
    return replace(items, texts={"tags": texts}, line_times={"tags": line_times}), n_dropped


def _read_ratings(layout: _Layout, item_ids: list[str], skip_bad_rows: bool) -> Events:
    file = layout.ratings
    user, movie, rating, timestamp = (_position(file, name) for name in _RATING)
    known = (pa.array(item_ids, pa.string()), layout.movies.path.name)
    columns = (
        IdColumn("userId", user),
        IdColumn("movieId", movie, known),
        NumberColumn("rating", rating, layout.scale),
        SecondsColumn("timestamp", timestamp),
    )
    rows = read_rows(file, columns, skip_bad_rows=skip_bad_rows)
    values = rows.values
    return Events(
        values["userId"], values["movieId"], values["rating"], values["timestamp"], rows.n_dropped
    )


def _position(file: Delimited, name: str) -> int:
    if name not in file.column_names:
        found = ", ".join(file.column_names)
        raise file.error(1, f"the header has no column {name}; found {found}")
    return list(file.column_names).index(name)
