"""Runs the benchmarks: ``python -m benchmarks --movielens ../ml-latest-small`` (default: the sample)."""

import sys
import tempfile
from pathlib import Path

from cyclopts import App

from benchmarks import habits, ranking, serving, stars
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


@app.command(name="habits")
def run_habits(*, movielens: Path | None = None, splits: int = 5) -> None:
    """Rank with stars read by everybody's bar and by each user's own, for real and for stern users.

    Parameters
    ----------
    movielens
        Folder or zip of a MovieLens data set. Default: the embedded sample.
    splits
        Random splits to average over.
    """
    settings = BuildSettings()
    compared = habits.compare(_read(movielens), settings, Progress(), n_splits=splits)
    print("\n".join(habits.table(compared, settings.seed)))


def _read(movielens: Path | None) -> Interactions:
    return Source(movielens=movielens, sample=movielens is None).read()


if __name__ == "__main__":
    sys.exit(exits.run(app))
