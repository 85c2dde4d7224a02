"""Splits as they are published: any separator, with a header or without, stars or clicks."""

import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ilk.errors import DataError, SettingsError
from indexer.interactions import Interactions, Items
from indexer.readers import GivenSplit, read_given

TRAIN = "a\t10\t4\t100\nb\t20\t5\t101\nb\t10\t4\t102\n"
TEST = "a\t20\t5\t103\n"


def write(path: Path, text: str) -> Path:
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return path


def read(folder: Path, train: str, test: str = TEST, name: str = "tsv") -> GivenSplit:
    files = [write(folder / f"{part}.{name}", t) for part, t in (("train", train), ("test", test))]
    return read_given(*files)


def triples(data: Interactions, mask: np.ndarray) -> list[tuple[str, str, float]]:
    return [
        (data.user_ids[user], data.items.item_ids[item], float(stars))
        for user, item, stars in zip(
            data.user_rows[mask], data.item_rows[mask], data.ratings[mask], strict=True
        )
    ]


def parts(split: GivenSplit) -> tuple[list[tuple[str, str, float]], ...]:
    data = split.interactions
    return triples(data, split.is_train), triples(data, ~split.is_train)


EXPECTED = ([("a", "10", 4.0), ("b", "20", 5.0), ("b", "10", 4.0)], [("a", "20", 5.0)])


def test_the_union_is_read_and_says_which_entries_are_which(tmp_path: Path) -> None:
    split = read(tmp_path, TRAIN)
    assert parts(split) == EXPECTED
    data = split.interactions
    assert data.timestamps is not None
    assert data.timestamps.tolist() == [100, 101, 102, 103]
    assert data.items.titles == ["10", "20"]
    assert data.items.genres == [(), ()]


@pytest.mark.parametrize("separator", ["::", "\t", ",", ";", "|", " "])
@pytest.mark.parametrize("name", ["dat", "base", "csv", "tsv", "txt.gz", "CSV"])
@pytest.mark.parametrize("header", ["", "userId\tmovieId\trating\ttimestamp\n"])
def test_separators_and_headers_are_seen_in_the_first_line(
    tmp_path: Path, separator: str, name: str, header: str
) -> None:
    train, test = ((header + text).replace("\t", separator) for text in (TRAIN, TEST))
    split = read(tmp_path, train, test, name)
    assert parts(split) == EXPECTED
    assert split.interactions.timestamps is not None


def test_a_header_may_name_its_columns_in_any_order(tmp_path: Path) -> None:
    train = "Rating,Item ID,day,User_ID\n4,10,x,a\n5,20,y,b\n4,10,z,b\n"
    split = read(tmp_path, train, "user,item,rating\na,20,5\n", "csv")
    assert parts(split) == EXPECTED
    assert split.interactions.timestamps is None


def test_a_first_line_that_is_read_as_a_row_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split = read(tmp_path, "customer,sku\na,10\n", "user,item\na,20\n", "csv")
    assert len(split.interactions) == 3
    told = [line for line in capsys.readouterr().err.splitlines() if "first line" in line]
    assert len(told) == 1
    assert told[0].endswith(
        "train.csv: its first line names no user and item, and is read as a row: 'customer', 'sku'"
    )


def test_parquet_is_read_too(tmp_path: Path) -> None:
    for name, text in (("train", TRAIN), ("test", TEST)):
        rows = [line.split("\t") for line in text.splitlines()]
        users, items, stars, _ = zip(*rows, strict=True)
        table = pa.table({"user": users, "item": items, "rating": [float(s) for s in stars]})
        pq.write_table(table, tmp_path / f"{name}.parquet")
    split = read_given(tmp_path / "train.parquet", tmp_path / "test.parquet")
    assert parts(split) == EXPECTED


@pytest.mark.parametrize(
    ("stars", "scale"),
    [
        (["4", "5"], (1.0, 5.0)),
        (["4.0", "4.5", "5.0"], (1.0, 5.0)),
        (["0.5", "3", "5"], (0.5, 5.0)),
        (["8", "9", "10"], (1.0, 10.0)),
        (["0", "1"], (0.0, 1.0)),
        (["0", "5"], (0.0, 5.0)),
        (["1", "2", "3", "4"], (1.0, 4.0)),
        (["-7", "4.7"], (-7.0, 4.7)),
    ],
)
def test_a_split_that_kept_high_ratings_alone_is_on_the_scale_people_were_asked_on(
    tmp_path: Path, stars: list[str], scale: tuple[float, float]
) -> None:
    train = "".join(f"u\ti{at}\t{s}\n" for at, s in enumerate(stars[:-1]))
    data = read(tmp_path, train, f"u\tlast\t{stars[-1]}\n").interactions
    assert data.rating_scale == scale


@pytest.mark.parametrize(
    ("train", "test"), [("a\t1\na\t2\n", "a\t3\n"), ("a\t1\t1\n", "a\t3\t1\n")]
)
def test_equal_ratings_and_none_at_all_are_clicks(tmp_path: Path, train: str, test: str) -> None:
    data = read(tmp_path, train, test).interactions
    assert data.rating_scale is None
    assert set(data.ratings.tolist()) == {1.0}


def test_a_scale_that_is_given_is_taken_and_kept_to(tmp_path: Path) -> None:
    train = write(tmp_path / "train.tsv", "a\t1\t1\na\t2\t1\n")
    assert read_given(train, rating_scale=(0, 1)).interactions.rating_scale == (0, 1)
    with pytest.raises(DataError, match=r"train\.tsv, line 1: rating 1 is outside"):
        read_given(train, rating_scale=(2, 5))
    with pytest.raises(SettingsError, match="must be"):
        read_given(train, rating_scale=(5, 1))


def test_a_training_file_may_stand_alone(tmp_path: Path) -> None:
    split = read_given(write(tmp_path / "train.tsv", TRAIN))
    assert split.is_train.tolist() == [True] * 3
    assert parts(split)[0] == EXPECTED[0]


def test_test_users_and_items_that_training_lacks_are_kept(tmp_path: Path) -> None:
    split = read(tmp_path, TRAIN, "z\t10\t5\t1\na\t99\t4\t1\n")
    assert parts(split) == (EXPECTED[0], [("z", "10", 5.0), ("a", "99", 4.0)])
    assert split.interactions.user_ids == ["a", "b", "z"]


def test_a_pair_that_is_in_both_files_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"test\.tsv: shares 1 pairs .*user 'b', item '10'"):
        read(tmp_path, TRAIN, TEST + "b\t10\t1\t7\n")


def test_ratings_in_one_file_only_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="one has a column of ratings"):
        read(tmp_path, TRAIN, "a\t20\n")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("alone\n", "has 1 columns in its first line"),
        ("a\tb\t1\t2\t3\n", "has 5 columns in its first line"),
        ("who\twhat\tstars\n", "line 1: rating 'stars' is not a number"),
        ("a\t1\t5\nb\t2\n", "line 2: has 2 columns; expected 3"),
        ("a\t1\t5\n\t2\t5\n", "line 2: user is blank"),
        ("", "is empty"),
    ],
)
def test_what_is_no_table_of_interactions_is_refused(
    tmp_path: Path, text: str, problem: str
) -> None:
    with pytest.raises(DataError, match=problem):
        read_given(write(tmp_path / "train.tsv", text))


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_given(tmp_path / "gone.tsv")
    with pytest.raises(DataError, match="is a folder"):
        read_given(tmp_path)


def test_bad_rows_may_be_passed_over_and_are_counted(tmp_path: Path) -> None:
    train = write(tmp_path / "train.tsv", TRAIN + "a\t30\tfive\t1\n")
    test = write(tmp_path / "test.tsv", TEST + "a\n")
    split = read_given(train, test, skip_bad_rows=True)
    assert parts(split) == EXPECTED
    assert split.interactions.n_dropped == 2


def test_what_is_known_of_items_is_taken_and_the_rest_is_left_out(tmp_path: Path) -> None:
    known = Items(
        ["7", "20"], ["Seven", "Twenty"], np.array([1995, 2020], np.int16), [("A",), ("B",)],
        {"tags": ["s", "t"]}, {"tags": [np.array([1]), np.array([2])]},
    )  # fmt: skip
    train, test = write(tmp_path / "r.tsv", TRAIN), write(tmp_path / "e.tsv", TEST)
    items = read_given(train, test, items=known).interactions.items
    assert items.item_ids == ["10", "20"]
    assert items.titles == ["10", "Twenty"]
    assert items.years.tolist() == [0, 2020]
    assert items.genres == [(), ("B",)]
    assert items.texts == {"tags": ["", "t"]}
    assert [times.tolist() for times in items.line_times["tags"]] == [[], [2]]
