"""Knows how a comparison is shown: a table, JSON, and plots.

It refuses to know how it was measured.
"""

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

_TABLE = ("ndcg@10", "ndcg@100", "recall@20", "recall@50", "mrr")
_LISTS = ("coverage@10", "gini@10", "popularity rank@10", "diversity@10", "novelty@10")


def print_table(summary: dict[str, Any]) -> None:
    """Print the comparison on stdout, the best first by NDCG@100."""
    console = Console(width=None if Console().is_terminal else 160)
    table = Table(title="mean ± half the 95% interval over test users")
    table.add_column("model")
    for name in (*_TABLE, *_LISTS, "users"):
        table.add_column(name, justify="right")
    ordered = sorted(summary.items(), key=lambda item: -item[1]["ndcg@100"]["mean"])
    for name, figures in ordered:
        accuracy = [_with_interval(figures[figure]) for figure in _TABLE]
        lists = [f"{figures[figure]:.3g}" for figure in _LISTS]
        table.add_row(name, *accuracy, *lists, str(figures["test_users"]))
    console.print(table)
    console.print(_groups(dict(ordered), "ndcg@10 by activity", "positives shown"))
    console.print(_groups(dict(ordered), "recall@20 by item popularity", "0 is the tail"))


def write_json(summary: dict[str, Any], path: Path) -> None:
    """Write the comparison to ``path``."""
    path.write_text(json.dumps(summary, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def draw(summary: dict[str, Any], folder: Path) -> list[Path]:
    """Draw accuracy with intervals, and accuracy against each list figure; return the files."""
    # Not at the top: drawing is the only use of a library that takes a second to import.
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    names = list(summary)
    bars = Figure(figsize=(9, 0.4 * len(names) + 1.5), layout="constrained")
    axes = bars.subplots()
    means = [summary[n]["ndcg@100"]["mean"] for n in names]
    errors = [
        [summary[n]["ndcg@100"]["mean"] - summary[n]["ndcg@100"]["low"] for n in names],
        [summary[n]["ndcg@100"]["high"] - summary[n]["ndcg@100"]["mean"] for n in names],
    ]
    axes.barh(names, means, xerr=errors)
    axes.invert_yaxis()
    axes.set_xlabel("NDCG@100, 95% interval")
    trade = Figure(figsize=(12, 8), layout="constrained")
    for axis, figure in zip(trade.subplots(2, 3).flat, (*_LISTS, None), strict=True):
        if figure is None:
            axis.axis("off")
            continue
        for name in names:
            x, y = summary[name][figure], summary[name]["ndcg@10"]["mean"]
            axis.scatter(x, y)
            axis.annotate(name, (x, y), fontsize=6)
        axis.set_xlabel(figure)
        axis.set_ylabel("NDCG@10")
    files = [folder / "accuracy.png", folder / "trade-off.png"]
    for figure_drawn, file in zip((bars, trade), files, strict=True):
        figure_drawn.savefig(file, dpi=120)
    return files


def _with_interval(figure: dict[str, float]) -> str:
    return f"{figure['mean']:.4f} ±{(figure['high'] - figure['low']) / 2:.3f}"


def _groups(summary: dict[str, Any], figure: str, what: str) -> Table:
    table = Table(title=f"{figure} ({what})")
    table.add_column("model")
    groups = list(next(iter(summary.values()))[figure])
    for group in groups:
        table.add_column(group, justify="right")
    for name, figures in summary.items():
        table.add_row(name, *(f"{figures[figure].get(group, 0):.4f}" for group in groups))
    return table
