"""Knows how the figures of all rates are drawn: throughput, latency and errors side by side.

It refuses to know how figures were made.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loadtest.figures import QUANTILES, StepFigures


def draw(steps: Sequence[StepFigures], title: str, path: Path) -> None:
    """Write one PNG with three panels over the offered rate."""
    # Not at the top: drawing is the only use of a library that takes a second to import.
    from matplotlib.figure import Figure

    steps = sorted(steps, key=lambda step: step.rate)
    rates = [step.rate for step in steps]
    figure = Figure(figsize=(15, 4.5), layout="constrained")
    figure.suptitle(title)
    answered, latency, errors = figure.subplots(1, 3)
    answered.plot(rates, rates, color="lightgray", label="offered")
    answered.plot(rates, [s.total.answered_per_s for s in steps], marker="o", label="answered OK")
    answered.set_ylabel("calls a second")
    _draw_latency(latency, steps)
    _draw_errors(errors, steps)
    for axes in (answered, latency, errors):
        axes.set_xlabel("calls a second, offered")
        axes.grid(visible=True, alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=120)


def _draw_latency(axes: Any, steps: Sequence[StepFigures]) -> None:
    for name in QUANTILES:
        known = [(s.rate, s.total.latency_ms[name]) for s in steps if s.total.latency_ms]
        axes.plot([r for r, _ in known], [ms for _, ms in known], marker="o", label=name)
    if any(step.total.latency_ms for step in steps):
        axes.set_yscale("log")
    axes.set_ylabel("ms from when a call was due")


def _draw_errors(axes: Any, steps: Sequence[StepFigures]) -> None:
    rates = [step.rate for step in steps]
    codes = sorted({code for step in steps for code in step.total.errors})
    for code in codes:
        shares = [100 * s.total.errors.get(code, 0) / max(s.total.n_calls, 1) for s in steps]
        axes.plot(rates, shares, marker="o", label=code)
    if not codes:
        axes.plot(rates, [0.0] * len(rates), marker="o", label="no call failed")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("failed calls, %")
