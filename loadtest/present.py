"""Knows how figures are shown: tables for people, JSON for programs.

It refuses to know plots (`plots`) and how figures were made.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from loadtest.figures import QUANTILES, Figures, StepFigures
from loadtest.settings import LoadSettings

_LATE_MS = 5.0
_COLUMNS = (*QUANTILES, "max")


def headings() -> str:
    """Return the line above the steps."""
    quantiles = " ".join(f"{name:>8}" for name in _COLUMNS)
    return f"{'rate':>8} {'offered':>8} {'answered':>9} {quantiles} {'lag p99':>8}  errors"


def step_line(step: StepFigures) -> str:
    """Return one step in a line: per second, and milliseconds from when calls were due."""
    return (
        f"{step.rate:8g} {step.offered_per_s:8.1f} {step.total.answered_per_s:9.1f} "
        f"{_latencies(step.total)} {step.lag_p99_ms:8.2f}  {_errors(step.total)}"
    )


def kind_lines(step: StepFigures) -> Iterator[str]:
    """Yield a table of one step by kind."""
    quantiles = " ".join(f"{name:>8}" for name in _COLUMNS)
    yield f"by kind at {step.rate:g}/s"
    yield f"{'kind':>10} {'calls':>8} {'answered':>9} {quantiles}  errors"
    for name, figures in step.by_kind.items():
        yield (
            f"{name:>10} {figures.n_calls:8d} {figures.answered_per_s:9.1f} "
            f"{_latencies(figures)}  {_errors(figures)}"
        )


def warnings(steps: Sequence[StepFigures]) -> Iterator[str]:
    """Yield what keeps the figures from being believed."""
    late = [f"{step.rate:g}" for step in steps if step.lag_p99_ms > _LATE_MS]
    if late:
        yield (
            f"at {', '.join(late)}/s the generator itself was late by over {_LATE_MS:g} ms: give it "
            "more --processes, or a machine of its own"
        )


def write_json(
    steps: Sequence[StepFigures],
    settings: LoadSettings,
    mix: Mapping[str, float],
    target: str,
    bundle_version: str,
    path: Path,
) -> None:
    """Write every figure, with what they were measured with."""
    told = {
        "target": target,
        "bundle_version": bundle_version,
        "settings": {
            name: getattr(settings, name) for name in settings.__dataclass_fields__ if name != "mix"
        },
        "mix": dict(mix),
        "steps": [step.to_json() for step in steps],
    }
    path.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def _latencies(figures: Figures) -> str:
    return " ".join(
        f"{figures.latency_ms[name]:8.2f}" if figures.latency_ms else f"{'-':>8}"
        for name in _COLUMNS
    )


def _errors(figures: Figures) -> str:
    told = ", ".join(f"{code} {n}" for code, n in figures.errors.items())
    return f"{told} ({figures.error_share:.2%})" if told else "none"
