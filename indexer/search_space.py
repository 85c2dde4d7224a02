"""Knows which settings a search moves, within which ranges, and what a trial's choices stand for.

It refuses to know how trials are made and measured; `tuning` does.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import optuna
from scipy import sparse

from indexer.settings import BuildSettings

SEARCHED = ("factors", "alpha", "regularization", "frequency_exponent", "activity_discount")
# By the name of the choice; ``penalty`` stands for the regularization (see Space).
RANGES = {
    "factors": (16, 256),
    "alpha": (0.5, 20.0),
    "penalty": (0.5, 100.0),
    "frequency_exponent": (0.5, 1.0),
    "activity_discount": (0.0, 1.0),
}
_FACTORS_STEP = 16
_LOGARITHMIC = ("alpha", "penalty")


@dataclass(frozen=True, slots=True)
class Typical:
    """The geometric mean of the users' numbers of positives, and how many items have any."""

    n_positives: float
    n_items: int

    @classmethod
    def of(cls, positives: "sparse.csr_matrix[Any]") -> "Typical":
        """Count the stored places of ``positives``, shape ``(n_users, n_items)``; there must be some."""
        counts = np.diff(positives.indptr)
        mean = float(np.exp(np.log(counts[counts > 0]).mean()))
        return cls(mean, len(np.unique(positives.indices)))


@dataclass(frozen=True, slots=True)
class Space:
    """What is searched.

    In place of ``regularization`` a search moves ``penalty``, the λ of the typical user in units in
    which a positive weighs 1: ``regularization * (n_positives + n_items / alpha) ** exponent``, as
    :class:`ilk.foldin.FoldIn` has it. Where it is good hardly depends on the size of the data and on
    the other choices; where ``regularization`` is good depends on all of them (Rendle et al. 2022,
    section 4.2).

    Attributes
    ----------
    base
        What is not searched for, and where the search starts.
    typical
        Of the data to learn from.
    """

    base: BuildSettings
    typical: Typical

    def start(self) -> dict[str, float]:
        """Return the base settings as a trial's choices, within the ranges."""
        choices = {name: getattr(self.base, name) for name in SEARCHED}
        scale = self._scale(self.base.alpha, self.base.frequency_exponent)
        choices["penalty"] = choices.pop("regularization") * scale
        return {n: type(v)(np.clip(v, *RANGES[n])) for n, v in choices.items()}

    def suggested(self, trial: optuna.Trial) -> BuildSettings:
        """Return the settings of a new trial."""
        choices: dict[str, Any] = {
            name: trial.suggest_float(name, low, high, log=name in _LOGARITHMIC)
            for name, (low, high) in RANGES.items()
            if name != "factors"
        }
        least, most = (int(end) for end in RANGES["factors"])
        choices["factors"] = trial.suggest_int("factors", least, most, step=_FACTORS_STEP)
        return self.settings(choices)

    def settings(self, choices: dict[str, Any]) -> BuildSettings:
        """Return the settings that a trial's choices stand for."""
        others = {name: value for name, value in choices.items() if name != "penalty"}
        scale = self._scale(choices["alpha"], choices["frequency_exponent"])
        return replace(self.base, **others, regularization=choices["penalty"] / scale)

    def _scale(self, alpha: float, exponent: float) -> float:
        return float((self.typical.n_positives + self.typical.n_items / alpha) ** exponent)
