"""Knows how a comparison is shown as tables and as JSON.

It refuses to know how it was measured, and how it is drawn (`plots` does).
"""

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from indexer.evaluation.figures import ACCURACY, LISTS
from indexer.outputs import writing

_GROUPS = ("ndcg@10 by activity", "recall@20 by item popularity")
_GROUP_TITLES = ("NDCG@10 by how many positives the user showed", "recall@20 by item popularity")
_LOG_WIDTH = 140


def print_tables(models: dict[str, Any]) -> None:
    """Print the models' figures on stdout, the best first by NDCG@100."""
    console = Console(width=None if Console().is_terminal else _LOG_WIDTH)
    ordered = dict(sorted(models.items(), key=lambda item: -item[1]["ndcg@100"]["mean"]))
    for title, names in (
        ("accuracy: mean over test users ± half the 95% interval", ACCURACY),
        ("the first ten places ± half the 95% interval", LISTS),
    ):
        console.print(_figures(title, ordered, names))
    for group, title in zip(_GROUPS, _GROUP_TITLES, strict=True):
        console.print(_groups(title, ordered, group))


def write_json(values: dict[str, Any], path: Path) -> None:
    """Write the comparison to ``path``; IlkError if that cannot be."""
    with writing(path):
        path.write_text(json.dumps(values, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _figures(title: str, models: dict[str, Any], names: tuple[str, ...]) -> Table:
    table = Table(title=title)
    table.add_column("model", no_wrap=True)
    for name in (*names, "users"):
        table.add_column(name, justify="right")
    for model, figures in models.items():
        cells = [_with_interval(figures.get(name)) for name in names]
        table.add_row(model, *cells, str(figures["test_users"]))
    return table


def _with_interval(figure: dict[str, float] | None) -> str:
    if figure is None:
        return "left out"
    half = (figure["high"] - figure["low"]) / 2
    n_decimals = 1 if figure["mean"] >= 10 else 4
    return f"{figure['mean']:.{n_decimals}f} ±{half:.{max(n_decimals - 1, 1)}f}"


def _groups(title: str, models: dict[str, Any], group: str) -> Table:
    table = Table(title=title)
    table.add_column("model", no_wrap=True)
    # A model may have been left out of the only split that has a group.
    names = list(dict.fromkeys(name for figures in models.values() for name in figures[group]))
    for name in names:
        table.add_column(name, justify="right")
    for model, figures in models.items():
        table.add_row(model, *(_with_interval(figures[group].get(name)) for name in names))
    return table
