"""Publish, swap, query, roll back, hold, kill: in any order, a store is whole and tells the truth.

A Hypothesis state machine. Publications and rollbacks run in children of the nursery, which fail or are
killed at any thing they ask of the file system, or at any moment while the server is asked. The model
remembers what each version must answer, and holds a server to it over the wire: calls, batches, and one
stream that stays open through every swap.

What a killed child has done depends on the moment, so nothing that is drawn may depend on it.
"""

import contextlib
import shutil
import tempfile
import threading
from collections import Counter
from pathlib import Path
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
)

from benchmarks.faults.nursery import N_VARIANTS, Ended, Job, Nursery, kill_after
from benchmarks.faults.oracle import Answers, Told, answers_of, leftovers, queries_of, see
from benchmarks.faults.waiter import Waiter
from ilk import bundle as bundles
from ilk.bundle import Store, open_bundle
from ilk.errors import BundleError
from indexer.upkeep import roll_back

# A publication of these small bundles takes about a tenth of a second.
_LONGEST_LIFE_S = 0.15
variants = st.integers(0, N_VARIANTS - 1)
keeps = st.integers(1, 3)
# Which of the versions there are, counted round and round.
places = st.integers(0, 99)
harms = st.sampled_from(["kill", "kill", "ENOSPC", "EIO"])


class StoreMachine(RuleBasedStateMachine):
    """A store, a server that serves it, and readers that hold on to versions.

    ``nursery`` must be set before a run; ``counted`` then holds what was done, and what came of it.
    """

    nursery: ClassVar[Nursery]
    n_runs: ClassVar[int] = 0
    counted: ClassVar[Counter[str]] = Counter()
    held = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        StoreMachine.n_runs += 1
        self._folder = tempfile.mkdtemp(prefix="ilk-machine-")
        self._store = Store(Path(self._folder) / "store")
        self._answers: dict[str, Answers] = {}
        self._variant_answers: dict[int, Answers] = {}
        self._open = contextlib.ExitStack()
        self._n_published = 0
        self._held: dict[int, bundles.Bundle] = {}

    @initialize(variant=variants)
    def begin(self, variant: int) -> None:
        """Publish a first version and serve it."""
        assert self._publish(variant, self._next(), 3).code == 0
        version = self._store.current_version()
        self._learn(version, variant)
        queries = queries_of(open_bundle(self._store.path))
        self._waiter = self._open.enter_context(Waiter(self._store.path, queries))

    @rule(variant=variants, keep=keeps)
    def publish(self, variant: int, keep: int) -> None:
        """Publish undisturbed: the version is live, and what must be kept is kept."""
        before = set(self._store.list_versions())
        version = self._next()
        ended = self._publish(variant, version, keep)
        assert ended.code == 0, ended.said
        assert self._store.current_version() == version
        self._learn(version, variant)
        left = set(self._store.list_versions())
        assert left >= {version} | set(sorted(before | {version})[-keep:])
        assert left >= {b.version for b in self._held.values()} & before
        assert self._waiter.version in left
        assert leftovers(self._store) == []

    @rule(
        variant=variants,
        keep=keeps,
        harm=harms,
        at=st.integers(1, 700),
    )
    def publish_harmed(self, variant: int, keep: int, harm: str, at: int) -> None:
        """Publish and be killed, or fail: the old version is live or the new one, and whole."""
        before, version = self._store.current_version(), self._next()
        job = Job(str(self._store.path), variant, version, keep, harm=harm, harm_at=at)
        self._judge(self.nursery.run(job), before, version, variant)

    @rule(variant=variants, keep=keeps, life=st.floats(0.0, 1.0))
    def publish_while_asked(self, variant: int, keep: int, life: float) -> None:
        """Publish and be killed at some moment, while the server is asked and changes over."""
        before, version = self._store.current_version(), self._next()
        served = self._waiter.version
        pid = self.nursery.start(Job(str(self._store.path), variant, version, keep))
        killer = threading.Thread(target=kill_after, args=(pid, _LONGEST_LIFE_S * life))
        killer.start()
        heard: list[tuple[str, int, Told]] = []
        while killer.is_alive():
            heard += self._waiter.ask()
            self._waiter.look()
        killer.join()
        self._judge(self.nursery.wait(), before, version, variant)
        assert {name for name, _, _ in heard} <= {served, before, version}
        self._compare(heard + self._waiter.ask())

    @rule()
    def swap(self) -> None:
        """Let the server change over to what is live."""
        self.counted["swapped"] += 1
        self._waiter.change_over(self._store.current_version())
        self.query()

    @rule()
    def query(self) -> None:
        """Ask the server, in every way there is: it answers as the version it names does."""
        self._compare(self._waiter.ask())

    @rule(target=held)
    def hold(self) -> int:
        """Open what is live, and hold on to it."""
        bundle = open_bundle(self._store.path)
        number = len(self._held) + self._n_published * 1000
        self._held[number] = bundle
        return number

    @rule(number=consumes(held))
    def let_go(self, number: int) -> None:
        """Ask a version that was held on to, which must still be there, and let it go."""
        bundle = self._held.pop(number, None)
        if bundle is not None:
            assert bundle.version in self._store.list_versions()
            assert answers_of(bundle) == self._answers[bundle.version]

    @rule(place=places)
    def roll_back(self, place: int) -> None:
        """Make any version there is the live one."""
        version = self._at(place)
        self.counted["rolled back"] += 1
        assert roll_back(self._store, version) == version == self._store.current_version()

    @rule(place=places, harm=harms, at=st.integers(1, 150))
    def roll_back_harmed(self, place: int, harm: str, at: int) -> None:
        """Go back to a version, and be killed or fail on the way: one of the two is live, and told."""
        before, version = self._store.current_version(), self._at(place)
        command = ("rollback", "--store", str(self._store.path), "--to", version)
        ended = self.nursery.run(Job("", arguments=command, harm=harm, harm_at=at))
        self._check_told(ended, before, version)

    @rule()
    def read_everything(self) -> None:
        """Open every version there is: all are whole."""
        for version in self._store.list_versions():
            assert see(self._store.path, version).answers == self._answers[version]

    @invariant()
    def live_is_whole(self) -> None:
        """Open what is live: it answers as its version must."""
        if self._answers:
            bundle = open_bundle(self._store.path)
            assert answers_of(bundle) == self._answers[bundle.version]

    def teardown(self) -> None:
        """Look at every version once more, and delete the store."""
        if self._answers:
            self.read_everything()
        self._open.close()
        shutil.rmtree(self._folder)

    def _next(self) -> str:
        self._n_published += 1
        return f"v{self._n_published:06d}"

    def _at(self, place: int) -> str:
        versions = self._store.list_versions()
        return versions[place % len(versions)]

    def _publish(self, variant: int, version: str, keep: int) -> Ended:
        self.counted["published"] += 1
        return self.nursery.run(Job(str(self._store.path), variant, version, keep))

    def _judge(self, ended: Ended, before: str, version: str, variant: int) -> None:
        """Look at what a harmed publication has left: one of two versions live, and whole, and told."""
        self._check_told(ended, before, version)
        if version in self._store.list_versions():
            # Renamed into its place: whole, whether or not it is live.
            self._learn(version, variant)

    def _check_told(self, ended: Ended, before: str, version: str) -> None:
        fate = "killed" if ended.code < 0 else "failed" if ended.code else "lived"
        self.counted[f"harmed: {fate}"] += 1
        now = self._store.current_version()
        assert now in (before, version)
        if ended.code >= 0 and before != version:
            assert "Traceback" not in ended.said
            told_live = ended.code == 0 or f"{version} is live" in ended.said
            assert told_live == (now == version), ended.said

    def _compare(self, heard: list[tuple[str, int, Told]]) -> None:
        self.counted["answers"] += len(heard)
        for version, at, told in heard:
            assert self._answers[version][at] == told

    def _learn(self, version: str, variant: int) -> None:
        """Remember what a version answers, and that its variant always answers so."""
        try:
            answers = see(self._store.path, version).answers
        except BundleError as error:
            raise AssertionError(f"{version} is not whole") from error
        assert self._variant_answers.setdefault(variant, answers) == answers
        self._answers[version] = answers
