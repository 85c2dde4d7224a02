"""Tables and pictures in the pages agree with the code."""

import configparser
import re

from indexer.readers import tabular
from loadtest.mix import DEFAULT_MIX
from tests.docs.conftest import PAGES, ROOT


def test_the_page_of_the_load_test_has_its_mix() -> None:
    rows = re.findall(
        r"^\| (`.*`) \| .* \| ([\d, ]+) \|$", PAGES["docs/load-testing.md"], re.MULTILINE
    )
    told = {
        kind.strip("` "): float(weight)
        for kinds, weights in rows
        for kind, weight in zip(kinds.split(","), weights.split(","), strict=True)
    }
    assert told == DEFAULT_MIX


def test_the_picture_of_the_kernel_shows_its_layers() -> None:
    rules = configparser.ConfigParser()
    rules.read(ROOT / ".importlinter")
    layers = rules["importlinter:contract:layers"]["layers"].strip().splitlines()
    picture = PAGES["docs/ARCHITECTURE.md"].partition("high to low:")[2].partition("└")[0]
    lines = [re.split(r"\s{3,}| ──► |│", line.strip(" │"))[0] for line in picture.splitlines()]
    # What stands side by side may not import each other; behind a comma stands the next layer down.
    shown = [layer for line in lines if line for layer in line.split(", ")]
    assert shown == [layer.replace("ilk.", "") for layer in layers]


def test_the_readme_names_the_columns_that_are_found() -> None:
    table = PAGES["README.md"].partition("| table | column |")[2].partition("\n\n")[0]
    cells = re.findall(r"^\|[^|]*\| (\w+)[^|]* \| ([^|]*) \|", table, re.MULTILINE)
    told = {
        column: [name.replace("_", "") for name in re.findall(r"`(\w+)`", names)]
        for column, names in cells
    }
    expected = {
        "user": tabular.USER,
        "item": tabular.ITEM,
        "rating": tabular.RATING,
        "time": tabular.TIMESTAMP,
        "title": tabular.TITLE,
        "genres": tabular.GENRES,
        "year": tabular.YEAR,
    }
    assert {column: tuple(told[column]) for column in expected} == expected
