"""Knows what cells of text say: a list, a word about the item, or nothing of it.

It refuses to know where they stand.
"""

import re
from collections.abc import Sequence

from ilk.errors import DataError

_DATE_OR_ADDRESS = re.compile(r"\d{4}-\d\d-\d\d(?:[T ][\d:.Z+-]*)?|(?:https?:/)?/\S+")


def parts_of(text: str) -> tuple[str, ...]:
    """Return what stands between ``|``, each once, without outer and repeated spaces."""
    parts = (" ".join(part.split()) for part in text.split("|"))
    return tuple(dict.fromkeys(part for part in parts if part))


def check_parted(texts: Sequence[str], name: str) -> None:
    """Raise DataError where genres stand in lists of another kind: each list would be one genre."""
    distinct = {text for text in texts if text}
    lists = sorted(text for text in distinct if text[0] in "[{" or "," in text or ";" in text)
    if not any("|" in text for text in distinct) and 2 * len(lists) > len(distinct):
        problem = f"has genres such as {lists[0]!r}, which read as lists: write Drama|Romance"
        raise DataError(name, problem)


def is_about_items(cells: Sequence[str]) -> bool:
    """Return whether cells are words about items: not numbers, dates or addresses, nor all the same."""
    distinct = set(cells)
    return (len(distinct) > 1 or len(cells) == 1) and not all(
        _is_number_or_blank(text) or _DATE_OR_ADDRESS.fullmatch(text.strip()) for text in distinct
    )


def _is_number_or_blank(text: str) -> bool:
    try:
        float(text or 0)
    except ValueError:
        return not text.strip()
    return True
