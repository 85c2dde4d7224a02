import zipfile
from pathlib import Path

import numpy as np
import pytest

from ilk.errors import DataError
from indexer.interactions import Interactions
from indexer.readers.movielens import read_movielens
from indexer.readers.titles import parse_title

MOVIES_CSV = '''\
movieId,title,genres
1,Toy Story (1995),Adventure|Animation
29,"City of Lost Children, The (Cité des enfants perdus, La) (1995)",Fantasy
03,"""Great Performances"" Cats (1998)",(no genres listed)
7,Babylon 5,Sci-Fi
'''
RATINGS_CSV = """\
userId,movieId,rating,timestamp
1,1,4.0,964982703
1,29,0.5,964981247
02,03,5.0,964982224
"""
TAGS_CSV = """\
userId,movieId,tag,timestamp
1,1,pixar,1139045764
2,1,"funny, ""very"" ",1139045765
2,1, ,1139045766
2,1,pixar,1139045766
2,404,nowhere,1139045767
2,29,,1139045768
"""
U_GENRE = "unknown|0\nAction|1\nChildren's|2\n\n"
U_ITEM = (
    "1|Toy Story (1995)|01-Jan-1995||http://x/?(1995)|0|0|1\n"
    "2|Misérables, Les (1995)|01-Jan-1995||http://x/|0|1|1\n"
    "267|unknown||||1|0|0\n"
)
U_DATA = "196\t2\t3\t881250949\n186\t1\t5\t891717742\n"
RATINGS_DAT = "1::1::5::978300760\n1::2::3::978302109\n"
MOVIES_DAT = "1::Toy Story (1995)::Animation|Children's\n2::Misérables, Les (1995)::Drama\n"


def write(folder: Path, encoding: str = "utf-8", **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_bytes(text.encode(encoding))
    return folder


def csv_folder(folder: Path, **changes: str) -> Path:
    files = {"ratings_csv": RATINGS_CSV, "movies_csv": MOVIES_CSV, "tags_csv": TAGS_CSV}
    return write(folder, **(files | changes))


def triples(data: Interactions) -> list[tuple[str, str, float]]:
    users, items = data.user_ids, data.items.item_ids
    rows = zip(data.user_rows.tolist(), data.item_rows.tolist(), data.ratings.tolist(), strict=True)
    return [(users[u], items[i], r) for u, i, r in rows]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return csv_folder(tmp_path / "ml-test")


def test_csv_layout_is_read_with_exact_ids(folder: Path) -> None:
    data = read_movielens(folder)
    assert triples(data) == [("1", "1", 4.0), ("1", "29", 0.5), ("02", "03", 5.0)]
    assert data.timestamps is not None
    assert data.timestamps.tolist() == [964982703, 964981247, 964982224]
    assert data.items.item_ids == ["1", "29", "03", "7"]
    assert data.items.genres == [("Adventure", "Animation"), ("Fantasy",), (), ("Sci-Fi",)]
    assert data.items.years.tolist() == [1995, 1995, 1998, 0]
    assert data.rating_scale == (0.5, 5.0)
    assert "ml-test" in data.source
    assert not data.simulated


def test_arrays_have_the_promised_types(folder: Path) -> None:
    data = read_movielens(folder)
    assert data.timestamps is not None
    arrays = (data.user_rows, data.item_rows, data.ratings, data.timestamps, data.items.years)
    types = [array.dtype.name for array in arrays]
    assert types == ["int32", "int32", "float32", "int64", "int16"]


def test_titles_lose_their_year_and_get_their_article_first(folder: Path) -> None:
    assert read_movielens(folder).items.titles == [
        "Toy Story",
        "The City of Lost Children (La Cité des enfants perdus)",
        '"Great Performances" Cats',
        "Babylon 5",
    ]


def test_tags_stay_whole_one_to_a_line_each_time_given(folder: Path) -> None:
    tags = read_movielens(folder).items.texts["tags"]
    assert tags == ['pixar\nfunny, "very"\npixar', "", "", ""]


def test_tags_from_a_time_on_are_not_known_before(folder: Path) -> None:
    items = read_movielens(folder).items
    (first, *others) = items.line_times["tags"]
    assert len(first) == 3
    assert not any(map(len, others))
    for cutoff_s in (0, int(first.min()) + 1, int(first.max()) + 1):
        lines = items.texts["tags"][0].split("\n")
        known = [line for line, s in zip(lines, first.tolist(), strict=True) if s < cutoff_s]
        before = items.before(cutoff_s)
        assert before.texts == {"tags": ["\n".join(known), "", "", ""]}
        assert before.line_times["tags"][0].tolist() == [s for s in first.tolist() if s < cutoff_s]
    assert items.texts["tags"][0].count("\n") == 2


def test_tags_may_be_left_out_or_absent(folder: Path) -> None:
    assert read_movielens(folder, with_tags=False).items.texts == {}
    (folder / "tags.csv").unlink()
    assert read_movielens(folder).items.texts == {}


def test_tags_file_without_tags_is_no_error(tmp_path: Path) -> None:
    folder = csv_folder(tmp_path, tags_csv="userId,movieId,tag,timestamp\n")
    assert read_movielens(folder).items.texts == {"tags": [""] * 4}


def test_100k_layout_is_read_in_latin_1(tmp_path: Path) -> None:
    files = {"u_data": U_DATA, "u_item": U_ITEM, "u_genre": U_GENRE}
    data = read_movielens(write(tmp_path, "latin-1", **files))
    assert triples(data) == [("196", "2", 3.0), ("186", "1", 5.0)]
    assert data.items.titles == ["Toy Story", "Les Misérables", "unknown"]
    assert data.items.genres == [("Children's",), ("Action", "Children's"), ()]
    assert data.items.years.tolist() == [1995, 1995, 0]
    assert data.rating_scale == (1.0, 5.0)
    assert data.items.texts == {}


@pytest.mark.parametrize("users_file", [True, False])
def test_1m_layout_is_read_in_latin_1(tmp_path: Path, users_file: bool) -> None:
    files = {"ratings_dat": RATINGS_DAT, "movies_dat": MOVIES_DAT}
    if users_file:
        files["users_dat"] = "1::F::1::10::48067\n"
    data = read_movielens(write(tmp_path, "latin-1", **files))
    assert triples(data) == [("1", "1", 5.0), ("1", "2", 3.0)]
    assert data.items.titles == ["Toy Story", "Les Misérables"]
    assert data.items.genres == [("Animation", "Children's"), ("Drama",)]
    assert data.rating_scale == (1.0, 5.0)


def test_10m_layout_is_read_in_utf_8_with_half_stars_and_tags(tmp_path: Path) -> None:
    ratings = RATINGS_DAT.replace("::3::", "::3.5::")
    tags = '1::2::he said "no: way"::978300760\n'
    files = {"ratings_dat": ratings, "movies_dat": MOVIES_DAT, "tags_dat": tags}
    data = read_movielens(write(tmp_path, **files))
    assert triples(data) == [("1", "1", 5.0), ("1", "2", 3.5)]
    assert data.items.titles[1] == "Les Misérables"
    assert data.rating_scale == (0.5, 5.0)
    assert data.items.texts == {"tags": ["", 'he said "no: way"']}


def test_folder_around_the_folder_is_read_too(folder: Path) -> None:
    assert triples(read_movielens(folder.parent)) == triples(read_movielens(folder))


def test_what_macos_puts_into_an_archive_is_no_data_set(folder: Path) -> None:
    csv_folder(folder.parent / "__MACOSX")
    assert triples(read_movielens(folder.parent)) == triples(read_movielens(folder))


def test_several_data_sets_in_a_folder_are_refused_by_name(folder: Path) -> None:
    csv_folder(folder.parent / "ml-other")
    with pytest.raises(DataError, match=r"several data sets \(ml-other, ml-test\)"):
        read_movielens(folder.parent)


@pytest.mark.parametrize("top", ["ml-latest-small/", ""])
def test_published_zip_is_read_like_the_folder(folder: Path, top: str) -> None:
    archive = folder.parent / "ml-latest-small.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as members:
        for file in folder.iterdir():
            members.write(file, f"{top}{file.name}")
        members.writestr("__MACOSX/._ratings.csv", b"\0")
    zipped, plain = read_movielens(archive), read_movielens(folder)
    assert triples(zipped) == triples(plain)
    assert zipped.items.titles == plain.items.titles
    assert zipped.items.texts == plain.items.texts
    assert zipped.source.startswith("MovieLens ml-latest-small (GroupLens")


def test_100k_layout_is_read_from_a_zip(tmp_path: Path) -> None:
    archive = tmp_path / "ml-100k.zip"
    with zipfile.ZipFile(archive, "w") as members:
        for name, text in (("u.data", U_DATA), ("u.item", U_ITEM), ("u.genre", U_GENRE)):
            members.writestr(f"ml-100k/{name}", text.encode("latin-1"))
    assert read_movielens(archive).items.titles[1] == "Les Misérables"


def test_damaged_member_of_a_zip_is_refused(folder: Path) -> None:
    archive = folder.parent / "bad.zip"
    with zipfile.ZipFile(archive, "w") as members:
        for file in folder.iterdir():
            members.write(file, f"ml/{file.name}")
    archive.write_bytes(archive.read_bytes().replace(b"964982703", b"964982704"))
    with pytest.raises(DataError, match=r"ratings\.csv: cannot be read: .*CRC"):
        read_movielens(archive)


def test_windows_line_ends_byte_order_mark_and_missing_last_newline_are_read(
    folder: Path, tmp_path: Path
) -> None:
    ratings, movies = (
        "\ufeff" + t.rstrip().replace("\n", "\r\n") for t in (RATINGS_CSV, MOVIES_CSV)
    )
    other = csv_folder(tmp_path / "other", ratings_csv=ratings, movies_csv=movies)
    assert triples(read_movielens(other)) == triples(read_movielens(folder))
    assert read_movielens(other).items.titles == read_movielens(folder).items.titles


def test_latest_of_duplicate_ratings_stands(tmp_path: Path) -> None:
    ratings = (
        "userId,movieId,rating,timestamp\n"
        "1,1,2.0,200\n1,29,1.0,5\n1,1,3.0,300\n1,1,4.0,100\n1,29,5.0,5\n"
    )
    data = read_movielens(csv_folder(tmp_path, ratings_csv=ratings))
    assert triples(data) == [("1", "1", 3.0), ("1", "29", 5.0)]
    assert data.timestamps is not None
    assert data.timestamps.tolist() == [300, 5]
    assert data.n_duplicates == 3


def test_one_user_and_one_film_without_genres_are_read(tmp_path: Path) -> None:
    folder = csv_folder(
        tmp_path,
        ratings_csv="userId,movieId,rating,timestamp\n1,1,4.0,5\n",
        movies_csv="movieId,title,genres\n1,Paterson,(no genres listed)\n",
    )
    data = read_movielens(folder)
    assert (data.n_users, data.n_items, len(data)) == (1, 1, 1)
    assert data.items.genres == [()]


def test_a_genre_that_is_named_twice_is_one(tmp_path: Path) -> None:
    movies = "movieId,title,genres\n1,Heat,Crime|Drama|Crime\n29,Ran, Drama |War \n03,Ikiru,\n"
    items = read_movielens(csv_folder(tmp_path, movies_csv=movies)).items
    assert items.genres == [("Crime", "Drama"), ("Drama", "War"), ()]


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        ("1,7,abc,5", "rating 'abc' is not a number"),
        ("1,7,,5", "rating is blank"),
        ("1,7,nan,5", "rating 'nan' is not a finite number"),
        ("1,7,inf,5", "rating 'inf' is not a finite number"),
        ("1,7,1e39,5", "rating '1e39' is not a finite number"),
        ("1,7,5.5,5", "rating 5.5 is outside the scale 0.5 to 5"),
        ("1,7,0,5", "rating 0 is outside the scale 0.5 to 5"),
        ("1,7,4.0", "has 3 columns; expected 4"),
        ("1,7,4.0,5,6", "has 5 columns; expected 4"),
        (",7,4.0,5", "userId is blank"),
        ("1,,4.0,5", "movieId is blank"),
        (f"{'é' * 129},7,4.0,5", "has 258 bytes; at most 256"),
        ("1,404,4.0,5", "movieId '404' is not in movies.csv"),
        ("1,7,4.0,soon", "timestamp 'soon' is not a number"),
        ("1,7,4.0,5.5", "timestamp '5.5' is not a whole number of seconds"),
        ("1,7,4.0,964982703000", "are these milliseconds"),
        ('1,"7,4.0,5', "is malformed"),
    ],
)
def test_bad_rating_is_refused_with_its_line_or_skipped_and_counted(
    tmp_path: Path, bad: str, problem: str
) -> None:
    head, *rest = RATINGS_CSV.splitlines()
    text = "\n".join([head, rest[0], "", bad, *rest[1:], ""])
    folder = csv_folder(tmp_path, ratings_csv=text)
    with pytest.raises(DataError, match=r"ratings\.csv, line 4: ") as caught:
        read_movielens(folder)
    assert problem in str(caught.value)
    assert caught.value.line == 4
    data = read_movielens(folder, skip_bad_rows=True)
    assert data.n_dropped == 1
    assert triples(data) == triples(read_movielens(csv_folder(tmp_path / "good")))


def test_text_that_is_not_utf_8_is_refused_with_its_line(tmp_path: Path) -> None:
    folder = csv_folder(tmp_path)
    path = folder / "movies.csv"
    path.write_bytes(MOVIES_CSV.encode().replace("é".encode(), b"\xe9"))
    with pytest.raises(DataError, match=r"movies\.csv, line 3: is not UTF-8 text"):
        read_movielens(folder)


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        ("1,Again (1999),Drama", "movieId '1' appears a second time"),
        (",Blank (1999),Drama", "movieId is blank"),
        ("8,No genres (1999)", "has 2 columns; expected 3"),
        ('8,Open (1999),"Drama', "is malformed"),
    ],
)
def test_bad_movie_is_refused_with_its_line_or_skipped_and_counted(
    tmp_path: Path, bad: str, problem: str
) -> None:
    folder = csv_folder(tmp_path, movies_csv=f"{MOVIES_CSV}{bad}\n9,Last (2000),Drama\n")
    with pytest.raises(DataError, match=r"movies\.csv, line 6: ") as caught:
        read_movielens(folder)
    assert problem in str(caught.value)
    data = read_movielens(folder, skip_bad_rows=True)
    assert data.n_dropped == 1
    assert data.items.item_ids == ["1", "29", "03", "7", "9"]


@pytest.mark.parametrize(
    ("name", "bad", "problem"),
    [
        ("u.item", "3|No flags (1999)||||0|1", "has 7 columns; expected 8"),
        ("u.item", "3|Odd flag (1999)||||0|2|0", "Action '2' is not 0 or 1"),
        ("u.data", "196\t1\t0\t5", "rating 0 is outside the scale 1 to 5"),
        ("u.data", "196 1 3 5", "has 1 columns; expected 4"),
        ("u.data", "196\t9\t3\t5", "movieId '9' is not in u.item"),
    ],
)
def test_bad_line_of_100k_is_refused(tmp_path: Path, name: str, bad: str, problem: str) -> None:
    files = {"u_data": U_DATA, "u_item": U_ITEM, "u_genre": U_GENRE}
    files[name.replace(".", "_")] += f"{bad}\n"
    with pytest.raises(DataError, match=rf"{name}, line \d: ") as caught:
        read_movielens(write(tmp_path, "latin-1", **files))
    assert problem in str(caught.value)


def test_bad_line_of_1m_is_refused(tmp_path: Path) -> None:
    files = {"ratings_dat": f"{RATINGS_DAT}1:2:3:4\n", "movies_dat": MOVIES_DAT}
    with pytest.raises(DataError, match=r"ratings\.dat, line 3: has 1 columns; expected 4"):
        read_movielens(write(tmp_path, "latin-1", **files))


def test_genre_numbers_with_a_gap_are_refused(tmp_path: Path) -> None:
    genres = U_GENRE.replace("|2", "|3")
    files = {"u_data": U_DATA, "u_item": U_ITEM, "u_genre": genres}
    with pytest.raises(DataError, match=r"u\.genre: numbers its 3 genres"):
        read_movielens(write(tmp_path, "latin-1", **files))


@pytest.mark.parametrize("missing", ["ratings.csv", "movies.csv"])
def test_missing_file_is_named(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(DataError, match=rf"{missing}: is missing"):
        read_movielens(folder)


def test_missing_genre_list_of_100k_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"u\.genre: is missing"):
        read_movielens(write(tmp_path, "latin-1", u_data=U_DATA, u_item=U_ITEM))


def test_path_without_data_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no MovieLens data; expected ratings\.csv"):
        read_movielens(tmp_path)
    with pytest.raises(DataError, match="does not exist; expected"):
        read_movielens(tmp_path / "nowhere")
    (tmp_path / "x.zip").write_bytes(b"not a zip")
    with pytest.raises(DataError, match="neither a folder nor a zip"):
        read_movielens(tmp_path / "x.zip")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty; expected a header line"),
        ("userId,movieId,rating,timestamp\n", "holds no rows"),
        ("user,movie,stars,when\n1,1,4.0,5\n", "no column userId; found user, movie"),
        ("1,1,4.0,964982703\n", "no column userId"),
    ],
)
def test_ratings_without_rows_or_header_are_refused(
    tmp_path: Path, text: str, problem: str
) -> None:
    with pytest.raises(DataError, match=problem):
        read_movielens(csv_folder(tmp_path, ratings_csv=text))


def test_data_of_which_nothing_is_left_is_refused(tmp_path: Path) -> None:
    folder = csv_folder(tmp_path, ratings_csv="userId,movieId,rating,timestamp\n1,1,9,5\n")
    with pytest.raises(DataError, match="holds no rows but 1 malformed"):
        read_movielens(folder, skip_bad_rows=True)


@pytest.mark.parametrize(
    ("text", "title", "year"),
    [
        ("Toy Story (1995)", "Toy Story", 1995),
        ("Death Note: Desu nôto (2006–2007)", "Death Note: Desu nôto", 2006),  # noqa: RUF001
        ("Fawlty Towers (1975-1979)", "Fawlty Towers", 1975),
        ("Big Bang Theory, The (2007- )", "The Big Bang Theory", 2007),
        ("Land Before Time III (1995) (V)", "Land Before Time III", 1995),
        ("96 Minutes (2011) ", "96 Minutes", 2011),
        ("Babylon 5", "Babylon 5", 0),
        ("(500) Days of Summer (2009)", "(500) Days of Summer", 2009),
        ("2001: A Space Odyssey (1968)", "2001: A Space Odyssey", 1968),
        ("(1995)", "(1995)", 0),
        ("Matrix, The (1999)", "The Matrix", 1999),
        ("Bug's Life, A (1998)", "A Bug's Life", 1998),
        ("Affair to Remember, An (1957)", "An Affair to Remember", 1957),
        ("Avventura, L' (Adventure, The) (1960)", "L'Avventura (The Adventure)", 1960),
        (
            "Good, the Bad and the Ugly, The (Buono, il brutto, il cattivo, Il) (1966)",
            "The Good, the Bad and the Ugly (Il Buono, il brutto, il cattivo)",
            1966,
        ),
        (
            "City of the Living Dead (a.k.a. Gates of Hell, The) (Paura) (1980)",
            "City of the Living Dead (a.k.a. The Gates of Hell) (Paura)",
            1980,
        ),
        (
            "Spirited Away (Sen to Chihiro no kamikakushi) (2001)",
            "Spirited Away (Sen to Chihiro no kamikakushi)",
            2001,
        ),
        ("I Love You, Man (2009)", "I Love You, Man", 2009),
        ("Play It Again, Sam (1972)", "Play It Again, Sam", 1972),
        ("", "", 0),
    ],
)
def test_title_is_taken_apart(text: str, title: str, year: int) -> None:
    assert parse_title(text) == (title, year)


def test_real_data_has_its_published_size(ml_latest_small: Path) -> None:
    data = read_movielens(ml_latest_small)
    assert (data.n_users, data.n_items, len(data)) == (610, 9742, 100836)
    assert (data.n_dropped, data.n_duplicates) == (0, 0)
    toy_story = data.items.item_ids.index("1")
    assert data.items.titles[toy_story] == "Toy Story"
    assert data.items.years[toy_story] == 1995
    assert np.count_nonzero(data.item_rows == toy_story) == 215
    n_tags = sum(len(tags.splitlines()) for tags in data.items.texts["tags"])
    assert n_tags == 3683
