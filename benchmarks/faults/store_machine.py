"""Publish, swap, query, roll back, hold, kill: in any order, a store is whole and tells the truth.

A Hypothesis state machine. Publications run in children of the nursery, which are killed, or fail, at any
thing they ask of the file system; the model remembers what each version must answer.
"""

import shutil
import tempfile
from pathlib import Path
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
)

from benchmarks.faults.nursery import N_VARIANTS, Job, Nursery
from benchmarks.faults.oracle import Answers, answers_of, leftovers, see
from ilk import bundle as bundles
from ilk.bundle import Store, open_bundle
from ilk.errors import BundleError
from indexer.upkeep import roll_back
from server.live import Live

_NEVER_S = 3600.0
variants = st.integers(0, N_VARIANTS - 1)
keeps = st.integers(1, 3)


class StoreMachine(RuleBasedStateMachine):
    """A store, a server that serves it, and readers that hold on to versions.

    ``nursery`` must be set before a run.
    """

    nursery: ClassVar[Nursery]
    n_runs: ClassVar[int] = 0
    held = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        StoreMachine.n_runs += 1
        self._folder = tempfile.mkdtemp(prefix="ilk-machine-")
        self._store = Store(Path(self._folder) / "store")
        self._answers: dict[str, Answers] = {}
        self._variant_answers: dict[int, Answers] = {}
        self._live = Live(self._store.path, _NEVER_S)
        self._n_published = 0
        self._held: dict[int, bundles.Bundle] = {}

    @initialize(variant=variants)
    def begin(self, variant: int) -> None:
        """Publish a first version and serve it."""
        self.publish(variant, 3)
        self._live.refresh()

    @rule(variant=variants, keep=keeps)
    def publish(self, variant: int, keep: int) -> None:
        """Publish undisturbed: the version is live, and what must be kept is kept."""
        before = set(self._store.list_versions())
        version = self._next()
        ended = self.nursery.run(Job(str(self._store.path), variant, version, keep))
        assert ended.code == 0, ended.said
        assert self._store.current_version() == version
        self._learn(version, variant)
        left = set(self._store.list_versions())
        assert left >= {version} | set(sorted(before | {version})[-keep:])
        assert left >= {b.version for b in self._held.values()} & before
        assert leftovers(self._store) == []

    @rule(
        variant=variants,
        keep=keeps,
        harm=st.sampled_from(["kill", "kill", "ENOSPC", "EIO"]),
        at=st.integers(1, 700),
    )
    def publish_harmed(self, variant: int, keep: int, harm: str, at: int) -> None:
        """Publish and be killed, or fail: the old version is live or the new one, and whole."""
        before, version = self._store.current_version(), self._next()
        job = Job(str(self._store.path), variant, version, keep, harm=harm, harm_at=at)
        ended = self.nursery.run(job)
        now = self._store.current_version()
        assert now in (before, version)
        if ended.code >= 0:
            assert "Traceback" not in ended.said
            told_live = ended.code == 0 or f"{version} is live" in ended.said
            assert told_live == (now == version), ended.said
        if version in self._store.list_versions():
            # Renamed into its place: whole, whether or not it is live.
            self._learn(version, variant)

    @rule()
    def swap(self) -> None:
        """Let the server change over to what is live."""
        self._live.refresh()
        assert self._live.get().bundle.version == self._store.current_version()

    @rule()
    def query(self) -> None:
        """Ask the server: it answers as the version it names does."""
        served = self._live.get().bundle
        assert answers_of(served) == self._answers[served.version]

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

    @precondition(lambda self: len(self._store.list_versions()) > 1)
    @rule(data=st.data())
    def roll_back(self, data: st.DataObject) -> None:
        """Make any version there is the live one."""
        version = data.draw(st.sampled_from(self._store.list_versions()))
        assert roll_back(self._store, version) == version == self._store.current_version()

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
        shutil.rmtree(self._folder)

    def _next(self) -> str:
        self._n_published += 1
        return f"v{self._n_published:06d}"

    def _learn(self, version: str, variant: int) -> None:
        """Remember what a version answers, and that its variant always answers so."""
        try:
            answers = see(self._store.path, version).answers
        except BundleError as error:
            raise AssertionError(f"{version} is not whole") from error
        assert self._variant_answers.setdefault(variant, answers) == answers
        self._answers[version] = answers
