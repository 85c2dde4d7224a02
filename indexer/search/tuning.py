"""Knows how settings are searched for: on validation splits, within a time budget, resumable.

It refuses to know test splits: what is tuned here is measured elsewhere, on ratings it never saw.
"""

import hashlib
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy as np
import optuna
from optuna.trial import TrialState

from ilk.ann import IndexKind
from ilk.errors import DataError, SettingsError
from indexer.evaluation.metrics import metric_named
from indexer.evaluation.protocols import split_strong, split_temporal, split_weak
from indexer.evaluation.relevance import relevant
from indexer.evaluation.served import built_from, rank
from indexer.evaluation.settings import seconds_of
from indexer.evaluation.splits import Split
from indexer.interactions import Interactions
from indexer.progress import Progress
from indexer.search.journal import open_journal
from indexer.search.search_space import Ranges, ranges_for, start, suggested
from indexer.settings import BuildSettings
from indexer.training.order import k_core

Validation: TypeAlias = Literal["strong", "weak", "temporal"]

_BLENDS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4)
# Splits drawn with seeds far from those that evaluation counts up from the build's own.
_SEED_OFFSET = 1_000_000
_N_RANDOM_TRIALS = 8
# What a trial's score does not depend on: it asks at content weight 0 and compares with everything.
_WITHOUT_EFFECT = ("content_weight", "index", "index_memory_mb", "recall_target", "evaluate")


@dataclass(frozen=True)
class TuningSettings:
    """The choices of a search.

    Parameters
    ----------
    protocol
        How validation splits are drawn; strong: users held out of training; weak: a part of each
        user's ratings; temporal: the newest tenth, once; the half-life is searched for too. Tune for
        what will be measured.
    metric
        What is made largest, such as ndcg@10, ndcg@100, recall@20 or mrr@100.
    budget_s
        Seconds to search for; a trial under way is finished.
    max_trials
        Trials at most.
    splits
        Validation splits that each trial is measured on (one for temporal: nothing is random in it).
    until
        Look at ratings from before this day (UTC) only: the others are for evaluate --date.
    core
        First keep positives only, and of them users and items with so many, until all have them.
    """

    protocol: Validation = "strong"
    metric: str = "ndcg@100"
    budget_s: float = 600.0
    max_trials: int = 200
    splits: int = 2
    until: datetime | None = None
    core: int | None = None

    def __post_init__(self) -> None:
        if self.protocol not in get_args(Validation):
            raise SettingsError(f"--protocol must be one of {', '.join(get_args(Validation))}")
        if not self.budget_s > 0:
            raise SettingsError(f"--budget-s must be positive, got {self.budget_s}")
        if self.max_trials < 1 or self.splits < 1:
            raise SettingsError("--max-trials and --splits must be at least 1")
        if self.core is not None and self.core < 1:
            raise SettingsError(f"--core must be at least 1, got {self.core}")
        metric_named(self.metric)


@dataclass(frozen=True, slots=True)
class Tuned:
    """The best settings found, and their mean score on the validation splits over ``n_trials``."""

    settings: BuildSettings
    score: float
    n_trials: int


def tune(
    data: Interactions,
    base: BuildSettings,
    settings: TuningSettings,
    journal: Path,
    progress: Progress,
) -> Tuned:
    """Search for settings.

    Parameters
    ----------
    data
        What may be learned from; validation is drawn from it. Leave out what will be tested.
    base
        What is not searched for; also the first trial.
    journal
        File that every trial is written to. A search for the same thing that is started again with
        it goes on, also where the last one was killed while writing; searches for other things may
        share it. Errors are those of :func:`indexer.search.journal.open_journal`.

    Notes
    -----
    The ranking that is measured is the served one. The factors are searched for at content weight 0
    by the tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011); the blend follows, with
    the best factors.
    """
    if settings.until is not None:
        data = _before(data, settings.until)
    if settings.core is not None:
        data = k_core(data, relevant(data, base), settings.core)
    ranges = ranges_for(settings.protocol)
    objective = _Objective(_validation(data, base, settings), settings.metric)
    study = _study(objective_key(data, base, settings), base, ranges, journal)
    ends_at = time.monotonic() + settings.budget_s
    with progress.step("tune", settings.max_trials) as advance:
        if done := _completed(study):
            advance(len(done), f"resumed; {_best_so_far(study, settings.metric)}")
        # The first trial is always made, so that there is something to return.
        while not done or (len(done) < settings.max_trials and time.monotonic() < ends_at):
            study.optimize(
                lambda trial: objective.score(suggested(trial, base, ranges)), n_trials=1
            )
            done = _completed(study)
            advance(len(done), _best_so_far(study, settings.metric))
    best = replace(base, **study.best_params)
    with progress.step("blend"):
        by_blend = objective.scores(best, _BLENDS)
    weight = max(by_blend, key=lambda w: by_blend[w])
    return Tuned(replace(best, content_weight=weight), by_blend[weight], len(done))


def objective_key(data: Interactions, base: BuildSettings, settings: TuningSettings) -> str:
    """Return a name of what is searched for: equal for equal data, splits, figure and other settings.

    Scores under different names cannot be compared, so they must not meet in one search.
    """
    fixed = asdict(base)
    for name in (*ranges_for(settings.protocol), *_WITHOUT_EFFECT):
        del fixed[name]
    asked = asdict(settings)
    for name in ("budget_s", "max_trials", "until"):
        del asked[name]
    digest = hashlib.sha256(
        json.dumps(
            [ranges_for(settings.protocol), fixed, asked, data.rating_scale], sort_keys=True
        ).encode()
    )
    line_times = chain.from_iterable(times for _, times in sorted(data.items.line_times.items()))
    arrays = (data.user_rows, data.item_rows, data.ratings, data.timestamps, data.items.years)
    for array in (*arrays, *line_times):
        digest.update(b"" if array is None else np.ascontiguousarray(array).tobytes())
    content = [data.items.item_ids, data.items.genres, data.items.texts]
    digest.update(json.dumps(content, sort_keys=True).encode())
    return f"ilk {settings.protocol} {settings.metric} {digest.hexdigest()[:16]}"


def _validation(data: Interactions, base: BuildSettings, settings: TuningSettings) -> list[Split]:
    positive = relevant(data, base)
    if settings.protocol == "temporal":
        return [split_temporal(data, positive)]
    draw = split_strong if settings.protocol == "strong" else split_weak
    first = base.seed + _SEED_OFFSET
    return [draw(data, positive, seed) for seed in range(first, first + settings.splits)]


def _before(data: Interactions, date: datetime) -> Interactions:
    if data.timestamps is None:
        raise DataError(data.source, "has no timestamps; --until needs them")
    cutoff_s = seconds_of(date)
    return replace(data.only(data.timestamps < cutoff_s), items=data.items.before(cutoff_s))


def _study(name: str, base: BuildSettings, ranges: Ranges, journal: Path) -> optuna.Study:
    optuna.logging.set_verbosity(logging.WARNING)
    # A trial that is interrupted is no news, and one that fails is told by its error.
    logging.getLogger("optuna.study").setLevel(logging.ERROR)
    study = optuna.create_study(
        study_name=name, storage=open_journal(journal), direction="maximize", load_if_exists=True
    )
    # By the seed alone, a search that goes on would draw the trials again that it began with.
    study.sampler = optuna.samplers.TPESampler(
        seed=base.seed + len(study.trials), n_startup_trials=_N_RANDOM_TRIALS
    )
    if not study.get_trials(states=(TrialState.WAITING, TrialState.COMPLETE)):
        study.enqueue_trial(start(base, ranges))
    return study


def _completed(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Return the trials that came to an end; one that was interrupted stays in the journal."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _best_so_far(study: optuna.Study, metric: str) -> str:
    completed, best = _completed(study), study.best_trial
    # As trials are counted: those that were interrupted are none.
    at = [trial.number for trial in completed].index(best.number) + 1
    return f"{metric} {completed[-1].value:.4f}, best so far {best.value:.4f} by trial {at}"


@dataclass(frozen=True, slots=True)
class _Objective:
    splits: Sequence[Split]
    metric: str

    def score(self, settings: BuildSettings) -> float:
        """Return the mean over the splits at content weight 0."""
        return self.scores(settings, (0.0,))[0.0]

    def scores(self, settings: BuildSettings, blends: Sequence[float]) -> dict[float, float]:
        """Return the mean over the splits at each blend, of one training per split."""
        # Comparing with everything, so that a search for factors does not pay for measuring indices.
        plain = replace(settings, index=IndexKind.FLAT)
        per_split = [self._of_split(plain, split, blends) for split in self.splits]
        means = np.mean(per_split, axis=0).tolist()
        return dict(zip(blends, means, strict=True))

    def _of_split(
        self, settings: BuildSettings, split: Split, blends: Sequence[float]
    ) -> list[float]:
        metric, depth = metric_named(self.metric)
        held_out = split.held_out_matrix()
        with built_from(split.train_interactions(), settings, Progress(quiet=True)) as bundle:
            return [
                float(metric(rank(bundle, split, depth, content_weight=w), held_out, depth).mean())
                for w in blends
            ]
