import csv
import gzip
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ilk.errors import DataError, SettingsError
from ilk.preference import Preference
from indexer.interactions import Interactions
from indexer.readers.columns import Column, IdColumn, TextColumn
from indexer.readers.delimited import Delimited
from indexer.readers.events import read_events
from indexer.readers.quantities import DatetimeColumn, NumberColumn, SecondsColumn
from indexer.readers.rows import Rows, RowSource, read_rows
from indexer.readers.tabular import read_items, read_tables

EVENTS = "user,item,rating,timestamp\nana b,🎬,4,100\nana b,02,1.5,200\nbo,02,5,300\n"
ITEMS = "id,title,genres,year\n🎬,Heat,Crime|Drama,1995\n02,Cosmos,,\n2,Alien,Sci-Fi,1979.0\n"


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def read(folder: Path, events: str = EVENTS, items: str = ITEMS, **options: Any) -> Interactions:
    events_path, items_path = folder / "events.csv", folder / "items.csv"
    return read_tables(write(events_path, events), write(items_path, items), **options)


def triples(data: Interactions) -> list[tuple[str, str, float]]:
    users, items = data.user_ids, data.items.item_ids
    rows = zip(data.user_rows.tolist(), data.item_rows.tolist(), data.ratings.tolist(), strict=True)
    return [(users[u], items[i], r) for u, i, r in rows]


def seconds(data: Interactions) -> list[int]:
    assert data.timestamps is not None
    assert data.timestamps.dtype == np.int64
    return [int(time) for time in data.timestamps]


def parquet(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def test_pair_of_csv_files_is_read_with_exact_ids(tmp_path: Path) -> None:
    data = read(tmp_path)
    assert triples(data) == [("ana b", "🎬", 4.0), ("ana b", "02", 1.5), ("bo", "02", 5.0)]
    assert seconds(data) == [100, 200, 300]
    assert data.items.item_ids == ["🎬", "02", "2"]
    assert data.items.titles == ["Heat", "Cosmos", "Alien"]
    assert data.items.genres == [("Crime", "Drama"), (), ("Sci-Fi",)]
    assert data.items.years.tolist() == [1995, 0, 1979]
    assert data.rating_scale == (1.5, 5.0)
    assert (data.n_dropped, data.n_duplicates) == (0, 0)
    assert data.source.startswith("events.csv with items.csv")


@pytest.mark.parametrize(
    "header",
    ["userId,movieId,stars,ts", "user_id,item_id,score,time", "User ID,Item,Ratings,date"],
)
def test_columns_are_found_by_their_usual_names(tmp_path: Path, header: str) -> None:
    events = EVENTS.replace("user,item,rating,timestamp", header)
    items = ITEMS.replace("id,title,genres,year", "itemId,name,genre,release_year")
    assert triples(read(tmp_path, events, items)) == triples(read(tmp_path))


def test_items_may_call_their_ids_item_where_there_is_no_other(tmp_path: Path) -> None:
    assert read(tmp_path, items=ITEMS.replace("id,", "Item,", 1)).items.item_ids == [
        "🎬",
        "02",
        "2",
    ]
    beside = "item,id,title,genres\nthe first,🎬,Heat,\nthe second,02,Cosmos,\n"
    items = read(tmp_path, items=beside).items
    assert (items.item_ids, items.texts) == (["🎬", "02"], {"item": ["the first", "the second"]})


def test_columns_may_come_in_any_order_with_others_between(tmp_path: Path) -> None:
    data = read(tmp_path, "device,rating,item,user\ntv,4,02,ana\ntv,2,2,bo\n")
    assert triples(data) == [("ana", "02", 4.0), ("bo", "2", 2.0)]
    assert data.timestamps is None


@pytest.mark.parametrize("suffix", [".csv.gz", ".tsv", ".tsv.gz"])
def test_tabs_and_gzip_are_told_by_the_suffix(tmp_path: Path, suffix: str) -> None:
    paths = []
    for name, text in (("events", EVENTS), ("items", ITEMS)):
        text = text.replace(",", "\t") if "tsv" in suffix else text
        encoded = gzip.compress(text.encode()) if suffix.endswith(".gz") else text.encode()
        paths.append(tmp_path / f"{name}{suffix}")
        paths[-1].write_bytes(encoded)
    assert triples(read_tables(*paths)) == triples(read(tmp_path))


def test_truncated_gzip_is_refused(tmp_path: Path) -> None:
    events = tmp_path / "events.csv.gz"
    events.write_bytes(gzip.compress(EVENTS.encode())[:-12])
    with pytest.raises(DataError, match=r"events\.csv\.gz: cannot be read"):
        read_tables(events, write(tmp_path / "items.csv", ITEMS))


def test_without_ratings_rows_are_clicks_and_add_up(tmp_path: Path) -> None:
    events = "user,item,timestamp\na,2,300\nb,2,5\na,02,50\na,2,100\na,2,200\n"
    data = read(tmp_path, events)
    assert triples(data) == [("a", "2", 3.0), ("b", "2", 1.0), ("a", "02", 1.0)]
    assert seconds(data) == [300, 5, 50]
    assert data.rating_scale is None
    assert data.n_duplicates == 2


@pytest.mark.parametrize("name", ["clicks", "Play Count", "views"])
def test_rows_may_be_several_clicks(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    events = f"user,item,{name},time\na,02,3,5\nb,2,1,6\na,02,2.5,4\na,2,7,9\n"
    data = read(tmp_path, events)
    assert triples(data) == [("a", "02", 5.5), ("b", "2", 1.0), ("a", "2", 7.0)]
    assert seconds(data) == [5, 6, 9]
    assert data.rating_scale is None
    assert "so each row is its number of clicks" in capsys.readouterr().err
    once = "".join(events.splitlines(keepends=True)[:3])
    assert triples(read(tmp_path, once)) == [("a", "02", 3.0), ("b", "2", 1.0)]
    with pytest.raises(DataError, match=r"events.csv, line 2: clicks 0 is outside"):
        read(tmp_path, events.replace(",3,5", ",0,5"))


def test_counts_that_are_called_ratings_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    read(tmp_path, "user,item,rating\na,02,3\nb,2,2011\n")
    assert "ratings up to 2011 are read as stars" in capsys.readouterr().err
    read(tmp_path)
    assert "are read as stars" not in capsys.readouterr().err


def test_clicks_without_duplicates_are_ones(tmp_path: Path) -> None:
    data = read(tmp_path, "user,item\na,2\nb,2\n")
    assert data.ratings.tolist() == [1.0, 1.0]
    assert data.ratings.dtype == np.float32
    assert data.timestamps is None


def test_last_of_duplicate_ratings_stands_where_there_are_no_times(tmp_path: Path) -> None:
    data = read(tmp_path, "user,item,rating\na,2,1\nb,2,4\na,2,5\na,02,2\n")
    assert triples(data) == [("b", "2", 4.0), ("a", "2", 5.0), ("a", "02", 2.0)]
    assert data.n_duplicates == 1


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (("1970-01-01", "1970-01-02"), [0, 86400]),
        (("1970-01-01 00:01:00", "1970-01-01T00:02:00.75"), [60, 120]),
        (("1970-01-01T00:01:00Z", "1970-01-01T02:00:00+02:00"), [60, 0]),
        (("1969-12-31T23:59:59.5", "1970-01-01"), [-1, 0]),
        (("1970-01-01T00:01:00.999999999", "1970-01-01T00:02:00.123456789"), [60, 120]),
        (("1970-01-01 00:01:00.9999999Z", "1970-01-01T02:00:00.12345678+02:00"), [60, 0]),
        (("964982703", "964982703.9"), [964982703, 964982703]),
        (("19700815", "19701345"), [19700815, 19701345]),
    ],
)
def test_times_may_be_seconds_or_iso_8601(
    tmp_path: Path, texts: Sequence[str], expected: list[int]
) -> None:
    events = f"user,item,timestamp\na,2,{texts[0]}\nb,2,{texts[1]}\n"
    assert seconds(read(tmp_path, events)) == expected


def test_more_digits_than_nanoseconds_have_are_refused(tmp_path: Path) -> None:
    events = "user,item,timestamp\na,2,1970-01-01T00:01:00.1234567890\n"
    with pytest.raises(DataError, match=r"line 2: timestamp '1970-01-01.* is not an ISO"):
        read(tmp_path, events)


@pytest.mark.parametrize("texts", [("20200131", "19991201"), ("20200131.0", "20200201")])
def test_dates_of_eight_digits_are_not_taken_as_seconds(
    tmp_path: Path, texts: Sequence[str]
) -> None:
    events = f"user,item,timestamp\na,2,{texts[0]}\nb,2,{texts[1]}\n"
    for skip_bad_rows in (False, True):
        with pytest.raises(DataError, match=r"such as 20200131, .* write dates as 2020-01-31"):
            read(tmp_path, events, skip_bad_rows=skip_bad_rows)
    with pytest.raises(DataError, match=r"events\.csv: every timestamp is a date"):
        read_events(tmp_path / "events.csv")


def test_integer_dates_of_parquet_are_not_taken_as_seconds(tmp_path: Path) -> None:
    events = parquet(tmp_path / "e.parquet", user=["a"], item=["2"], date=[20200131])
    with pytest.raises(DataError, match=r"e\.parquet: every timestamp is a date"):
        read_tables(events, write(tmp_path / "items.csv", ITEMS))


def test_times_of_that_august_in_words_are_read(tmp_path: Path) -> None:
    events = "user,item,timestamp\na,2,1970-08-17T00:26:55\n"
    assert seconds(read(tmp_path, events)) == [19700815]


def test_first_row_with_a_bad_time_does_not_decide_for_the_others(tmp_path: Path) -> None:
    events = "user,item,timestamp\na,2,soon\nb,2,1970-01-01T00:01:00Z\n"
    data = read(tmp_path, events, skip_bad_rows=True)
    assert (seconds(data), data.n_dropped) == ([60], 1)


def test_further_texts_are_kept_and_numbers_are_not(tmp_path: Path) -> None:
    items = (
        "id,title,genres,plot,tags,runtime,item id,empty\n"
        '2,Alien,Sci-Fi,"In space, no one\nhears ""you""",slow burn|space| ,117,x,\n'
        "02,Heat,Crime,,,,y,\n"
    )
    texts = read(tmp_path, "user,item\na,2\n", items).items.texts
    assert texts == {
        "plot": ['In space, no one\nhears "you"', ""],
        "tags": ["slow burn\nspace", ""],
        "item id": ["x", "y"],
    }


@pytest.mark.parametrize("header", ["tags", "Tag", "T_AGS", "tag,Tags"])
def test_tags_are_tags_whatever_their_column_is_called(tmp_path: Path, header: str) -> None:
    cells = ["slow burn|heist", "", "Heist"]
    if "," in header:
        cells = ["slow burn,heist", ",", "Heist,"]
    rows = "".join(f"{at},Title,Drama,{cell}\n" for at, cell in enumerate(cells))
    items, _ = read_items(write(tmp_path / "items.csv", f"id,title,genres,{header}\n{rows}"))
    assert items.texts == {"tags": ["slow burn\nheist", "", "Heist"]}


def test_given_scale_is_kept(tmp_path: Path) -> None:
    assert read(tmp_path, rating_scale=(0.0, 5.0)).rating_scale == (0.0, 5.0)


def test_scale_limits_that_float32_cannot_hold_do_not_refuse_their_own_ratings(
    tmp_path: Path,
) -> None:
    events = "user,item,rating\na,2,4.7\nb,2,0.1\n"
    assert len(read(tmp_path, events, rating_scale=(0.1, 4.7))) == 2
    assert read(tmp_path, events).rating_scale == (0.1, 4.7)


def test_limits_are_rounded_as_ratings_are_whichever_way_they_are_read() -> None:
    column = NumberColumn("rating", 0, (0.1, 4.3))
    rounded = [float(np.float32(limit)) for limit in (0.1, 4.3)]
    assert rounded[1] > 4.3
    assert column.sound(pa.chunked_array([pa.array(rounded, pa.float32())]))
    assert [column.parser()(str(rating)) for rating in rounded] == rounded


@pytest.mark.parametrize("scale", [(5.0, 1.0), (1.0, 1.0), (float("nan"), 5.0), (0, float("inf"))])
def test_scale_that_is_no_range_is_refused(tmp_path: Path, scale: tuple[float, float]) -> None:
    with pytest.raises(SettingsError, match="must be"):
        read(tmp_path, rating_scale=scale)


def test_scale_for_clicks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column of ratings"):
        read(tmp_path, "user,item\na,2\n", rating_scale=(1.0, 5.0))


def test_constant_rating_needs_a_scale(tmp_path: Path) -> None:
    events = "user,item,rating\na,2,1\nb,2,1\n"
    with pytest.raises(DataError, match="every rating is 1: give the rating scale"):
        read(tmp_path, events)
    assert read(tmp_path, events, rating_scale=(0.0, 1.0)).ratings.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(("ratings", "scale"), [((-1, -3), None), ((0, -2), (-5.0, 0.0))])
def test_ratings_may_all_be_zero_or_less(
    tmp_path: Path, ratings: tuple[int, int], scale: tuple[float, float] | None
) -> None:
    more, less = ratings
    events = f"user,item,rating\na,2,{more}\nb,2,{less}\n"
    found = read(tmp_path, events, rating_scale=scale)
    assert found.rating_scale == (scale or (-3.0, -1.0))
    preference = Preference(found.rating_scale, liked_from=0, alpha=1)
    liked, disliked = preference.content_weights(found.ratings, None)
    assert liked > disliked >= 0


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        ("bo,2,abc,5", "rating 'abc' is not a number"),
        ("bo,2,9,5", "rating 9 is outside the scale 1 to 5"),
        ("bo,2,nan,5", "not a finite number"),
        ("bo,2,4,", "timestamp is blank"),
        ("bo,2,4,1700000000000", "are these milliseconds"),
        (",2,4,5", "user is blank"),
        ("bo,nowhere,4,5", "item 'nowhere' is not in items.csv"),
        (f"{'x' * 257},2,4,5", "has 257 bytes; at most 256"),
        ("bo,2", "has 2 columns; expected 4"),
    ],
)
def test_bad_row_is_refused_with_its_line_or_skipped_and_counted(
    tmp_path: Path, bad: str, problem: str
) -> None:
    head, first, *rest = EVENTS.splitlines()
    events = "\n".join([head, first, bad, *rest])
    with pytest.raises(DataError, match=r"events\.csv, line 3: ") as caught:
        read(tmp_path, events, rating_scale=(1.0, 5.0))
    assert problem in str(caught.value)
    data = read(tmp_path, events, rating_scale=(1.0, 5.0), skip_bad_rows=True)
    assert data.n_dropped == 1
    assert triples(data) == triples(read(tmp_path))


def test_line_of_a_bad_row_counts_line_breaks_within_cells(tmp_path: Path) -> None:
    events = 'user,item,rating\n"a\nb",2,4\nbo,2,abc\n'
    with pytest.raises(DataError, match=r"line 4: rating 'abc'"):
        read(tmp_path, events)


def test_quote_that_is_never_closed_is_refused(tmp_path: Path) -> None:
    items = 'id,title,plot,genres\n2,Alien,space,"Sci-Fi\n02,Heat,guns,Crime\n'
    with pytest.raises(DataError, match=r"items\.csv, line 2: is malformed"):
        read(tmp_path, items=items)


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        ("2,Again,Drama,1999", "item id '2' appears a second time"),
        (",Blank,Drama,1999", "item id is blank"),
        ("7,Late,Drama,soon", "year 'soon' is not a year, a date such as 1995-10-30, or blank"),
    ],
)
def test_bad_item_is_refused_with_its_line(tmp_path: Path, bad: str, problem: str) -> None:
    with pytest.raises(DataError, match=r"items\.csv, line 5: ") as caught:
        read(tmp_path, items=f"{ITEMS}{bad}\n")
    assert problem in str(caught.value)
    assert read(tmp_path, items=f"{ITEMS}{bad}\n", skip_bad_rows=True).n_dropped == 1


@pytest.mark.parametrize(
    ("events", "items", "problem"),
    [
        ("who,item\na,2\n", ITEMS, r"events\.csv: has no column for the user: found 'who'"),
        ("user,what\na,2\n", ITEMS, r"events\.csv: has no column for the item"),
        (EVENTS, "id,genres\n2,Drama\n", r"items\.csv: has no column for the title"),
        (EVENTS, "id,title\n2,Alien\n", r"items\.csv: has no column for the genres"),
        ("user,item\n", ITEMS, r"events\.csv: holds no rows"),
        ("", ITEMS, r"events\.csv: is empty"),
        (EVENTS, "id,title,genres\n", r"items\.csv: holds no rows"),
    ],
)
def test_missing_columns_and_rows_are_named(
    tmp_path: Path, events: str, items: str, problem: str
) -> None:
    with pytest.raises(DataError, match=problem):
        read(tmp_path, events, items)


def test_missing_file_folder_and_unknown_format_are_refused(tmp_path: Path) -> None:
    items = write(tmp_path / "items.csv", ITEMS)
    with pytest.raises(DataError, match=r"gone\.csv: does not exist"):
        read_tables(tmp_path / "gone.csv", items)
    with pytest.raises(DataError, match=r"unknown format; expected one of \.csv"):
        read_tables(tmp_path / "events.xlsx", items)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match="is a folder"):
        read_tables(tmp_path / "folder.csv", items)


def test_parquet_pair_is_read_like_csv(tmp_path: Path) -> None:
    events = parquet(
        tmp_path / "events.parquet",
        user=["ana b", "ana b", "bo"],
        item=pa.array(["🎬", "02", "02"]).dictionary_encode(),
        rating=pa.array([4, 1.5, 5], pa.float64()),
        timestamp=pa.array([100_900, 200_000, 300_000], pa.timestamp("ms", "Europe/Berlin")),
    )
    items = parquet(
        tmp_path / "items.parquet",
        id=["🎬", "02", "2"],
        title=["Heat", "Cosmos", "Alien"],
        genres=[["Crime", "Drama"], None, ["Sci-Fi"]],
        year=pa.array([1995, None, 1979], pa.int16()),
        tags=[["slow burn", None, "heist"], [], None],
        runtime=[170, 60, 117],
    )
    data, same = read_tables(events, items), read(tmp_path)
    assert triples(data) == triples(same)
    assert seconds(data) == [100, 200, 300]
    assert data.items.genres == same.items.genres
    assert data.items.years.tolist() == same.items.years.tolist()
    assert data.items.texts == {"tags": ["slow burn\nheist", "", ""]}


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view()], ids=str)
def test_every_kind_of_string_of_parquet_is_read(tmp_path: Path, kind: pa.DataType) -> None:
    columns = {
        "id": ["1", "2"],
        "title": ["Heat", "Alien"],
        "genres": ["Crime", None],
        "plot": ["a", "b"],
    }
    same = read_tables(
        parquet(tmp_path / "e.parquet", user=["7"], item=["2"]),
        parquet(tmp_path / "i.parquet", **columns),
    )
    of_kind = {name: pa.array(cells, kind) for name, cells in columns.items()}
    try:
        items = parquet(tmp_path / "i.parquet", **of_kind)
    except pa.ArrowNotImplementedError:
        pytest.skip("this pyarrow writes no such strings")
    ids = {"user": pa.array(["7"], kind), "item": pa.array(["2"], kind)}
    data = read_tables(parquet(tmp_path / "e.parquet", **ids), items)
    assert triples(data) == triples(same) == [("7", "2", 1.0)]
    assert (data.items.titles, data.items.texts) == (same.items.titles, same.items.texts)
    assert data.items.texts == {"plot": ["a", "b"]}


def test_integer_ids_of_parquet_become_their_digits(tmp_path: Path) -> None:
    events = parquet(tmp_path / "e.parquet", user=[7, 8], item=[2, 2], ts=[1, 2])
    data = read_tables(events, write(tmp_path / "items.csv", ITEMS))
    assert triples(data) == [("7", "2", 1.0), ("8", "2", 1.0)]
    assert seconds(data) == [1, 2]


def test_fractional_ids_of_parquet_are_refused(tmp_path: Path) -> None:
    events = parquet(tmp_path / "e.parquet", user=[7.0], item=["2"])
    with pytest.raises(DataError, match=r"e\.parquet: user is of type double"):
        read_tables(events, write(tmp_path / "items.csv", ITEMS))


@pytest.mark.parametrize(
    ("user", "rating", "problem"),
    [
        (None, 4.0, "user is blank"),
        ("", 4.0, "user is blank"),
        ("bo", None, "rating is blank"),
        ("bo", float("nan"), "rating 'nan' is not a finite number"),
        ("bo", 6.0, "rating 6.0 is outside the scale 1 to 5"),
    ],
)
def test_bad_row_of_parquet_is_refused_by_number_or_skipped_and_counted(
    tmp_path: Path, user: str | None, rating: float | None, problem: str
) -> None:
    events = parquet(
        tmp_path / "e.parquet",
        user=["ana", user, "cy"],
        item=["2", "2", "2"],
        rating=[1.0, rating, 5.0],
        time=pa.array([1, 2, 3_000_000_001], pa.timestamp("ns")),
    )
    items = write(tmp_path / "items.csv", ITEMS)
    with pytest.raises(DataError, match=r"e\.parquet, row 2: ") as caught:
        read_tables(events, items, rating_scale=(1.0, 5.0))
    assert problem in str(caught.value)
    data = read_tables(events, items, rating_scale=(1.0, 5.0), skip_bad_rows=True)
    assert triples(data) == [("ana", "2", 1.0), ("cy", "2", 5.0)]
    assert (seconds(data), data.n_dropped) == ([0, 3], 1)


def test_damaged_parquet_is_read_or_refused_wherever_the_damage_is(tmp_path: Path) -> None:
    users, ones = [f"ü{at % 7}" for at in range(40)], ["2"] * 40
    path = parquet(tmp_path / "e.parquet", user=users, item=ones, time=[*range(40)])
    items, whole = write(tmp_path / "items.csv", ITEMS), path.read_bytes()
    n_refused = 0
    for at in range(0, len(whole), 2):
        path.write_bytes(whole[:at] + b"\xff" + whole[at + 1 :])
        try:
            read_tables(path, items)
        except DataError:
            n_refused += 1
    assert n_refused > len(whole) / 4


def test_file_that_is_not_parquet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a sound Parquet file"):
        read_tables(write(tmp_path / "e.parquet", EVENTS), write(tmp_path / "items.csv", ITEMS))


# NUL is no text to Python 3.10's csv, and lone surrogates are none to UTF-8.
IDS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=60
) | st.sampled_from(
    [" ", "a b", "01", "1", '"', '""', ",", "🎬", "👩‍👩‍👧", "a\nb", "\r", "NaN", "null"]
)
PAIRS = st.lists(st.tuples(IDS, IDS), min_size=1, max_size=30)


def write_csv(path: Path, rows: Iterable[Sequence[object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows(rows)
    return path


@settings(max_examples=60, deadline=None)
@given(pairs=PAIRS)
def test_odd_ids_come_back_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("odd")
    item_ids = list(dict.fromkeys(item for _, item in pairs))
    events = write_csv(folder / "events.csv", [("user", "item"), *pairs])
    items = write_csv(
        folder / "items.csv",
        [("id", "title", "genres"), *((item, f"title of {item}", "Drama") for item in item_ids)],
    )
    data = read_tables(events, items)
    expected = [(*pair, float(pairs.count(pair))) for pair in dict.fromkeys(pairs)]
    assert triples(data) == expected
    assert data.items.item_ids == item_ids
    assert data.items.titles == [f"title of {item}" for item in item_ids]
    assert data.n_duplicates == len(pairs) - len(set(pairs))


class OneByOne:
    """The same file, of which nothing can be read at once."""

    def __init__(self, source: RowSource) -> None:
        self._source = source
        self.name = source.name
        self.column_names = source.column_names
        self.records = source.records
        self.error = source.error

    def whole(self, columns: Sequence[Column]) -> None:
        return None


def values_of(rows: Rows) -> dict[str, list[Any]]:
    values = {}
    for name, taken in rows.values.items():
        coded = hasattr(taken, "codes")
        values[name] = taken.ids.take(pa.array(taken.codes)).to_pylist() if coded else list(taken)
    return values


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            IDS,
            st.floats(width=32, allow_nan=False, allow_infinity=False),
            st.integers(-(10**11), 10**11),
            st.datetimes().map(lambda time: time.isoformat(" ", "microseconds")),
            IDS,
        ),
        min_size=1,
        max_size=20,
    )
)
def test_reading_at_once_and_one_by_one_agree(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[object, ...]]
) -> None:
    path = write_csv(tmp_path_factory.mktemp("both") / "x.csv", [("a", "b", "c", "d", "e"), *rows])
    source = Delimited(path, many_lines=True)
    columns = (
        TextColumn("e", 4),
        NumberColumn("b", 1),
        SecondsColumn("c", 2),
        DatetimeColumn("d", 3),
        IdColumn("a", 0),
    )
    assert source.whole(columns) is not None
    at_once, one_by_one = read_rows(source, columns), read_rows(OneByOne(source), columns)
    assert values_of(at_once) == values_of(one_by_one)
    assert (at_once.n_rows, one_by_one.n_rows) == (len(rows), len(rows))
