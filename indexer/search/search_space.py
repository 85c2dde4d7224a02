"""Knows which settings a search moves, and within which ranges.

It refuses to know how a trial is measured and what becomes of it; `tuning` does.
"""

from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import optuna

from indexer.settings import BuildSettings

Ranges: TypeAlias = dict[str, tuple[float, float]]

# Regularization is in units of noise (ADR 5), so that one range fits all data.
_RANGES: Ranges = {
    "factors": (16, 256),
    "alpha": (0.5, 20.0),
    "regularization": (0.3, 3.0),
    "frequency_exponent": (0.5, 1.0),
    "activity_discount": (0.0, 1.0),
}
# Of the temporal protocol alone: what is to come tells how fast what was grows old.
_HALF_LIFE_DAYS = (30.0, 10_000.0)
_FACTORS_STEP = 16
_LOGARITHMIC = ("alpha", "regularization", "half_life_days")


def ranges_for(protocol: str) -> Ranges:
    """Return the lowest and highest value of each setting searched where validation is drawn so."""
    return {**_RANGES, **({"half_life_days": _HALF_LIFE_DAYS} if protocol == "temporal" else {})}


def start(base: BuildSettings, ranges: Ranges) -> dict[str, float]:
    """Return the base settings as a trial's choices, within the ranges."""
    values = {name: getattr(base, name) for name in ranges}
    if values.get("half_life_days", 0) is None:
        values["half_life_days"] = _HALF_LIFE_DAYS[1]
    return {name: type(v)(np.clip(v, *ranges[name])) for name, v in values.items()}


def suggested(trial: optuna.Trial, base: BuildSettings, ranges: Ranges) -> BuildSettings:
    """Return the settings of a new trial."""
    choices: dict[str, Any] = {
        name: trial.suggest_float(name, low, high, log=name in _LOGARITHMIC)
        for name, (low, high) in ranges.items()
        if name != "factors"
    }
    least, most = (int(end) for end in ranges["factors"])
    choices["factors"] = trial.suggest_int("factors", least, most, step=_FACTORS_STEP)
    return replace(base, **choices)
