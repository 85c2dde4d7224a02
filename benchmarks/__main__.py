"""Runs the benchmarks: ``python -m benchmarks --movielens ../ml-latest-small`` (default: the sample)."""

import sys
import tempfile
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from benchmarks import serving
from ilk import exits
from indexer.build import build
from indexer.progress import Progress
from indexer.settings import BuildSettings
from indexer.source import Source

app = App(name="benchmarks", help="Measure Ilk beside its limits, in one run.", version_flags=[])


@app.default
def run(
    *, movielens: Path | None = None, calls: int = 5000, rounds: Annotated[int, Parameter()] = 3
) -> None:
    """Build a bundle and measure serving.

    Parameters
    ----------
    movielens
        Folder or zip of a MovieLens data set. Default: the embedded sample.
    calls
        Unary calls per round.
    rounds
        Rounds, interleaved; medians are shown.
    """
    source = Source(movielens=movielens, sample=movielens is None)
    with tempfile.TemporaryDirectory() as folder:
        build(source.read(), Path(folder), BuildSettings(evaluate=False), Progress())
        for name, figure in serving.measure(Path(folder), calls, rounds).items():
            print(f"{name:<46} {figure:10.2f}")


if __name__ == "__main__":
    sys.exit(exits.run(app))
