"""Runs the benchmarks: ``python -m benchmarks --movielens ../ml-latest-small`` (default: the sample)."""

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from cyclopts import App

from benchmarks import overload, ranking, serving, stars
from benchmarks.steadiness import agreement, changes, ends, soak
from ilk import exits
from indexer.build import build
from indexer.interactions import Interactions
from indexer.progress import Progress
from indexer.settings import BuildSettings
from indexer.source import Source

app = App(
    name="benchmarks", help="Measure Ilk beside its limits and peers, in one run.", version_flags=[]
)


@app.default
@app.command(name="serving")
def run_serving(*, movielens: Path | None = None, calls: int = 5000, rounds: int = 3) -> None:
    """Build a bundle and measure serving; what runs when no benchmark is named.

    Parameters
    ----------
    movielens
        Folder or zip of a MovieLens data set. Default: the embedded sample.
    calls
        Unary calls per round.
    rounds
        Rounds, interleaved; medians are shown.
    """
    with tempfile.TemporaryDirectory() as folder:
        build(_read(movielens), Path(folder), BuildSettings(evaluate=False), Progress())
        for name, figure in serving.measure(Path(folder), calls, rounds).items():
            print(f"{name:<46} {figure:10.2f}")


@app.command(name="stars")
def run_stars(*, movielens: Path | None = None, folds: int = 5) -> None:
    """Predict stars beside Surprise, which is installed into an environment of its own.

    Parameters
    ----------
    movielens
        Folder or zip of a MovieLens data set. Default: the embedded sample.
    folds
        Parts that the ratings are dealt into; each is predicted from the others.
    """
    compared = stars.compare(_read(movielens), BuildSettings(), Progress(), n_folds=folds)
    print("\n".join(stars.table(compared)))


@app.command(name="ranking")
def run_ranking(*, movielens: Path | None = None, splits: int = 5, rounds: int = 3) -> None:
    """Rank for users held out beside tuned EASE, and time training beside plain implicit.

    Parameters
    ----------
    movielens
        Folder or zip of a MovieLens data set. Default: the embedded sample.
    splits
        Random splits to average over.
    rounds
        Trainings of each kind, interleaved; medians are shown.
    """
    data, settings = _read(movielens), BuildSettings()
    figures = ranking.compare(data, settings, Progress(), n_splits=splits)
    print("\n".join(ranking.table(figures, settings.seed)))
    for name, figure in ranking.cost(data, settings, n_rounds=rounds).items():
        print(f"{name:<46} {figure:10.2f}")


@app.command(name="overload")
def run_overload(
    *,
    movielens: Path | None = None,
    workload: str = "mix",
    multiples: tuple[float, ...] = (2, 5, 10),
    duration_s: float = 60,
    timeout_s: float = 1,
) -> None:
    """Offer one worker several times what it can bear.

    Parameters
    ----------
    movielens
        Folder or zip of a MovieLens data set. Default: the embedded sample.
    workload
        single, batch or mix.
    multiples
        Of its capacity.
    duration_s
        How long each is offered.
    timeout_s
        The deadline of every call.
    """
    plan = overload.Plan(workload, multiples, duration_s, timeout_s)
    with tempfile.TemporaryDirectory() as folder:
        build(_read(movielens), Path(folder), BuildSettings(evaluate=False), Progress())
        print("\n".join(overload.table(*overload.measure(Path(folder), plan))))


@app.command(name="steadiness")
def run_steadiness(
    *,
    movielens: Path | None = None,
    swaps: int = 200,
    rollbacks: int = 20,
    stops: int = 20,
    kills: int = 20,
    calls: int = 500_000,
) -> None:
    """Change bundles, stop servers and kill workers under load; soak one; ask from 16 threads.

    Parameters
    ----------
    movielens
        Folder or zip of a MovieLens data set. Default: the embedded sample.
    swaps
        Changes of the live bundle.
    rollbacks
        How many of them are taken back.
    stops
        Servers stopped with SIGTERM.
    kills
        Workers ended with SIGKILL.
    calls
        Of the soak; the first fifth settles the server.
    """
    data = _read(movielens)
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder)
        changes.publish_versions(data, store)
        _show("changes", changes.measure(store, swaps, rollbacks))
        _show("stops", ends.measure_stops(store, stops))
        _show("kills", ends.measure_kills(store, kills))
        _show("agreement", agreement.measure(data))
        _show("soak", soak.measure(store, calls, calls // 5))


def _show(what: str, figures: Mapping[str, float]) -> None:
    for name, figure in figures.items():
        print(f"{what + ': ' + name:<66} {figure:14.4f}", flush=True)


def _read(movielens: Path | None) -> Interactions:
    return Source(movielens=movielens, sample=movielens is None).read()


if __name__ == "__main__":
    sys.exit(exits.run(app))
