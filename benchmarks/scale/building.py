"""What building a bundle costs over reading its ratings with pyarrow and fitting plain ``implicit``.

It refuses to know how either is done: each runs as a process of its own, in turn with the other.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.spending import Spent, spent_by

WALL_BAR = 1.5
PEAK_BAR_BYTES = 8 << 30


@dataclass(frozen=True, slots=True)
class Round:
    """One build beside the least it must do."""

    read: Spent
    fit: Spent
    build: Spent

    @property
    def least(self) -> Spent:
        """What reading and fitting spent together."""
        return self.read + self.fit


def compare(world: Path, store: Path, flags: Sequence[str], n_rounds: int) -> list[Round]:
    """Build ``world`` into ``store`` with the ordinary command, in turn with the least of it.

    Parameters
    ----------
    world
        Folder with ratings.csv and movies.csv.
    flags
        Further flags of ``python -m indexer build``.

    Raises
    ------
    WorkFailed
        If either ends with an error.
    """
    rounds = []
    for _ in range(n_rounds):
        _, printed = spent_by("benchmarks.scale.plain", [str(world)])
        plain = {name: Spent(**spent) for name, spent in json.loads(printed).items()}
        command = ["build", "--movielens", str(world), "--store", str(store), *flags]
        build, _ = spent_by("indexer", command)
        rounds.append(Round(plain["read"], plain["fit"], build))
    return rounds


def table(rounds: Sequence[Round]) -> Iterator[str]:
    """Yield the lines that show a comparison: medians of the rounds, and the ratios in each."""
    yield f"{'':<28} {'wall s':>9} {'CPU s':>9} {'peak GiB':>9}"
    for name, spent in (
        ("reading with pyarrow", [r.read for r in rounds]),
        ("fitting plain implicit", [r.fit for r in rounds]),
        ("build, end to end", [r.build for r in rounds]),
    ):
        wall_s = float(np.median([s.wall_s for s in spent]))
        cpu_s = float(np.median([s.cpu_s for s in spent]))
        peak = max(s.peak_bytes for s in spent) / (1 << 30)
        yield f"{name:<28} {wall_s:9.1f} {cpu_s:9.1f} {f'{peak:9.2f}' if peak else '':>9}"
    walls = [r.build.wall_s / r.least.wall_s for r in rounds]
    cpus = [r.build.cpu_s / r.least.cpu_s for r in rounds]
    yield f"build / (reading + fitting), wall: {_each(walls)} (bar: {WALL_BAR})"
    yield f"build / (reading + fitting), CPU:  {_each(cpus)}"
    peak_bytes = max(r.build.peak_bytes for r in rounds)
    yield f"peak of the build: {peak_bytes / (1 << 30):.2f} GiB (bar: {PEAK_BAR_BYTES / (1 << 30):g})"


def _each(ratios: Sequence[float]) -> str:
    return ", ".join(f"{ratio:.2f}" for ratio in ratios)
