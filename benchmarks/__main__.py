"""Runs the benchmarks: ``python -m benchmarks --movielens ../ml-latest-small`` (default: the sample)."""

import sys
import tempfile
from pathlib import Path

from cyclopts import App

from benchmarks import libraries, ranking, serving, stars
from ilk import exits
from ilk.bundle import open_bundle
from ilk.space import SPACE_KEYS
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


@app.command(name="libraries")
def run_libraries(
    *,
    movielens: Path | None = None,
    store: Path | None = None,
    spaces: tuple[str, ...] = tuple(key.name for key in SPACE_KEYS),
    content_weight: float = 0.1,
    queries: int = 200,
    peers: tuple[str, ...] = tuple(libraries.PEERS),
    plots: Path | None = None,
) -> None:
    """Search beside other libraries at equal recall, each in an environment of its own.

    Parameters
    ----------
    movielens
        Folder or zip of a MovieLens data set to build a bundle of. Default: the embedded sample.
    store
        Search the live bundle of this folder instead.
    spaces
        Which of the four.
    content_weight
        The blend of the queries.
    queries
        How many.
    peers
        Which libraries.
    plots
        Folder for curves of queries per second against recall.
    """
    with tempfile.TemporaryDirectory() as folder:
        if store is None:
            build(_read(movielens), Path(folder), BuildSettings(evaluate=False), Progress())
        searched = store or Path(folder)
        found = libraries.compare(searched, spaces, content_weight, queries, peers)
        name = open_bundle(searched).manifest
    print("\n".join(libraries.table(found)))
    if plots is not None:
        title = f"{name.n_users} users x {name.n_items} items"
        for file in libraries.draw(found, title, plots):
            print(f"drawn: {file}")


def _read(movielens: Path | None) -> Interactions:
    return Source(movielens=movielens, sample=movielens is None).read()


if __name__ == "__main__":
    sys.exit(exits.run(app))
