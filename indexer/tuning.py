"""Knows how settings are searched for: on a validation split, within a time budget, resumable.

It refuses to know test splits: what is tuned here is measured elsewhere, on users it never saw.
"""

import logging
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from ilk.ann import IndexKind
from ilk.errors import SettingsError
from indexer.assemble import preference_of
from indexer.evaluation import metrics
from indexer.evaluation.protocols import split_strong
from indexer.evaluation.served import built_from, rank
from indexer.evaluation.splits import Split
from indexer.interactions import Interactions
from indexer.progress import Progress
from indexer.settings import BuildSettings

_DEPTH = 100
_BLENDS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4)
# Splits drawn with seeds far from those that evaluation counts up from the build's own.
_SEED_OFFSET = 1_000_000


@dataclass(frozen=True)
class TuningSettings:
    """The choices of a search.

    Parameters
    ----------
    budget_s
        Seconds to search for; a trial under way is finished.
    max_trials
        Trials at most.
    splits
        Validation splits that each trial is measured on.
    """

    budget_s: float = 600.0
    max_trials: int = 200
    splits: int = 2

    def __post_init__(self) -> None:
        if not self.budget_s > 0:
            raise SettingsError(f"--budget-s must be positive, got {self.budget_s}")
        if self.max_trials < 1 or self.splits < 1:
            raise SettingsError("--max-trials and --splits must be at least 1")


def tune(
    data: Interactions,
    base: BuildSettings,
    settings: TuningSettings,
    journal: Path,
    progress: Progress,
) -> tuple[BuildSettings, float]:
    """Return the best settings found and their mean NDCG@100 on the validation splits.

    Parameters
    ----------
    base
        What is not searched for; also the first trial.
    journal
        File that every trial is written to; a search started again with it goes on.

    Notes
    -----
    The ranking that is measured is the served one. The factors are searched for at content weight 0
    by the tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011); the blend follows, with
    the best factors.
    """
    positive = preference_of(data, base).liked(data.ratings)
    seeds = range(base.seed + _SEED_OFFSET, base.seed + _SEED_OFFSET + settings.splits)
    splits = [split_strong(data, positive, seed) for seed in seeds]
    study = _study(base, journal)
    ends_at = time.monotonic() + settings.budget_s
    with progress.step("tune", settings.max_trials) as advance:
        while len(study.trials) < settings.max_trials and time.monotonic() < ends_at:
            study.optimize(lambda trial: _score(_suggest(trial, base), splits, 0.0), n_trials=1)
            advance(len(study.trials))
    best = replace(base, **study.best_params)
    with progress.step("blend"):
        by_blend = _scores_by_blend(best, splits)
    weight = max(by_blend, key=lambda w: by_blend[w])
    return replace(best, content_weight=weight), by_blend[weight]


def _study(base: BuildSettings, journal: Path) -> optuna.Study:
    optuna.logging.set_verbosity(logging.WARNING)
    journal.parent.mkdir(parents=True, exist_ok=True)
    storage = JournalStorage(JournalFileBackend(str(journal)))
    study = optuna.create_study(
        study_name="ilk",
        storage=storage,
        direction="maximize",
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=base.seed, n_startup_trials=8),
    )
    if not study.trials:
        searched = asdict(base)
        study.enqueue_trial({name: searched[name] for name in _SPACE})
    return study


_SPACE = ("factors", "alpha", "regularization", "frequency_exponent", "activity_discount")


def _suggest(trial: optuna.Trial, base: BuildSettings) -> BuildSettings:
    choices: dict[str, Any] = {
        "factors": trial.suggest_int("factors", 16, 256, step=16),
        "alpha": trial.suggest_float("alpha", 0.5, 20.0, log=True),
        "regularization": trial.suggest_float("regularization", 0.3, 3.0, log=True),
        "frequency_exponent": trial.suggest_float("frequency_exponent", 0.5, 1.0),
        "activity_discount": trial.suggest_float("activity_discount", 0.0, 0.75),
    }
    return replace(base, **choices)


def _score(settings: BuildSettings, splits: list[Split], content_weight: float) -> float:
    return sum(_ndcg(settings, split, (content_weight,))[0] for split in splits) / len(splits)


def _scores_by_blend(settings: BuildSettings, splits: list[Split]) -> dict[float, float]:
    per_split = [_ndcg(settings, split, _BLENDS) for split in splits]
    return {w: sum(s[at] for s in per_split) / len(splits) for at, w in enumerate(_BLENDS)}


def _ndcg(settings: BuildSettings, split: Split, blends: tuple[float, ...]) -> list[float]:
    # Comparing with everything, so that a search for factors does not pay for measuring indices.
    plain = replace(settings, index=IndexKind.FLAT)
    k = min(_DEPTH, split.interactions.n_items)
    with built_from(split.train_interactions(), plain, Progress(quiet=True)) as bundle:
        return [
            float(
                metrics.ndcg_at(
                    rank(bundle, split, k, content_weight=weight), split.held_out_matrix(), k
                ).mean()
            )
            for weight in blends
        ]


def write_settings(settings: BuildSettings, path: Path) -> None:
    """Write settings as the TOML that ``build`` reads."""
    lines = [
        f"{name} = {_toml(value)}"
        for name, value in asdict(settings).items()
        if value is not None and name not in ("index", "evaluate")
    ]
    path.write_text("\n".join(["[indexer]", *lines]) + "\n", encoding="utf-8")


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)
