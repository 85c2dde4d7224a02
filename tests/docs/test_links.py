"""What the pages point at is there."""

import re
from pathlib import Path

import pytest

from tests.docs.conftest import PAGES, ROOT, prose

_LINK = re.compile(r"\[([^]]*)\]\(([^)\s]+)\)")
_ADR = re.compile(r"ADR\s+(\d+)")


def anchors(text: str) -> set[str]:
    """Return the names by which GitHub knows the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    lost = []
    for _, target in _LINK.findall(prose(page)):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        path = (ROOT / page).parent / file if file else ROOT / page
        if not path.exists() or (anchor and anchor not in anchors(path.read_text("utf-8"))):
            lost.append(target)
    assert lost == []


@pytest.mark.parametrize("page", PAGES)
def test_decisions_are_called_by_their_numbers(page: str) -> None:
    there = {path.name[:4] for path in ROOT.glob("docs/adr/*.md")}
    assert {f"{int(number):04}" for number in _ADR.findall(prose(page))} <= there
    for text, target in _LINK.findall(prose(page)):
        if number := _ADR.fullmatch(" ".join(text.split())):
            assert Path(target).name.startswith(f"{int(number[1]):04}-"), target


def test_every_decision_bears_the_number_of_its_file() -> None:
    for path in ROOT.glob("docs/adr/*.md"):
        assert path.read_text("utf-8").startswith(f"# {int(path.name[:4])}. ")


@pytest.mark.parametrize("page", PAGES)
def test_nothing_is_left_to_be_filled_in(page: str) -> None:
    assert re.findall(r"@[A-Z_]+@|\bTODO\b|\bTBD\b|\bXXX\b", PAGES[page]) == []
