"""Tables as other programs write them: what is meant is read, and what may not be meant is refused."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ilk.errors import DataError
from indexer.__main__ import main
from indexer.readers.tabular import read_items, read_tables

ITEMS = "id,title,genres\n1,Alien,Sci-Fi\n2,Heat,Crime\n"


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "genres",
    [
        pa.array([[{"id": 18, "name": "Drama"}]]),
        pa.array([{"list": [{"element": "Drama"}]}]),
        pa.array([[("a", "b")]], pa.map_(pa.string(), pa.string())),
        pa.array([b"Drama"]),
    ],
    ids=["list of structs", "struct of lists", "map", "binary"],
)
def test_genres_that_are_no_texts_are_refused_by_their_type(tmp_path: Path, genres: Any) -> None:
    path = tmp_path / "films.parquet"
    pq.write_table(pa.table({"id": ["1"], "title": ["Alien"], "genres": genres}), path)
    with pytest.raises(DataError, match=r"films\.parquet: genres is of type .*; expected strings"):
        read_items(path)


@pytest.mark.parametrize("kind", [pa.list_(pa.string()), pa.list_(pa.string(), 2)])
def test_genres_may_be_lists_of_texts(tmp_path: Path, kind: pa.DataType) -> None:
    path = tmp_path / "films.parquet"
    genres = pa.array([["Crime", "Drama"]], kind)
    pq.write_table(pa.table({"id": ["1"], "title": ["Heat"], "genres": genres}), path)
    assert read_items(path)[0].genres == [("Crime", "Drama")]


@pytest.mark.parametrize(
    "genres",
    [
        ('"Action, Adventure"', '"Drama, War"'),
        ("Action;Adventure", "Drama;War"),
        ('"[""Drama"", ""Crime""]"', '"[""War""]"'),
        ("\"[{'id': 18, 'name': 'Drama'}]\"", "[]"),
        ("{Drama}", "{Crime}"),
    ],
)
def test_lists_of_genres_by_other_signs_are_refused(
    tmp_path: Path, genres: tuple[str, str]
) -> None:
    rows = "".join(f"{at},Film {at},{text}\n" for at, text in enumerate(genres, start=1))
    with pytest.raises(DataError, match=r"films\.csv: has genres such as .* write Drama\|Romance"):
        read_items(written(tmp_path / "films.csv", f"id,title,genres\n{rows}"))


@pytest.mark.parametrize("genres", ['"Film, noir|Drama"', "Drama|Crime\n2,Heat,Crime; true"])
def test_a_sign_within_a_genre_is_part_of_it(tmp_path: Path, genres: str) -> None:
    items, _ = read_items(written(tmp_path / "films.csv", f"id,title,genres\n1,Alien,{genres}\n"))
    assert {"Film, noir", "Crime; true"} & {name for names in items.genres for name in names}


def test_ids_are_told_by_ids_where_names_stand_beside(tmp_path: Path) -> None:
    events = "user,user_id,movie,movie_id,rating\nAnn,7,Alien,1,5\nAnn,8,Alien,1,1\n"
    data = read_tables(
        written(tmp_path / "events.csv", events), written(tmp_path / "films.csv", ITEMS)
    )
    assert data.user_ids == ["7", "8"]
    assert data.ratings.tolist() == [5, 1]


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    events = written(tmp_path / "events.csv", "user,item,rating,Rating\na,1,5,1\n")
    with pytest.raises(DataError, match=r"events\.csv: has 2 columns called rating"):
        read_tables(events, written(tmp_path / "films.csv", ITEMS))


@pytest.mark.parametrize("time", ["1/31/2020", "2020/01/31", "yesterday"])
def test_times_of_other_forms_are_refused_with_both_that_are_read(
    tmp_path: Path, time: str
) -> None:
    events = written(tmp_path / "events.csv", f"user,item,time\na,1,{time}\n")
    with pytest.raises(DataError, match=f"line 2: timestamp '{time}' is neither Unix .* ISO 8601"):
        read_tables(events, written(tmp_path / "films.csv", ITEMS))


def test_a_date_of_release_tells_the_year(tmp_path: Path) -> None:
    text = (
        "id,title,genres,release_date\n1,Alien,Sci-Fi,1979-05-25\n2,Heat,Crime,\n3,Up,Comedy,2009\n"
    )
    items, _ = read_items(written(tmp_path / "films.csv", text))
    assert items.years.tolist() == [1979, 0, 2009]
    assert items.texts == {}


def test_only_what_is_said_of_items_is_content(tmp_path: Path) -> None:
    text = (
        "id,title,genres,status,poster,added,plot,tagline\n"
        "1,Alien,Sci-Fi,Released,https://example.com/a.jpg,2020-01-31,a ship answers a call,\n"
        "2,Heat,Crime,Released,/b.jpg,2020-02-01 10:00:00,a last robbery,Action!\n"
    )
    items, _ = read_items(written(tmp_path / "films.csv", text))
    assert sorted(items.texts) == ["plot", "tagline"]


def test_a_build_tells_which_texts_are_content(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    films = "id,title,genres,plot,tagline\n" + "".join(
        f"{at},Film {at},Crime,a robbery goes wrong in town {at},{'Run!' if at == 1 else ''}\n"
        for at in range(1, 9)
    )
    events = "user,item\n" + "".join(f"u{at % 5},{at % 8 + 1}\n" for at in range(40))
    tables = (written(tmp_path / "events.csv", events), written(tmp_path / "films.csv", films))
    flags = ("--factors", "2", "--no-evaluate", "--store", str(tmp_path / "store"))
    assert main(["build", "--interactions", str(tables[0]), "--items", str(tables[1]), *flags]) == 0
    told = capsys.readouterr().err
    assert "content is of genres (1), plot (" in told
    assert "; left out: tagline" in told
    assert main(["inspect", "--store", str(tmp_path / "store")]) == 0
    assert "genres (1), plot (" in capsys.readouterr().out


def test_lines_that_are_passed_over_are_told_by_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events = "user,item,rating\na,1,5\na,2,x\nb,9,4\nb,1,4\nb,2,3\n"
    data = read_tables(
        written(tmp_path / "events.csv", events),
        written(tmp_path / "films.csv", ITEMS),
        skip_bad_rows=True,
    )
    assert data.n_dropped == 2
    told = capsys.readouterr().err
    assert "events.csv: passed over 2 malformed lines, the first is " in told
    assert "line 3: rating 'x'" in told


def test_a_file_of_which_most_is_malformed_is_refused_also_where_lines_are_passed_over(
    tmp_path: Path,
) -> None:
    # One quote is never closed, and takes the rest of the file with it.
    rows = "".join(f"{at},Film {at},Drama\n" for at in range(2, 30))
    films = written(
        tmp_path / "films.csv", f'id,title,genres\n0,"Alien",Drama\n1,"Heat,Drama\n{rows}'
    )
    with pytest.raises(
        DataError, match=r"films\.csv: holds more malformed lines than others: 29 m"
    ):
        read_items(films, skip_bad_rows=True)


def test_columns_that_are_not_used_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    header = "id,title,genres,year,plot,budget"
    items = written(
        tmp_path / "films.csv",
        f"{header}\n1,Alien,Sci-Fi,1979,A ship hears a call,11\n2,Heat,Crime,1995,A last job,60\n",
    )
    rows = "u1,1,5,2020\nu1,2,4,2020\n"
    read_tables(written(tmp_path / "seen.csv", f"user,item,my_rating,When\n{rows}"), items)
    told = capsys.readouterr().err
    assert "films.csv: columns that are not used: 'budget'\n" in told
    assert "seen.csv: columns that are not used: 'my_rating', 'When'\n" in told
    assert "seen.csv: no column is called rating" in told
    assert "so each row is a click\n" in told


def test_nothing_is_told_of_tables_that_are_used_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    items = written(tmp_path / "films.csv", ITEMS)
    read_tables(written(tmp_path / "seen.csv", "user,item,rating\nu1,1,5\nu1,2,4\n"), items)
    assert capsys.readouterr().err == ""
