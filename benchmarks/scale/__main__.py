"""Runs the scale benchmarks: ``python -m benchmarks.scale world --out FOLDER``, then ``build``."""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from benchmarks.scale import building, serving
from benchmarks.scale.drawing import Population
from benchmarks.scale.expansion import Shape
from benchmarks.scale.population import publish_drawn
from benchmarks.scale.world import Tail, outside, tails, write_world
from benchmarks.spending import own_peak_bytes
from ilk.bundle import open_bundle
from ilk.program import exits
from indexer.build import build
from indexer.interactions import Interactions
from indexer.progress import Progress
from indexer.settings import BuildSettings
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
    users
        How many.
    items
        How many.
    ratings
        How many, met within a hundredth.
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


@app.command(name="draw")
def draw_command(
    *,
    store: Path,
    from_: Path | None = None,
    users: int = 10_000_000,
    items: int = 1_000_000,
    ratings_per_user: int = 8,
    settings: Annotated[BuildSettings | None, Parameter(name="*")] = None,
) -> None:
    """Publish a bundle of millions, its vectors drawn from the fit of a small world.

    Parameters
    ----------
    store
        Folder to publish to, outside the project.
    from_
        Folder or zip of a MovieLens data set. Default: the embedded sample.
    users
        How many.
    items
        How many.
    ratings_per_user
        Ratings that the bundle keeps of each user.
    """
    population, chosen = Population(users, items, ratings_per_user), settings or BuildSettings()
    chosen = replace(chosen, evaluate=False)
    progress = Progress()
    outside(store)
    with tempfile.TemporaryDirectory(dir=store) as folder:
        scratch = Path(folder)
        build(read_small(from_), scratch / "fitted", chosen, progress.within("fit"))
        fitted = open_bundle(scratch / "fitted")
        print(publish_drawn(fitted, population, store, scratch, chosen, progress))
    print(f"peak memory: {own_peak_bytes() / (1 << 30):.2f} GiB")


@app.command(name="serve")
def serve_command(
    stores: Annotated[list[Path], Parameter(negative="")], /, *, queries: int = 100
) -> None:
    """Open bundles cold, ask them, and show what it cost side by side.

    Parameters
    ----------
    stores
        Folders of bundles, smallest first.
    queries
        Questions of each kind.
    """
    print("\n".join(serving.table([serving.measure(store, queries) for store in stores])))


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
