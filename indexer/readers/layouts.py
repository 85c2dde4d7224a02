"""Knows every layout in which GroupLens has published MovieLens: which files, and what stands in them.

It refuses to know what is made of the rows (`movielens` does), and how files are downloaded.

    ml-latest, -small, 32m, 25m, 20m    ratings.csv, movies.csv and, optionally, tags.csv
    ml-10m                              ratings.dat, movies.dat, tags.dat; ``::``, UTF-8
    ml-1m                               ratings.dat, movies.dat, users.dat; ``::``, Latin-1
    ml-100k                             u.data (tabs), u.item and u.genre (``|``), Latin-1
"""

import contextlib
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ilk.errors import DataError
from indexer.readers.columns import TextColumn
from indexer.readers.delimited import Delimited, Member, reading
from indexer.readers.rows import read_rows

_HALF_STARS = (0.5, 5.0)
_WHOLE_STARS = (1.0, 5.0)
_EXPECTED = (
    "expected ratings.csv and movies.csv, or ratings.dat and movies.dat, "
    "or u.data, u.item and u.genre"
)
RATING = ("userId", "movieId", "rating", "timestamp")
_MOVIE = ("movieId", "title", "genres")
TAG = ("userId", "movieId", "tag", "timestamp")
_U_GENRE = ("genre", "number")
U_ITEM = ("movieId", "title", "release date", "video release date", "IMDb URL")


@dataclass(frozen=True, slots=True)
class Layout:
    """The files of a data set, and what its stars are.

    Attributes
    ----------
    ratings, movies, tags
        Where they stand; no tags where the data set has none.
    scale
        The least and the most stars.
    flag_genres
        Genres that have a column each in the movies' file; none where one column names them all.
    """

    ratings: Delimited
    movies: Delimited
    scale: tuple[float, float]
    tags: Delimited | None = None
    flag_genres: tuple[str, ...] = ()


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Member]:
    """Yield the folder that holds a data set: ``path``, a folder in it, or one in the zip that it is."""
    if path.is_dir():
        yield _data_folder(path)
        return
    with reading(str(path)):
        if not path.exists():
            raise DataError(path, f"does not exist; {_EXPECTED}, as a folder or the published zip")
        if not zipfile.is_zipfile(path):
            raise DataError(path, "is neither a folder nor a zip archive")
        archive = zipfile.ZipFile(path)
    with archive:
        yield _data_folder(zipfile.Path(archive))


def _data_folder(root: Member) -> Member:
    if _looks_like_data(root):
        return root
    # What macOS puts into an archive beside the data is called as the data is.
    children = (child for child in _children(root) if child.name != "__MACOSX")
    folders = [child for child in children if child.is_dir() and _looks_like_data(child)]
    if len(folders) > 1:
        names = ", ".join(sorted(folder.name for folder in folders))
        raise DataError(root, f"holds several data sets ({names}); name one of them")
    if not folders:
        raise DataError(root, f"holds no MovieLens data; {_EXPECTED}")
    return folders[0]


def _children(folder: Member) -> list[Member]:
    with reading(str(folder)):
        return list(folder.iterdir())


def _looks_like_data(folder: Member) -> bool:
    tell_tales = {"ratings.csv", "movies.csv", "ratings.dat", "movies.dat", "u.data", "u.item"}
    return any(child.name in tell_tales for child in _children(folder))


def layout_of(folder: Member) -> Layout:
    """Return how the data set in a folder is laid out; DataError if files are missing."""
    names = {child.name for child in _children(folder)}
    if names & {"ratings.csv", "movies.csv"}:
        _require(folder, names, "ratings.csv", "movies.csv")
        tags = Delimited(folder / "tags.csv") if "tags.csv" in names else None
        ratings, movies = (Delimited(folder / name) for name in ("ratings.csv", "movies.csv"))
        return Layout(ratings, movies, _HALF_STARS, tags)
    if names & {"ratings.dat", "movies.dat"}:
        _require(folder, names, "ratings.dat", "movies.dat")
        return _dat_layout(folder, names)
    _require(folder, names, "u.data", "u.item", "u.genre")
    genres = _read_flag_genres(Delimited(folder / "u.genre", "|", False, _U_GENRE, "latin-1"))
    return Layout(
        Delimited(folder / "u.data", "\t", False, RATING, "latin-1"),
        Delimited(folder / "u.item", "|", False, (*U_ITEM, *genres), "latin-1"),
        _WHOLE_STARS,
        flag_genres=genres,
    )


def _require(folder: Member, present: set[str], *names: str) -> None:
    for name in names:
        if name not in present:
            raise DataError(folder / name, f"is missing; {_EXPECTED} in one folder")


def _dat_layout(folder: Member, names: set[str]) -> Layout:
    # 1m has users.dat, 10m tags.dat. Where both were taken away, the bytes of the titles tell.
    is_1m = "users.dat" in names and "tags.dat" not in names
    is_1m = is_1m or ("tags.dat" not in names and not _is_utf8(folder / "movies.dat"))
    encoding = "latin-1" if is_1m else "utf-8"

    def file(name: str, columns: Sequence[str]) -> Delimited:
        return Delimited(folder / name, "::", False, columns, encoding)

    return Layout(
        file("ratings.dat", RATING),
        file("movies.dat", _MOVIE),
        _WHOLE_STARS if is_1m else _HALF_STARS,
        file("tags.dat", TAG) if "tags.dat" in names else None,
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
