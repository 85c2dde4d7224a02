"""The pages that are written for people, by name, and what stands in them as code."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"))
}
_FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`]+)`")


class Written(NamedTuple):
    """Something that a page says in code, and the page."""

    page: str
    text: str


def prose(page: str) -> str:
    """Return a page without its blocks of code."""
    return _FENCED.sub("", PAGES[page])


def blocks(language: str) -> list[Written]:
    """Return the blocks of code of all pages that are in a language."""
    return [
        Written(page, body)
        for page, text in PAGES.items()
        for found, body in _FENCED.findall(text)
        if found == language
    ]


def inline() -> list[Written]:
    """Return what stands in backticks within the text of all pages."""
    return [
        Written(page, " ".join(code.split()))
        for page in PAGES
        for code in _INLINE.findall(prose(page))
    ]
