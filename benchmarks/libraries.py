"""Ilk's searches beside other libraries', on the same vectors, at equal recall, one thread, in one run.

It refuses to know how any library is called: each runs in an environment of its own and answers with
points (`benchmarks.peers.searching`), and so does Ilk (`benchmarks.own_search`). Costs are CPU of single
queries, each the best of several rounds; on a machine that others use, look at ratios.
"""

import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.own_search import drawn_queries, query_vectors
from benchmarks.peers.environment import PeerFailed, answer_of, installed
from ilk.bundle import Bundle, open_bundle
from ilk.query.plan import make_plan
from ilk.space import SPACE_KEYS, SpaceKey
from ilk.vectors import concatenate
from indexer.progress import note

# Requirements of each peer; those of faiss and implicit are ours.
PEERS: dict[str, tuple[str, ...]] = {
    "hnswlib": ("hnswlib==0.8.0", "numpy==2.4.6"),
    "scalable_vs": ("scalable-vs==0.5.0", "numpy==2.4.6"),
    "scann": ("scann==1.4.2", "numpy==2.4.6"),
    "usearch": ("usearch==2.26.0", "numpy==2.4.6"),
    "diskannpy": ("diskannpy==0.7.0", "numpy<2"),
    "faiss": (),
    "implicit": (),
}
RECALLS = (0.9, 0.95, 0.99)
# The bars: Ilk's index against the best library, and all of Ilk over the bare index, in microseconds.
INDEX_BAR, OVERHEAD_BAR_US = 1.1, 25.0
_OVERHEAD_AT = "accuracy 0.99,"
# Not libraries: parts of Ilk, and what lies beneath it.
_OWN = ("ilk index", "ilk answer", "bare faiss")


@dataclass(frozen=True, slots=True)
class Point:
    """One setting of one library: how much it finds, and what it costs.

    Attributes
    ----------
    recall
        Of the 10 nearest, by score.
    cpu_us
        Microseconds of CPU per single query.
    build_s
        CPU seconds of building, in the first setting of each index.
    """

    name: str
    setting: str
    recall: float
    cpu_us: float
    build_s: float


def compare(
    store: Path, spaces: Sequence[str], weight: float, n_queries: int, peers: Sequence[str]
) -> dict[str, list[Point]]:
    """Return the points of each space of a bundle, by the space's name.

    Parameters
    ----------
    store
        Folder of bundles; the live one is searched.
    spaces
        Names of spaces.
    weight
        The queries' content weight.
    peers
        Names among ``PEERS``.

    Raises
    ------
    PeerFailed
        If Ilk does not finish. A library that cannot be installed, or does not finish, is left out
        with a note on stderr.
    """
    bundle = open_bundle(store)
    found = {}
    for key in (key for key in SPACE_KEYS if key.name in spaces):
        with tempfile.TemporaryDirectory() as folder:
            _write(bundle, key, weight, n_queries, Path(folder))
            told = answer_of(
                Path(sys.executable),
                "own_search",
                str(store),
                key.name,
                str(weight),
                str(n_queries),
            )
            for peer in peers:
                try:
                    told += answer_of(_python(peer), f"peers.ann_{peer}", folder)
                except PeerFailed as error:
                    note(f"{peer} is left out: {error}")
        found[key.name] = [Point(**point) for point in told]
    return found


def _python(peer: str) -> Path:
    requirements = PEERS[peer]
    if not requirements:
        return Path(sys.executable)
    return installed(peer.replace("_", "-"), requirements)


def _write(bundle: Bundle, key: SpaceKey, weight: float, n_queries: int, folder: Path) -> None:
    """Write what every library searches, and the score that a true neighbor reaches."""
    space = bundle.spaces[key]
    queries = drawn_queries(bundle, key, weight, n_queries)
    asking = query_vectors([make_plan(bundle, query) for query in queries])
    vectors = concatenate(space.factors, space.content)
    # A part at a time: all scores of all queries would not fit.
    thresholds = [np.partition(vectors @ query, -10)[-10] for query in asking]
    np.save(folder / "vectors.npy", vectors, allow_pickle=False)
    np.save(folder / "queries.npy", asking, allow_pickle=False)
    np.save(folder / "thresholds.npy", np.array(thresholds, dtype=np.float32), allow_pickle=False)


def cheapest(points: Iterable[Point], recall: float) -> Point | None:
    """Return the cheapest point that reaches a recall."""
    return min((p for p in points if p.recall >= recall), key=lambda p: p.cpu_us, default=None)


def table(found: dict[str, list[Point]]) -> Iterator[str]:
    """Yield the lines that show a comparison: CPU per query at each recall, and the bars."""
    for space, points in found.items():
        yield (
            f"\n{space:<22}" + "".join(f"{f'recall {r:g}: us':>18}" for r in RECALLS) + "  build s"
        )
        for name in dict.fromkeys(p.name for p in points):
            own = [p for p in points if p.name == name]
            cells = "".join(_cell(cheapest(own, recall)) for recall in RECALLS)
            yield f"{name:<22}{cells}  {own[0].build_s:7.1f}"
        yield from _verdicts(points)


def _cell(point: Point | None) -> str:
    return f"{'-':>18}" if point is None else f"{f'{point.cpu_us:.1f} ({point.recall:.3f})':>18}"


def _verdicts(points: Sequence[Point]) -> Iterator[str]:
    peers = [p for p in points if p.name not in _OWN]
    ours = cheapest((p for p in points if p.name == "ilk index"), RECALLS[-1])
    best = cheapest(peers, RECALLS[-1])
    if ours is not None and best is not None:
        yield (
            f"ilk index / best library at {RECALLS[-1]:g}: {ours.cpu_us / best.cpu_us:.2f} "
            f"({ours.setting}; {best.name} {best.setting}) (bar: {INDEX_BAR})"
        )
    at = {p.name: p for p in points if p.setting.startswith(_OVERHEAD_AT)}
    if {"ilk answer", "bare faiss"} <= at.keys():
        over_us = at["ilk answer"].cpu_us - at["bare faiss"].cpu_us
        yield f"ilk answer over bare index.search: {over_us:.1f} us (bar: {OVERHEAD_BAR_US:g})"


def draw(found: dict[str, list[Point]], title: str, folder: Path) -> Iterator[Path]:
    """Draw each space's queries per CPU second against recall, best points only, and yield the files.

    As ann-benchmarks draws them (Aumüller, Bernhardsson & Faithfull, Information Systems 87, 2020).
    """
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    for space, points in found.items():
        figure = Figure(figsize=(9, 6))
        axes = figure.add_subplot()
        for name in dict.fromkeys(p.name for p in points if p.name != "bare faiss"):
            best = frontier([p for p in points if p.name == name])
            axes.plot(
                [p.recall for p in best],
                [1e6 / p.cpu_us for p in best],
                marker="o",
                linewidth=3 if name in _OWN else 1,
                label=name,
            )
        axes.set(xlim=(0.7, 1.002), yscale="log", xlabel="recall@10", title=f"{title}: {space}")
        axes.set_ylabel("queries per CPU second, one thread")
        axes.grid(visible=True, which="both", alpha=0.3)
        axes.legend()
        file = folder / f"{title}-{space}.png".replace(" ", "-")
        figure.savefig(file, dpi=120)
        yield file


def frontier(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other of theirs beats in both recall and cost, by rising recall."""
    best: list[Point] = []
    for point in sorted(points, key=lambda p: (p.cpu_us, -p.recall)):
        if not best or point.recall > best[-1].recall:
            best.append(point)
    return best
