"""Knows how MovieLens is read, in whichever layout (`layouts`); the only door to it.

It refuses to know what is done with the ratings, and how files are downloaded (`fetch` does).
"""

import itertools
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from indexer.interactions import Interactions, Items
from indexer.readers.columns import Column, IdColumn, TextColumn
from indexer.readers.delimited import Delimited
from indexer.readers.layouts import RATING, TAG, U_ITEM, Layout, layout_of, opened
from indexer.readers.pairs import Events, to_interactions
from indexer.readers.quantities import NumberColumn, SecondsColumn
from indexer.readers.rows import read_rows
from indexer.readers.titles import parse_title

NO_GENRES = frozenset({"", "(no genres listed)", "unknown"})


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
    with opened(path) as folder:
        layout = layout_of(folder)
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


def _read_items(layout: Layout, skip_bad_rows: bool) -> tuple[Items, int]:
    file = layout.movies
    title = TextColumn("title", _position(file, "title"))
    movie_id = IdColumn("movieId", _position(file, "movieId"), unique=True)
    content: list[Column]
    if layout.flag_genres:
        content = [
            TextColumn(genre, position, "[01]", f"0 or 1 for the genre {genre}")
            for position, genre in enumerate(layout.flag_genres, start=len(U_ITEM))
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
    movie, tag, timestamp = (_position(file, name) for name in TAG[1:])
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


def _read_ratings(layout: Layout, item_ids: list[str], skip_bad_rows: bool) -> Events:
    file = layout.ratings
    user, movie, rating, timestamp = (_position(file, name) for name in RATING)
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
