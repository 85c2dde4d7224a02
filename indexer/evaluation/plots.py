"""Knows how a comparison is drawn: accuracy, groups, and what re-ranking gives for what it takes.

It refuses to know how it was measured. Plots are PNG files.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from indexer.outputs import writing

Models: TypeAlias = dict[str, Any]

_TRADED: tuple[tuple[str, str, Callable[[float], float]], ...] = (
    ("coverage@10", "coverage@10", lambda value: value),
    ("gini@10", "Gini@10 of exposure", lambda value: value),
    ("novelty@10", "novelty@10, bits", lambda value: value),
    ("diversity@10", "intra-list similarity@10", lambda value: 1 - value),
    ("popularity rank@10", "mean popularity rank@10", lambda value: value),
)
_STRENGTHS = ("diversity", "popularity_penalty")
_GROUPS = {
    "ndcg@10 by activity": "positives shown by the user",
    "recall@20 by item popularity": "popularity of the item",
}


def draw(models: Models, folder: Path) -> list[Path]:
    """Draw accuracy, groups and trade-offs into a folder, which is made if need be; return the files.

    Raises
    ------
    IlkError
        If the folder cannot be written to.
    """
    drawn = {
        "accuracy.png": _accuracy(models),
        "groups.png": _groups(models),
        "trade-off.png": _trade_offs(models),
    }
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, figure in drawn.items():
            figure.savefig(folder / name, dpi=120)
    return [folder / name for name in drawn]


def _accuracy(models: Models) -> Figure:
    figure = Figure(figsize=(11, 0.35 * len(models) + 1.5), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2, sharey=True), ("ndcg@10", "ndcg@100"), strict=True):
        estimates = [model[name] for model in models.values()]
        axes.barh(list(models), [e["mean"] for e in estimates], xerr=_errors(estimates))
        axes.set_xlabel(f"{name.upper()}, 95% interval")
    axes.invert_yaxis()
    return figure


def _groups(models: Models) -> Figure:
    models = {name: model for name, model in models.items() if not _is_reranked(model)}
    figure = Figure(figsize=(13, 5), layout="constrained")
    for axes, (name, meaning) in zip(figure.subplots(1, 2), _GROUPS.items(), strict=True):
        groups = list(dict.fromkeys(group for model in models.values() for group in model[name]))
        for at, (model, figures) in enumerate(models.items()):
            estimates = list(figures[name].values())
            places = [groups.index(group) + 0.8 * at / len(models) for group in figures[name]]
            means = [e["mean"] for e in estimates]
            width = 0.8 / len(models)
            axes.bar(places, means, width, yerr=_errors(estimates), label=model)
        axes.set_xticks([place + 0.4 for place in range(len(groups))], groups)
        axes.set_xlabel(meaning)
        axes.set_ylabel(name.partition(" ")[0].upper())
    axes.legend(fontsize=7)
    return figure


def _trade_offs(models: Models) -> Figure:
    """Draw NDCG@10 against each figure of lists; requests that differ in one strength are joined."""
    figure = Figure(figsize=(15, 9), layout="constrained")
    all_axes = figure.subplots(2, 3).flat
    joined = curves(models)
    worst = min((model["ndcg@10"]["mean"] for c in joined.values() for _, model in c), default=0)
    for axes, (name, label, transform) in zip(all_axes, _TRADED, strict=False):
        for curve, of_curve in joined.items():
            members = [(strength, model) for strength, model in of_curve if name in model]
            x = [transform(model[name]["mean"]) for _, model in members]
            axes.plot(x, [model["ndcg@10"]["mean"] for _, model in members], "o-", label=curve)
            for place, (strength, model) in zip(x, members, strict=True):
                _mark(axes, f"{strength:g}", place, model)
        for model_name, model in models.items():
            # A baseline far below would leave no room for the curves.
            if name in model and model["request"] is None and model["ndcg@10"]["mean"] >= worst:
                axes.plot(transform(model[name]["mean"]), model["ndcg@10"]["mean"], "kx")
                _mark(axes, model_name, transform(model[name]["mean"]), model)
        axes.set_xlabel(label)
        axes.set_ylabel("NDCG@10")
    last = all_axes[-1]
    last.axis("off")
    last.legend(*all_axes[0].get_legend_handles_labels(), loc="center", fontsize=8)
    return figure


def _is_reranked(model: Any) -> bool:
    return bool(model["request"]) and any(model["request"][name] for name in _STRENGTHS)


def curves(models: Models) -> dict[str, list[tuple[float, Any]]]:
    """Return the models that differ in one re-ranking strength alone, by the name of their curve.

    Each curve is a list of ``(strength, model)`` by rising strength. A blend that was measured at one
    setting only is a curve of one point.
    """
    found: dict[str, list[tuple[float, Any]]] = {}
    asked = [(model["request"], model) for model in models.values() if model["request"]]
    for strength, other in (_STRENGTHS, _STRENGTHS[::-1]):
        for request, model in asked:
            fixed = f" at {other} {request[other]:g}" if request[other] else ""
            name = f"w={request['content_weight']:g}, by {strength}{fixed}"
            found.setdefault(name, []).append((request[strength], model))
    joined = {n: sorted(c, key=lambda m: m[0]) for n, c in found.items() if len(c) > 1}
    points = {
        f"w={request['content_weight']:g}": [(0.0, model)]
        for request, model in asked
        if not any(model is member for curve in joined.values() for _, member in curve)
    }
    return joined | points


def _mark(axes: Axes, text: str, x: float, model: Any) -> None:
    place = (x, model["ndcg@10"]["mean"])
    axes.annotate(text, place, fontsize=6, xytext=(3, 3), textcoords="offset points")


def _errors(estimates: list[dict[str, float]]) -> list[list[float]]:
    """Return the lengths of the error bars below and above."""
    return [
        [e["mean"] - e["low"] for e in estimates],
        [e["high"] - e["mean"] for e in estimates],
    ]
