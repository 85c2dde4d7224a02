"""Knows how answers are laid out as plain-text tables for people.

It refuses to know where answers come from and where the text goes: every function returns a string
without a final newline, and the caller prints it.
"""

import bisect
import itertools
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from ilk.types import (
    BundleInfo,
    Item,
    MeasuredRecall,
    Neighbor,
    Neighbors,
    RatingPrediction,
    TitleMatch,
)

MAX_TITLE_WIDTH = 44
MAX_GENRES_WIDTH = 36
_ELLIPSIS = "…"


@dataclass(frozen=True, slots=True)
class Column:
    """A heading, whether the cells stand to the right, and their greatest width in columns."""

    heading: str
    to_the_right: bool = False
    max_width: int = MAX_TITLE_WIDTH


_RANK = Column("#", to_the_right=True)
_ID = Column("id")
_ITEM = (Column("title"), Column("year"), Column("genres", max_width=MAX_GENRES_WIDTH))
_RATED = (Column("ratings", to_the_right=True), Column("mean", to_the_right=True))
_SCORE = Column("score", to_the_right=True)
_COMPONENTS = (Column("collaborative", to_the_right=True), Column("content", to_the_right=True))
_MARK = Column("")


def render_neighbors(
    answer: Neighbors, items: Mapping[str, Item], *, simulated: bool = False
) -> str:
    """Return a table of neighboring items, what is missing from it, and where it came from.

    Parameters
    ----------
    answer
        Neighbors of target ITEMS, in the order to be shown.
    items
        What is known of them, by id; an item that is absent is shown by its id.
    simulated
        Whether the bundle's users are simulated, which the last line then says.
    """
    rows = [
        (str(rank), *_item_cells(items.get(near.id, Item(near.id, near.id))), *_score_cells(near))
        for rank, near in enumerate(answer.neighbors, start=1)
    ]
    columns = (_RANK, *_ITEM, _SCORE, *_COMPONENTS, _MARK)
    return _with_remarks(columns, rows, answer, simulated)


def render_user_neighbors(answer: Neighbors, *, simulated: bool = False) -> str:
    """Return a table of neighboring users; otherwise as :func:`render_neighbors`."""
    rows = [
        (str(rank), near.id, *_score_cells(near))
        for rank, near in enumerate(answer.neighbors, start=1)
    ]
    columns = (_RANK, Column("user"), _SCORE, *_COMPONENTS, _MARK)
    return _with_remarks(columns, rows, answer, simulated)


def render_predictions(
    predictions: Iterable[RatingPrediction], items: Mapping[str, Item], *, simulated: bool = False
) -> str:
    """Return a table of predicted stars; a prediction that no neighbor stands behind is marked."""
    rows = [
        (
            *_item_cells(items.get(told.item_id, Item(told.item_id, told.item_id))),
            f"{told.stars:.2f}",
            str(told.neighbor_count),
            "" if told.neighbor_count else "(no neighbors: a mean)",
        )
        for told in predictions
    ]
    stars = Column("stars", to_the_right=True)
    neighbors = Column("neighbors", to_the_right=True)
    table = render_table((*_ITEM, stars, neighbors, _MARK), rows)
    return f"{table}\n\nsimulated users" if simulated else table


def render_items(items: Iterable[Item]) -> str:
    """Return a table of items with their ids, numbers of ratings and mean ratings."""
    rows = [(item.id, *_item_cells(item), *_rated_cells(item)) for item in items]
    return render_table((_ID, *_ITEM, *_RATED), rows)


def render_matches(matches: Iterable[TitleMatch]) -> str:
    """Return a table of the items found by their titles, and how well each title matches."""
    rows = [
        (match.item.id, *_item_cells(match.item), *_rated_cells(match.item), f"{match.score:.2f}")
        for match in matches
    ]
    return render_table((_ID, *_ITEM, *_RATED, Column("match", to_the_right=True)), rows)


def render_bundle(info: BundleInfo) -> str:
    """Return what a server serves: its facts, and tables of measured recall and quality."""
    low_high = (
        "none: clicks" if info.rating_scale is None else "{:g} to {:g}".format(*info.rating_scale)
    )
    facts = [
        ("version", info.version),
        ("created", _minute(info.created_at_s)),
        *([] if info.live_since_s is None else [("live since", _minute(info.live_since_s))]),
        *(
            ("refused", f"{r.version} at {_minute(r.refused_at_s)}: {r.reason}")
            for r in info.refused
        ),
        ("source", info.source),
        ("users", f"{info.user_count:,}" + (" (simulated users)" if info.simulated else "")),
        ("items", f"{info.item_count:,}"),
        ("ratings", f"{info.rating_count:,}"),
        ("stars", low_high),
        ("genres", ", ".join(info.genres)),
        ("content weight", f"{info.default_content_weight:g} unless asked otherwise"),
        ("recall", f"{info.default_recall:g} unless asked otherwise"),
        # Shares, but for the number of users that they were measured on.
        *(
            (name, f"{figure:.4f}" if "@" in name else f"{figure:g}")
            for name, figure in sorted(info.quality.items())
        ),
    ]
    unbounded = max(map(display_width, (fact for _, fact in facts)))
    shown = render_table((Column(""), Column("", max_width=unbounded)), facts)
    return f"{shown}\n\n{_recall_table(info.recall)}" if info.recall else shown


def _minute(moment_s: float) -> str:
    return f"{datetime.fromtimestamp(moment_s, tz=timezone.utc):%Y-%m-%d %H:%M} UTC"


def render_table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> str:
    """Return ``rows`` under their headings, aligned; columns without any content are left out.

    Widths are counted in terminal columns (wide characters take two), over-long cells end in an
    ellipsis, and control characters, which could steer a terminal, become question marks.
    """
    cleaned = [
        [_fitted(cell, column.max_width) for cell, column in zip(row, columns, strict=True)]
        for row in rows
    ]
    lines = [""] * (len(rows) + 1)
    for place, column in enumerate(columns):
        cells = [column.heading, *(row[place] for row in cleaned)]
        if not any(cells[1:]):
            continue
        width = max(map(display_width, cells))
        for line, cell in enumerate(cells):
            padding = " " * (width - display_width(cell))
            lines[line] += (padding + cell if column.to_the_right else cell + padding) + "  "
    return "\n".join(line.rstrip() for line in (lines if lines[0].strip() else lines[1:]))


def display_width(text: str) -> int:
    """Return how many terminal columns ``text`` takes."""
    return sum(map(_char_width, text))


def _char_width(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)


def _fitted(text: str, max_width: int) -> str:
    shown = _printable(text)
    ends = list(itertools.accumulate(map(_char_width, shown)))
    if not ends or ends[-1] <= max_width:
        return shown
    return shown[: bisect.bisect_right(ends, max_width - 1)].rstrip() + _ELLIPSIS


def _recall_table(measured: Iterable[MeasuredRecall]) -> str:
    names = ("space", "index", "effort", "content weight", "recall@10", "recall@100")
    columns = [Column(name, to_the_right=place > 1) for place, name in enumerate(names)]
    rows = []
    for one in sorted(measured, key=lambda row: (row.space, row.content_weight)):
        found = (f"{one.recall_at_10:.3f}", f"{one.recall_at_100:.3f}")
        rows.append((one.space, one.index, str(one.effort), f"{one.content_weight:g}", *found))
    return render_table(columns, rows)


def _item_cells(item: Item) -> tuple[str, str, str]:
    return item.title, "" if item.year is None else str(item.year), ", ".join(item.genres)


def _rated_cells(item: Item) -> tuple[str, str]:
    return str(item.rating_count), "" if item.mean_rating is None else f"{item.mean_rating:.2f}"


def _score_cells(near: Neighbor) -> tuple[str, str, str, str]:
    parts = ("" if part is None else f"{part:.4f}" for part in (near.collaborative, near.content))
    marks = [name for name in ("unrelated", "inferred") if getattr(near, name)]
    collaborative, content = parts
    return f"{near.score:.4f}", collaborative, content, f"({', '.join(marks)})" if marks else ""


def _with_remarks(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], answer: Neighbors, simulated: bool
) -> str:
    lines = [render_table(columns, rows) if rows else "no neighbors", ""]
    if answer.shortfall is not None:
        lines.append(_printable(answer.shortfall.message))
    if answer.ignored_ids:
        lines.append(f"ignored, not in the bundle: {_printable(', '.join(answer.ignored_ids))}")
    footer = f"content weight {answer.content_weight:g}, bundle {_printable(answer.bundle_version)}"
    lines.append(f"{footer}, simulated users" if simulated else footer)
    return "\n".join(lines)
