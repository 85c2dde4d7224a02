"""Knows the generic pair of tables: who did what, and what the items are.

It refuses to know any published data set; columns are found by their names, in CSV, TSV (both also
gzipped) and Parquet files alike.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ilk.errors import DataError, SettingsError
from indexer.interactions import Interactions, Items
from indexer.progress import note
from indexer.readers.columns import Column, IdColumn, TextColumn
from indexer.readers.delimited import Delimited
from indexer.readers.pairs import Events, to_interactions
from indexer.readers.parquet import ParquetRows
from indexer.readers.quantities import (
    MAX_FLOAT32,
    DatetimeColumn,
    NumberColumn,
    SecondsColumn,
    are_dates,
    extremes,
)
from indexer.readers.rows import read_rows
from indexer.readers.texts import check_parted, is_about_items, parts_of

Table: TypeAlias = Delimited | ParquetRows

SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")
# Names by what they mean, the first found wins: ids before what may be names of people or things.
# Case, spaces and underscores do not count.
USER = ("userid", "user", "uid")
ITEM = ("itemid", "item", "iid", "movieid", "movie", "filmid", "film", "productid", "product")
RATING = ("rating", "ratings", "stars", "score")
CLICKS = ("clicks", "count", "counts", "plays", "playcount", "views", "listens")
TIMESTAMP = ("timestamp", "time", "ts", "datetime", "date")
# A column named item may hold a name beside an id: it is the id where there is no other.
ITEM_KEY = ("id", *(name for name in ITEM if name != "item"), "item")
# Nobody is asked for more stars than these.
_MOST_STARS = 100
TITLE = ("title", "name")
GENRES = ("genres", "genre")
YEAR = ("year", "releaseyear", "releasedate")
TAGS = ("tags", "tag")

_SNIFFED_ROWS = 100
_YEAR = r"(?:\d{1,4}(?:\.0+)?|\d{4}-\d\d-\d\d(?:[T ].*)?)?"
_ISO_TIME = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d\S*?(?P<offset>Z|[+-]\d\d(?::?\d\d)?)?)?")


def read_tables(
    interactions: Path,
    items: Path,
    *,
    skip_bad_rows: bool = False,
    rating_scale: tuple[float, float] | None = None,
) -> Interactions:
    """Read a table of interactions and a table of items.

    Parameters
    ----------
    interactions
        Columns ``user``, ``item`` and, optionally, ``rating`` and ``timestamp`` (Unix seconds, or
        ISO 8601 times in the extended form, such as ``2020-01-31`` or ``2020-01-31T18:30:00``, UTC
        unless they say otherwise). Without ratings each row is a click.
    items
        Columns ``id``, ``title``, ``genres`` (between ``|``, or a list) and, optionally, ``year``
        (or a date; may be blank). Other columns of text are kept as ``items.texts``; those of
        numbers, dates or addresses, or with one value for all, are not. Of ``tags`` (between
        ``|``, or a list) each becomes a line of its own.
    skip_bad_rows
        Pass over and count malformed rows, where the default is to refuse the data.
    rating_scale
        ``(min, max)`` of the stars; taken from the data if not given.

    Raises
    ------
    DataError
        If a file or a column is missing, a row is malformed, names an item that the items do not
        have, or has a rating outside the scale; if all ratings are equal and no scale is given; if
        most genres are lists by other signs than ``|``; or if all times are dates of eight digits,
        such as ``20200131``.
    SettingsError
        If ``rating_scale`` is not a range.
    """
    check_scale(rating_scale)
    events_table = _table(interactions)
    catalogue, n_bad_items = read_items(items, skip_bad_rows=skip_bad_rows)
    known = (pa.array(catalogue.item_ids, pa.string()), items.name)
    events = read_events_of(events_table, known, rating_scale, skip_bad_rows=skip_bad_rows)
    events = replace(events, n_dropped=events.n_dropped + n_bad_items)
    if events.ratings is not None and rating_scale is None:
        rating_scale = _scale_of(events.ratings, events_table.name)
    source = f"{interactions.name} with {items.name} (on its owner's terms)"
    return to_interactions(events, catalogue, rating_scale, source)


def check_scale(rating_scale: tuple[float, float] | None) -> None:
    """Raise SettingsError if a rating scale is given that is no range."""
    if rating_scale is not None and not -math.inf < rating_scale[0] < rating_scale[1] < math.inf:
        raise SettingsError(f"rating_scale {rating_scale} must be (min, max) with min < max")


def _table(path: Path) -> Table:
    name = path.name.lower()
    if not name.endswith(SUFFIXES):
        raise DataError(path, f"is of an unknown format; expected one of {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise DataError(path, "is a folder" if path.is_dir() else "does not exist")
    if name.endswith(".parquet"):
        return ParquetRows(path)
    return Delimited(path, "\t" if ".tsv" in name[-7:] else ",", many_lines=True)


def read_events_of(
    table: Table,
    known: tuple[pa.Array, str] | None,
    rating_scale: tuple[float, float] | None,
    *,
    skip_bad_rows: bool,
) -> Events:
    """Read a table of interactions, by its columns' names; of ``known`` items alone, if given."""
    columns = _event_columns(table, known, rating_scale)
    names = {column.name for column in columns}
    if "rating" not in names:
        each = "its number of clicks" if "clicks" in names else "a click"
        note(f"{table.name}: no column is called {' or '.join(RATING)}, so each row is {each}")
    _tell_unused(table, {column.position for column in columns})
    rows = read_rows(table, columns, skip_bad_rows=skip_bad_rows)
    values = rows.values
    if isinstance(columns[-1], SecondsColumn) and are_dates(values["timestamp"]):
        problem = (
            f"every timestamp is a date such as {values['timestamp'][0]}, which as Unix seconds is "
            "in 1970; write dates as 2020-01-31, or times as 2020-01-31T18:30:00 or Unix seconds"
        )
        raise DataError(table.name, problem)
    ratings, times = values.get("rating"), values.get("timestamp")
    clicks = values.get("clicks")
    return Events(values["user"], values["item"], ratings, times, rows.n_dropped, clicks)


def _event_columns(
    table: Table, known: tuple[pa.Array, str] | None, rating_scale: tuple[float, float] | None
) -> list[Column]:
    columns: list[Column] = [
        IdColumn("user", _position(table, "user", USER)),
        IdColumn("item", _position(table, "item", ITEM), known),
    ]
    rating, clicks, timestamp = (find(table, names) for names in (RATING, CLICKS, TIMESTAMP))
    if rating is not None:
        columns.append(NumberColumn("rating", rating, rating_scale))
    elif rating_scale is not None:
        raise DataError(
            table.name, "has no column of ratings, so its rows are clicks: give no rating scale"
        )
    elif clicks is not None:
        columns.append(NumberColumn("clicks", clicks, (1, MAX_FLOAT32)))
    if timestamp is not None:
        columns.append(_time_column(table, timestamp))
    return columns


def _time_column(table: Table, position: int) -> Column:
    for record in islice(table.records(), _SNIFFED_ROWS):
        if position < len(record.cells):
            match = _ISO_TIME.fullmatch(record.cells[position])
            if match:
                return DatetimeColumn("timestamp", position, zoned=bool(match["offset"]))
            if record.cells[position].strip().lstrip("-").replace(".", "", 1).isdigit():
                break
    return SecondsColumn("timestamp", position, fractional=True)


def _scale_of(ratings: npt.NDArray[np.float32], name: str) -> tuple[float, float]:
    low, high = extremes(ratings)
    if low == high:
        raise DataError(
            name,
            f"every rating is {low:g}: give the rating scale, or leave the column out for clicks",
        )
    if high > _MOST_STARS:
        note(
            f"{name}: ratings up to {high:g} are read as stars; what counts is to be called clicks"
        )
    return low, high


def read_items(path: Path, *, skip_bad_rows: bool = False) -> tuple[Items, int]:
    """Read a table of items as :func:`read_tables` does; also return how many rows were dropped."""
    table = _table(path)
    found = {
        "title": _position(table, "title", TITLE),
        "genres": _position(table, "genres", GENRES),
        "item id": _position(table, "item id", ITEM_KEY),
    }
    year = find(table, YEAR)
    columns: list[Column] = [TextColumn(name, found[name]) for name in ("title", "genres")]
    if year is not None:
        columns.append(
            TextColumn("year", year, _YEAR, "a year, a date such as 1995-10-30, or blank")
        )
    further = _further_texts(table, {*found.values(), year})
    columns += [TextColumn(_text_key(name), position) for name, position in further.items()]
    columns.append(IdColumn("item id", found["item id"], unique=True))
    rows = read_rows(table, columns, skip_bad_rows=skip_bad_rows)
    values = rows.values
    item_ids = values["item id"].ids.to_pylist()
    check_parted(values["genres"], table.name)
    years = [int(float(text[:4] or 0)) for text in values.get("year", [""] * len(item_ids))]
    about = {name: cells for name in further if is_about_items(cells := values[_text_key(name)])}
    _tell_unused(table, {*found.values(), year, *(further[name] for name in about)})
    items = Items(
        item_ids=item_ids,
        titles=values["title"],
        years=np.array(years, np.int16),
        genres=[parts_of(text) for text in values["genres"]],
        texts=_texts(about),
    )
    return items, rows.n_dropped


def _further_texts(table: Table, taken: set[int | None]) -> dict[str, int]:
    return {
        name: position
        for position, name in enumerate(table.column_names)
        if position not in taken
        and name
        and not (isinstance(table, ParquetRows) and not table.is_text(position))
    }


def _text_key(name: str) -> str:
    # Further columns may be called anything, also what this module calls its own.
    return f"text {name!r}"


def _texts(columns: dict[str, list[str]]) -> dict[str, list[str]]:
    texts = dict(columns)
    # Under the one name that says that lines are terms, whatever the column is called.
    of_tags = [texts.pop(name) for name in list(texts) if _normal(name) in TAGS]
    if of_tags:
        texts["tags"] = [
            "\n".join(tag for cell in cells for tag in parts_of(cell))
            for cells in zip(*of_tags, strict=True)
        ]
    return texts


def _tell_unused(table: Table, used: set[int | None]) -> None:
    unused = [name for place, name in enumerate(table.column_names) if place not in used]
    if unused:
        note(f"{table.name}: columns that are not used: {', '.join(map(repr, unused))}")


def _position(table: Table, what: str, aliases: Sequence[str]) -> int:
    position = find(table, aliases)
    if position is None:
        raise DataError(
            table.name,
            f"has no column for the {what}: found {', '.join(map(repr, table.column_names))}; "
            f"expected one of {', '.join(aliases)}",
        )
    return position


def find(table: Table, aliases: Sequence[str]) -> int | None:
    """Return the position of the column that has the first of these names there is, or None.

    DataError if several have it.
    """
    names = [_normal(name) for name in table.column_names]
    for alias in aliases:
        if names.count(alias) > 1:
            raise DataError(table.name, f"has {names.count(alias)} columns called {alias}")
        if alias in names:
            return names.index(alias)
    return None


def _normal(name: str) -> str:
    return name.lower().replace("_", "").replace(" ", "")
