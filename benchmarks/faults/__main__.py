"""Runs the fault bars: ``python -m benchmarks.faults`` runs all; each is a command of its own.

Every command prints its seed first, then what it counted, and ends with 3 if anything was violated.
"""

import contextlib
import math
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from cyclopts import App
from hypothesis import HealthCheck, Phase, settings
from hypothesis import seed as seeded
from hypothesis.stateful import run_state_machine_as_test

from benchmarks.faults import damaged_bundles, full_disk, syscalls, wire
from benchmarks.faults.hostile_indices import attack
from benchmarks.faults.kills import kill_often
from benchmarks.faults.nursery import Nursery
from benchmarks.faults.sound import sound_requests
from benchmarks.faults.store_machine import StoreMachine
from benchmarks.faults.watched import RECOVERY_S, Watched, watched
from ilk import exits
from ilk.ann import IndexKind
from ilk.bundle import open_bundle
from ilk.errors import IlkError
from indexer.progress import Progress
from indexer.publishing import assemble_and_publish
from indexer.sample import load_sample
from indexer.settings import BuildSettings

app = App(
    name="faults", help="Break disks, processes and files, and count what gives.", version_flags=[]
)
_SEED = 20261123


class Violated(IlkError):
    """A bar was not held."""


@app.command(name="syscalls")
def run_syscalls(*, seed: int = _SEED, every: int = 1) -> None:
    """Let every fsync, rename, open, mkdir, write and unlink of a publication fail, or kill it there.

    Parameters
    ----------
    seed
        Of the order of the faults.
    every
        Try every so-manieth point only.
    """
    print(f"syscalls: seed {seed}")
    try:
        syscalls.require_strace()
    except syscalls.NoTracer as reason:
        print(f"skipped: {reason}")
        return
    results = []
    with Nursery() as nursery:
        for result in syscalls.sweep(nursery, every, seed):
            results.append(result)
            if result.violation:
                print(f"VIOLATION {result}", flush=True)
    for name, outcomes in sorted(syscalls.tally(results).items()):
        print(f"{name:<16} {_counts(outcomes)}")
    _judge("syscalls", len(results), [r.violation for r in results])


@app.command(name="indices")
def run_indices(*, seed: int = _SEED, files: int = 2000) -> None:
    """Open and ask damaged indices whose checksums agree, in a process with little memory.

    Parameters
    ----------
    seed
        Of the damage.
    files
        Damaged files of each kind of index.
    """
    print(f"indices: seed {seed}")
    violations = []
    for kind in IndexKind:
        came_of = attack(kind, files, seed)
        print(f"{kind.value:<16} {_counts(came_of)}", flush=True)
        violations += ["killed"] * came_of["killed"] + ["lied"] * came_of["lied"]
    _judge("indices", files * len(IndexKind), violations)


@app.command(name="damage")
def run_damage(*, seed: int = _SEED, flips: int = 1000) -> None:
    """Flip bits of a bundle that a server is about to change over to; cut, empty, remove and add files.

    Parameters
    ----------
    seed
        Of the places.
    flips
        Bits to turn over, one at a time.
    """
    print(f"damage: seed {seed}")
    with Nursery() as nursery:
        came_of = damaged_bundles.harm_every_file(nursery)
        print(f"{'files':<16} {_counts(came_of)}", flush=True)
        flipped = damaged_bundles.flip_everywhere(nursery, flips, seed)
    print(f"{'bits':<16} {_counts(flipped)}")
    both = came_of + flipped
    _judge("damage", both.total(), [n for n in both.elements() if n != "refused"])


@app.command(name="disk")
def run_disk(*, seed: int = _SEED, trials: int = 100) -> None:
    """Publish to disks that fill up on the way.

    Parameters
    ----------
    seed
        Of how much room is left each time.
    trials
        Publications for each way of filling.
    """
    print(f"disk: seed {seed}")
    outcomes, violations = full_disk.fill(trials, seed)
    print(f"{'a small disk':<16} {_counts(outcomes)}")
    with Nursery() as nursery:
        limited, more = full_disk.limit(nursery, trials, seed)
    print(f"{'small files':<16} {_counts(limited)}")
    _judge("disk", (outcomes + limited).total(), violations + more)


@app.command(name="kills")
def run_kills(*, seed: int = _SEED, kills: int = 200) -> None:
    """Kill indexers at random moments while a server is asked.

    Parameters
    ----------
    seed
        Of the moments.
    kills
        Indexers to start.
    """
    print(f"kills: seed {seed}")
    with Nursery() as nursery:
        counted = kill_often(nursery, kills, seed)
    print(f"{'indexers':<16} {_counts(counted.outcomes)}")
    print(f"{'answers':<16} {counted.n_answers:,} from {len(counted.versions)} versions")
    _judge("kills", counted.outcomes.total(), counted.violations)


@app.command(name="machine")
def run_machine(*, seed: int = _SEED, runs: int = 500, steps: int = 20) -> None:
    """Publish, swap, query, roll back, hold and kill in any order, by a Hypothesis state machine.

    Parameters
    ----------
    seed
        Of the orders.
    runs
        Stores, each from its beginning.
    steps
        At most so many steps in each.
    """
    print(f"machine: seed {seed}", flush=True)
    with Nursery() as nursery:
        StoreMachine.nursery = nursery
        run_state_machine_as_test(
            seeded(seed)(StoreMachine),
            settings=settings(
                max_examples=runs,
                stateful_step_count=steps,
                deadline=None,
                database=None,
                phases=(Phase.generate, Phase.shrink),
                suppress_health_check=list(HealthCheck),
            ),
        )
    print(f"{'steps':<16} {_counts(StoreMachine.counted)}")
    _judge("machine", StoreMachine.n_runs, [])


@app.command(name="bodies")
def run_bodies(*, seed: int = _SEED, bodies: int = 20_000) -> None:
    """Send mutated requests of every rpc to a server with workers and a supervisor.

    Parameters
    ----------
    seed
        Of the mutations.
    bodies
        Requests, and messages of streams.
    """
    print(f"bodies: seed {seed}")
    with _attended() as (seen, sound):
        wire.bend(seen.address, sound, bodies // 50 + 200, seed + 1)
        seen.settle()
        heard = wire.bend(seen.address, sound, bodies, seed)
        print(f"{'ends':<16} {_counts(heard.codes)}")
        _judge("bodies", bodies, heard.violations + _recovered(seen))


@app.command(name="connections")
def run_connections(*, seed: int = _SEED, connections: int = 1000) -> None:
    """Break HTTP/2 connections to a server with workers, its health and metrics ports too.

    Parameters
    ----------
    seed
        Of the damage.
    connections
        How many, one kind of damage after the other.
    """
    print(f"connections: seed {seed}")
    with _attended() as (seen, sound):
        wire.bend(seen.address, sound, 200, seed)
        wire.break_connections(seen, connections // 10 + 20, seed + connections)
        seen.settle()
        heard, by_kind = wire.break_connections(seen, connections, seed)
        for kind, n in sorted(by_kind.items()):
            print(f"  {kind:<40} {n:,}")
        print(f"{'ends':<16} {_counts(heard.codes)}")
        _judge("connections", connections, heard.violations + _recovered(seen))


@contextlib.contextmanager
def _attended() -> Iterator[tuple[Watched, dict[str, tuple[bytes, ...]]]]:
    """Run a server of the embedded sample; yield it, and sound requests to it."""
    with tempfile.TemporaryDirectory() as name:
        store, quick = Path(name) / "store", BuildSettings(factors=16, iterations=6, evaluate=False)
        data, quiet = load_sample(n_users=600), Progress(quiet=True)
        assemble_and_publish(data, store, quick, {}, quiet)
        sound = sound_requests(open_bundle(store).users.vocabulary.id_of(0))
        with watched(store, Path(name)) as seen:
            yield seen, sound


def _recovered(seen: Watched) -> list[str]:
    """Say how the server stands after what was done to it; return what is wrong."""
    took_s = seen.recovery_s()
    print(f"{'latency':<16} back to normal after {took_s:.2f} s")
    print(f"{'memory':<16} {seen.growth()}")
    late = [] if took_s < math.inf else [f"latency is not back to normal after {RECOVERY_S:g} s"]
    return seen.problems() + late


@app.default
def run_all(*, seed: int = _SEED) -> None:
    """Run every bar at its full size; takes about an hour.

    Parameters
    ----------
    seed
        Of everything.
    """
    failed: list[str] = []
    store = (run_damage, run_indices, run_disk, run_kills, run_syscalls, run_machine)
    for bar in (*store, run_bodies, run_connections):
        try:
            bar(seed=seed)
        except Violated as violated:
            failed.append(str(violated))
    if failed:
        raise Violated("; ".join(failed))


def _counts(outcomes: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(outcomes.items()))


def _judge(bar: str, n_tried: int, violations: Iterable[str]) -> None:
    found = [violation for violation in violations if violation]
    print(f"{bar}: {n_tried:,} tried, {len(found)} violations", flush=True)
    if found:
        raise Violated(f"{bar}: {Counter(found).most_common(3)}")


if __name__ == "__main__":
    sys.exit(exits.run(app))
