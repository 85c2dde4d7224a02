"""Where headers end, what is gzipped, and quotes that stand where none belongs."""

import gzip
import io
from pathlib import Path

import pytest

from ilk.errors import DataError
from indexer.readers import read_movielens
from indexer.readers.columns import IdColumn, TextColumn
from indexer.readers.delimited import Delimited
from indexer.readers.events import read_events
from indexer.readers.quotes import QuoteWatch
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


@pytest.mark.parametrize(
    "cell", ['"a"b', '""b', '"a""b"c', '"a"""b', '"x,"b', '"a" ', '"Say "hi" now"', '"\n"b']
)
def test_text_after_a_closing_quote_is_malformed_with_bad_rows_beside_or_without(
    tmp_path: Path, cell: str
) -> None:
    text = f"id,title\n1,Heat\n2,{cell}\n3,Alien\n"
    with pytest.raises(DataError, match="line 3: is malformed"):
        rows(tmp_path, text)
    assert titles(tmp_path, text, skip_bad_rows=True) == ["Heat", "Alien"]
    assert titles(tmp_path, f"{text},blank\n", skip_bad_rows=True) == ["Heat", "Alien"]


@pytest.mark.parametrize("cell", ['Say "hi" now', 'a""b', 'b"', ' "a"'])
def test_quotes_within_a_cell_that_none_opens_are_its_text(tmp_path: Path, cell: str) -> None:
    assert titles(tmp_path, f"id,title\n1,{cell}\n") == [cell]


def test_line_break_in_a_cell_is_malformed_where_rows_are_lines(tmp_path: Path) -> None:
    text = 'id,title\n1,"He\nat"\n2,Alien\n'
    assert titles(tmp_path, text) == ["He\nat", "Alien"]
    with pytest.raises(DataError, match="line 2: is malformed"):
        rows(tmp_path, text, many_lines=False)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
@pytest.mark.parametrize(
    ("text", "one_line", "many_lines"),
    [
        ('"a","b ""c"""\r\n"",x\n', True, True),
        ('"a\nb",c', False, True),
        ('a,"b"', True, True),
        ('"a"b,c\n', False, False),
        ('a,"b\n', False, False),
        ('a "b",c\n', False, False),
    ],
)
def test_quotes_are_watched_across_blocks(
    text: str, one_line: bool, many_lines: bool, size: int
) -> None:
    for lines_allowed, expected in ((False, one_line), (True, many_lines)):
        watch = QuoteWatch(io.BytesIO(text.encode()), ",", many_lines=lines_allowed)
        read = b""
        while block := watch.read(size):
            read += block
        assert (read, watch.sound) == (text.encode(), expected)


def test_a_mark_before_a_quoted_header_does_not_make_reading_slow(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(f'{BYTE_ORDER_MARK}"id","title"\n"1","Heat"\n', encoding="utf-8")
    assert Delimited(path).whole(COLUMNS) is not None
