"""Runs the scale benchmarks: ``python -m benchmarks.scale world --out FOLDER``, then ``build``."""

import sys
import tempfile
from pathlib import Path

from cyclopts import App

from benchmarks.scale import building
from benchmarks.scale.expansion import Shape
from benchmarks.scale.world import Tail, tails, write_world
from ilk import exits
from indexer.interactions import Interactions
from indexer.source import Source

app = App(
    name="benchmarks.scale",
    help="Make worlds of millions from a small one; build and serve them.",
    version_flags=[],
)


@app.command(name="world")
def world_command(
    *,
    out: Path,
    from_: Path | None = None,
    users: int = 200_948,
    items: int = 87_585,
    ratings: int = 32_000_000,
    seed: int = 42,
) -> None:
    """Expand a small world into a large one; the defaults have the shape of MovieLens 32M.

    Parameters
    ----------
    out
        Folder for ratings.csv and movies.csv, outside the project.
    from_
        Folder or zip of a MovieLens data set. Default: the embedded sample.
    users, items, ratings
        The shape; the number of ratings is met within a hundredth.
    seed
        Equal seeds write equal files.
    """
    small = read_small(from_)
    made = write_world(small, Shape(users, items, ratings), out, seed)
    print(
        f"{'ratings per':<14} {'rows':>9} {'mean':>8} {'median':>7} {'most':>7} {'top 1%':>7} top 10%"
    )
    for name, before, after in zip(("user", "item"), tails(small), made, strict=True):
        print(_line(f"{name}, small", before))
        print(_line(f"{name}, expanded", after))


@app.command(name="build")
def build_command(
    world: Path, *, store: Path | None = None, evaluate: bool = False, rounds: int = 1
) -> None:
    """Build a world end to end beside plain implicit's fit and pyarrow's reading, in one run.

    Parameters
    ----------
    world
        Folder with ratings.csv and movies.csv.
    store
        Folder to publish to. Default: a passing one beside the world.
    evaluate
        Measure quality while building, which trains a second time.
    rounds
        Of each, in turn; medians are shown.
    """
    flags = ["--quiet", "--evaluate" if evaluate else "--no-evaluate"]
    with tempfile.TemporaryDirectory(dir=world.parent) as folder:
        made = building.compare(world, store or Path(folder), flags, rounds)
    print("\n".join(building.table(made)))


def read_small(path: Path | None) -> Interactions:
    """Return the world to expand: a MovieLens data set, or the embedded sample."""
    return Source(movielens=path, sample=path is None).read()


def _line(name: str, tail: Tail) -> str:
    return (
        f"{name:<14} {tail.n:9,} {tail.mean:8.1f} {tail.median:7.1f} {tail.most:7,} "
        f"{tail.top_1:7.1%} {tail.top_10:7.1%}"
    )


if __name__ == "__main__":
    sys.exit(exits.run(app))
