"""Tables and pictures in the pages agree with the code."""

import configparser
import re

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
    shown = [re.split(r"\s{3,}| ──► |│", line.strip(" │"))[0] for line in picture.splitlines()]
    assert [line for line in shown if line] == [layer.replace("ilk.", "") for layer in layers]
