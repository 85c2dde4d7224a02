"""The indexer is killed over and over while a server is asked: no wrong answer, and no error.

Each indexer is a whole ``build``, killed at a random moment of its life. Every answer must be the one
that the version it names gives, and each version that was live must be whole.
"""

import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.faults.nursery import Job, Nursery, kill_after
from benchmarks.faults.oracle import leftovers, see
from benchmarks.processes import running
from examples.walkthrough import FILMS, RATINGS
from ilk import SimilarityClient
from ilk.bundle import Bundle, Store, open_bundle
from ilk.bundle.retention import clean_up
from ilk.errors import BundleError, IlkError
from ilk.query import answer
from ilk.types import ItemId, Query, Target, UserId

_QUERIES = (
    Query(ItemId("Inception"), Target.ITEMS, neighbor_count=3),
    Query(UserId("U1"), Target.ITEMS, neighbor_count=3),
    Query(ItemId("Shrek"), Target.USERS, neighbor_count=4),
)
_POLL_S = 0.05
# Some of the killed are to live until they have published.
_REACH = 1.4
Told = tuple[tuple[str, float], ...]


@dataclass
class Counted:
    """What happened: ``violations`` must stay empty."""

    outcomes: Counter[str] = field(default_factory=Counter)
    n_answers: int = 0
    versions: set[str] = field(default_factory=set)
    violations: list[str] = field(default_factory=list)


def kill_often(nursery: Nursery, n_kills: int, seed: int) -> Counted:
    """Kill ``n_kills`` indexers while a server of the same store is asked without a pause."""
    rng = np.random.default_rng(seed)
    counted = Counted()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = Store(folder / "store")
        arguments = _build_arguments(folder, store)
        oracle = _Oracle(store)
        _typical_s(nursery, arguments, oracle, 1)
        options = ("--store", str(store.path), "--poll-interval-s", str(_POLL_S))
        with running("server", options) as server:
            asker = _Asker(server.address, counted)
            asker.start()
            typical_s = _typical_s(nursery, arguments, oracle, 3)
            for number in range(n_kills):
                before = set(store.list_versions())
                seeded = (*arguments, "--seed", str(number))
                pid = nursery.start(Job(str(store.path), arguments=seeded))
                kill_after(pid, float(rng.uniform(0, _REACH * typical_s)))
                ended = nursery.wait()
                live = set(store.list_versions()) - before
                fate = "killed" if ended.code < 0 else f"ended {ended.code}"
                counted.outcomes[f"{fate}, {'published' if live else 'nothing published'}"] += 1
                counted.violations += oracle.learn()
            asker.stop()
        counted.violations += oracle.judge(asker.heard)
        counted.versions = {version for version, _, _ in asker.heard}
        with store.writing():
            clean_up(store)
        counted.violations += [f"left behind: {name}" for name in leftovers(store)]
    return counted


class _Oracle:
    """Opens each version that becomes live, and knows what it answers."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._answers: dict[str, tuple[Told, ...]] = {}

    def learn(self) -> list[str]:
        """Open what is live now; return what is wrong with it."""
        try:
            version = see(self._store.path).version
            if version not in self._answers:
                self._answers[version] = _answers(open_bundle(self._store.path, version))
        except BundleError as error:
            return [f"a reader is refused: {error}"]
        return []

    def judge(self, heard: set[tuple[str, int, Told]]) -> list[str]:
        """Return which answers are not those of the version that they name."""
        return [
            f"{version} answered query {at} with {told}"
            for version, at, told in heard
            if self._answers.get(version, ())[at : at + 1] != (told,)
        ]


class _Asker(threading.Thread):
    """Asks without a pause; keeps each different answer once."""

    def __init__(self, address: str, counted: Counted) -> None:
        super().__init__()
        self._client = SimilarityClient(address, timeout_s=60)
        self._counted = counted
        self._stopped = threading.Event()
        self.heard: set[tuple[str, int, Told]] = set()

    def run(self) -> None:
        """Ask until :meth:`stop`."""
        while not self._stopped.is_set():
            for at, query in enumerate(_QUERIES):
                try:
                    found = self._client.find_neighbors(query)
                except IlkError as error:
                    self._counted.violations.append(f"a query failed: {error!r}")
                    continue
                told = tuple((n.id, round(n.score, 5)) for n in found.neighbors)
                self.heard.add((found.bundle_version, at, told))
                self._counted.n_answers += 1

    def stop(self) -> None:
        """Stop, and wait for the answer under way."""
        self._stopped.set()
        self.join()
        self._client.close()


def _answers(bundle: Bundle) -> tuple[Told, ...]:
    return tuple(
        tuple((n.id, round(n.score, 5)) for n in answer(bundle, query).neighbors)
        for query in _QUERIES
    )


def _build_arguments(folder: Path, store: Store) -> tuple[str, ...]:
    ratings, films = folder / "ratings.csv", folder / "films.csv"
    lines = [f"{user},{film},{stars}" for user, film, stars in RATINGS]
    ratings.write_text("\n".join(["user,item,rating", *lines, ""]))
    lines = [f"{film},{film},{'|'.join(genres)}" for film, genres in FILMS.items()]
    films.write_text("\n".join(["id,title,genres", *lines, ""]))
    data = ("--interactions", str(ratings), "--items", str(films))
    quick = ("--factors", "2", "--no-evaluate", "--accept-drift", "--quiet")
    return ("build", *data, "--store", str(store.path), *quick)


def _typical_s(
    nursery: Nursery, arguments: tuple[str, ...], oracle: _Oracle, n_builds: int
) -> float:
    """Publish a few versions; return how long a build that is not killed takes, in seconds."""
    spent = []
    for number in range(n_builds):
        started = time.monotonic()
        ended = nursery.run(Job("", arguments=(*arguments, "--seed", str(1000 + number))))
        if ended.code:
            raise RuntimeError(ended.said)
        spent.append(time.monotonic() - started)
        oracle.learn()
    return sorted(spent)[n_builds // 2]
