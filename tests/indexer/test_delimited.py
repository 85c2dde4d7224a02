"""Where headers end, and what is gzipped."""

import gzip
from pathlib import Path

import pytest

from ilk.errors import DataError
from indexer.readers import read_movielens
from indexer.readers.columns import IdColumn, TextColumn
from indexer.readers.delimited import Delimited
from indexer.readers.events import read_events
from indexer.readers.rows import Rows, read_rows
from indexer.readers.tabular import read_items

COLUMNS = (IdColumn("id", 0), TextColumn("title", 1))
BYTE_ORDER_MARK = "\ufeff"


def rows(folder: Path, text: str, *, many_lines: bool = True, skip_bad_rows: bool = False) -> Rows:
    path = folder / "x.csv"
    path.write_bytes(text.encode())
    source = Delimited(path, many_lines=many_lines)
    return read_rows(source, COLUMNS, skip_bad_rows=skip_bad_rows)


def titles(folder: Path, text: str, **options: bool) -> list[str]:
    found: list[str] = rows(folder, text, **options).values["title"]
    return found


@pytest.mark.parametrize("many_lines", [False, True])
@pytest.mark.parametrize("blank", ["\n", "\r\n", "\n\n\n", f"{BYTE_ORDER_MARK}\n"])
def test_blank_lines_before_a_header_are_no_data(
    tmp_path: Path, blank: str, many_lines: bool
) -> None:
    assert titles(tmp_path, f"{blank}id,title\n1,Heat\n", many_lines=many_lines) == ["Heat"]


@pytest.mark.parametrize("header", ['id,"title\nor name"', '\n"id\r\n\nof it",title'])
def test_header_of_several_lines_is_no_data(tmp_path: Path, header: str) -> None:
    assert titles(tmp_path, f"{header}\n1,Heat\n2,Alien\n") == ["Heat", "Alien"]


def test_blank_lines_count_where_a_bad_row_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 5: id is blank"):
        rows(tmp_path, "\n\nid,title\n1,Heat\n,Alien\n")


def test_blank_lines_before_the_headers_of_movielens_are_no_data(tmp_path: Path) -> None:
    (tmp_path / "movies.csv").write_text("\nmovieId,title,genres\n1,Heat (1995),Crime\n")
    (tmp_path / "ratings.csv").write_text("\nuserId,movieId,rating,timestamp\n7,1,4.0,100\n")
    data = read_movielens(tmp_path)
    assert (data.items.item_ids, data.items.titles, data.user_ids) == (["1"], ["Heat"], ["7"])


def test_gzip_is_told_by_the_suffix_in_any_case(tmp_path: Path) -> None:
    items, events = tmp_path / "ITEMS.CSV.GZ", tmp_path / "EVENTS.TSV.Gz"
    items.write_bytes(gzip.compress(b"id,title,genres\n1,Heat,Crime\n"))
    events.write_bytes(gzip.compress(b"a\t1\n"))
    assert read_items(items)[0].titles == ["Heat"]
    assert read_events(events).items.ids.to_pylist() == ["1"]
