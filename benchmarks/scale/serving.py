"""What serving a large bundle costs: opening it cold, answering, memory, bytes.

It refuses to know how the bundle was made. Workers are processes of their own; answers are asked for
in this one, of `ilk.query`, and held against comparison with every row.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.spending import WorkFailed
from ilk import ann
from ilk.ann import RowNeighbors, recall
from ilk.bundle import Bundle, Store, open_bundle
from ilk.query import answer
from ilk.query.plan import Plan, make_plan
from ilk.space import Space
from ilk.types import Accuracy, ItemId, Query, Target, UserId
from ilk.vectors import blend

BLENDS = (0.0, 0.1, 0.5, 0.9)
# The recall that is asked for, by what is looked for.
PROMISES = {Target.USERS: 0.95, Target.ITEMS: 0.99}
_K = 10
_CHUNK_ROWS = 1 << 17
_WORKER_QUESTIONS = 200
# Enough rounds for a steady figure, but no more than this of CPU for each kind of question.
_BUDGET_S = 2.0


@dataclass(frozen=True, slots=True)
class Answered:
    """What one kind of question costs, and how good the answers are."""

    space: str
    content_weight: float
    cpu_us: float
    recall_at_10: float


@dataclass(frozen=True, slots=True)
class Served:
    """The figures of one bundle.

    Attributes
    ----------
    open_s, answer_s
        Seconds of the clock from asking for the bundle to its being open, and to the first answer,
        nothing of it being in memory before.
    own_bytes
        Memory that a second worker has for itself: private pages, whether written or only read.
    written_bytes
        The part of it that no file backs.
    index_bytes
        Per stored vector, by space.
    """

    n_users: int
    n_items: int
    open_s: float
    answer_s: float
    own_bytes: int
    written_bytes: int
    index_bytes: dict[str, float]
    answered: list[Answered] = field(default_factory=list)


def measure(store: Path, n_queries: int) -> Served:
    """Measure the live bundle of ``store``; Linux only.

    Raises
    ------
    WorkFailed
        If a worker cannot open it or answer from it.
    """
    ann.use_threads(1)
    folder = Store(store).folder_of(Store(store).current_version())
    forget(folder)
    with _worker(store) as first:
        cold = first.line()
        first.line()
        with _worker(store) as second:
            second.line()
            memory = second.line()
    bundle = open_bundle(store)
    served = Served(
        len(bundle.users),
        len(bundle.items),
        cold["open_s"],
        cold["answer_s"],
        int(memory["Private_Clean"] + memory["Private_Dirty"]),
        int(memory["Anonymous"]),
        {
            space.key.name: (folder / f"{space.key.name}.faiss").stat().st_size / len(space)
            for space in bundle.spaces.values()
        },
    )
    for weight in BLENDS:
        served.answered.extend(_answered(bundle, weight, n_queries))
    return served


def forget(folder: Path) -> None:
    """Drop the files of a folder from the system's memory; they must not be mapped anywhere."""
    for path in folder.iterdir():
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


class _Worker:
    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def line(self) -> dict[str, float]:
        """Return the next line that the worker prints."""
        assert self._process.stdout is not None
        told: dict[str, float] = json.loads(self._process.stdout.readline() or "{}")
        if not told:
            raise WorkFailed("a worker ended before it had answered; its stderr says why")
        return told


@contextlib.contextmanager
def _worker(store: Path) -> Iterator[_Worker]:
    command = [sys.executable, "-m", "benchmarks.scale.worker", str(store), str(_WORKER_QUESTIONS)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield _Worker(process)


def _answered(bundle: Bundle, weight: float, n_queries: int) -> Iterator[Answered]:
    rng = np.random.default_rng(0)
    # Users as they are, items as they are rated: so they come to a server.
    users = rng.integers(0, len(bundle.users), n_queries).tolist()
    items = rng.choice(bundle.ratings_by_user.others, n_queries).tolist()
    whom: dict[Target, list[ItemId] | list[UserId]] = {
        Target.USERS: [UserId(bundle.users.vocabulary.id_of(row)) for row in users],
        Target.ITEMS: [ItemId(bundle.items.vocabulary.id_of(row)) for row in items],
    }
    for kind, asking in whom.items():
        for target in Target:
            accuracy = Accuracy.at_recall(PROMISES[target])
            queries = [Query(w, target, weight, accuracy=accuracy) for w in asking]
            plans = [make_plan(bundle, query) for query in queries]
            name = plans[0].space.key.name
            assert (kind is target) == plans[0].space.key.by_likeness
            cpu_us = _cpu_us(bundle, queries)
            yield Answered(name, weight, cpu_us, recall_of(bundle, queries, plans))


def _cpu_us(bundle: Bundle, queries: Sequence[Query]) -> float:
    """Return CPU microseconds per answer, pages being in memory."""
    for query in queries:
        answer(bundle, query)
    n_asked, started = 0, time.process_time()
    while (spent := time.process_time() - started) < _BUDGET_S and n_asked < 50 * len(queries):
        for query in queries:
            answer(bundle, query)
        n_asked += len(queries)
    return 1e6 * spent / n_asked


def recall_of(bundle: Bundle, queries: Sequence[Query], plans: Sequence[Plan]) -> float:
    """Return what of the true ten nearest is in the answers, equal scores being no misses."""
    scores = np.full((len(queries), _K), -np.inf, dtype=np.float32)
    for at, query in enumerate(queries):
        found = [n.score for n in answer(bundle, query).neighbors]
        scores[at, : len(found)] = found
    rows = np.zeros(scores.shape, dtype=np.int64)
    truth = RowNeighbors(rows, exact_scores(plans[0].space, plans))
    return recall([RowNeighbors(rows, scores)], [truth], _K)


def exact_scores(space: Space, plans: Sequence[Plan]) -> npt.NDArray[np.float32]:
    """Return the best scores by comparison with every row but the asking one, best first.

    Returns
    -------
    scores
        Shape ``(len(plans), 10)``, float32.
    """
    n_factors = space.factors.shape[1]
    queries = np.concatenate(
        [blend(p.seeker.collaborative, p.seeker.content, p.content_weight) for p in plans]
    )
    best = np.full((len(plans), _K), -np.inf, dtype=np.float32)
    for start in range(0, len(space), _CHUNK_ROWS):
        rows = slice(start, min(start + _CHUNK_ROWS, len(space)))
        scores = queries[:, :n_factors] @ space.factors[rows].T
        scores += queries[:, n_factors:] @ space.content[rows].T
        for at, plan in enumerate(plans):
            for own in plan.allowed.excluded:
                if rows.start <= own < rows.stop:
                    scores[at, own - rows.start] = -np.inf
        both = np.concatenate((best, scores), axis=1)
        best = -np.partition(-both, _K - 1, axis=1)[:, :_K]
    return -np.sort(-best, axis=1)


def table(served: Sequence[Served]) -> Iterator[str]:
    """Yield the lines that show bundles side by side, smallest first."""
    yield f"{'':<34}" + "".join(f"{f'{s.n_users:,} x {s.n_items:,}':>24}" for s in served)
    for name, values in (
        ("cold: open, s", [f"{s.open_s:.2f}" for s in served]),
        ("cold: first answer, s", [f"{s.answer_s:.2f}" for s in served]),
        ("second worker's own memory, MiB", [f"{s.own_bytes / 2**20:.0f}" for s in served]),
        ("  of which no file backs", [f"{s.written_bytes / 2**20:.0f}" for s in served]),
        *(
            (f"index bytes per row, {name}", [f"{s.index_bytes[name]:.1f}" for s in served])
            for name in served[0].index_bytes
        ),
    ):
        yield f"{name:<34}" + "".join(f"{value:>24}" for value in values)
    for at, first in enumerate(served[0].answered):
        of_all = [s.answered[at] for s in served]
        cells = [f"{a.cpu_us:.0f} us, {a.recall_at_10:.4f}" for a in of_all]
        grown = f"   x {of_all[-1].cpu_us / first.cpu_us:.2f}" if len(of_all) > 1 else ""
        yield (
            f"{f'{first.space}, w={first.content_weight:g}':<34}"
            + "".join(f"{cell:>24}" for cell in cells)
            + grown
        )
    yield "each question: CPU of ilk.query.answer, recall@10; last column: growth of the CPU"
