"""Runs the fault bars: ``python -m benchmarks.faults`` runs all; each is a command of its own.

Every command prints its seed first, then what it counted, and ends with 3 if anything was violated.
"""

import sys

from cyclopts import App
from hypothesis import HealthCheck, Phase, settings
from hypothesis import seed as seeded
from hypothesis.stateful import run_state_machine_as_test

from benchmarks.faults import damaged_bundles, full_disk, syscalls
from benchmarks.faults.hostile_indices import attack
from benchmarks.faults.kills import kill_often
from benchmarks.faults.nursery import Nursery
from benchmarks.faults.store_machine import StoreMachine
from benchmarks.faults.verdict import SEED, Violated, counts, judge
from benchmarks.faults.wire_bars import run_bodies, run_connections, run_fields
from ilk.ann import IndexKind
from ilk.program import exits

app = App(
    name="faults", help="Break disks, processes and files, and count what gives.", version_flags=[]
)


# What is done over the wire, in a module of its own.
app.command(run_bodies, name="bodies")
app.command(run_connections, name="connections")
app.command(run_fields, name="fields")


@app.command(name="syscalls")
def run_syscalls(*, seed: int = SEED, every: int = 1) -> None:
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
        print(f"{name:<16} {counts(outcomes)}")
    judge("syscalls", len(results), [r.violation for r in results])


@app.command(name="indices")
def run_indices(*, seed: int = SEED, files: int = 2000) -> None:
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
        print(f"{kind.value:<16} {counts(came_of)}", flush=True)
        violations += ["killed"] * came_of["killed"] + ["lied"] * came_of["lied"]
    judge("indices", files * len(IndexKind), violations)


@app.command(name="damage")
def run_damage(*, seed: int = SEED, flips: int = 1000) -> None:
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
        print(f"{'files':<16} {counts(came_of)}", flush=True)
        flipped = damaged_bundles.flip_everywhere(nursery, flips, seed)
    print(f"{'bits':<16} {counts(flipped)}")
    both = came_of + flipped
    judge("damage", both.total(), [n for n in both.elements() if n != "refused"])


@app.command(name="disk")
def run_disk(*, seed: int = SEED, trials: int = 100) -> None:
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
    print(f"{'a small disk':<16} {counts(outcomes)}")
    with Nursery() as nursery:
        limited, more = full_disk.limit(nursery, trials, seed)
    print(f"{'small files':<16} {counts(limited)}")
    judge("disk", (outcomes + limited).total(), violations + more)


@app.command(name="kills")
def run_kills(*, seed: int = SEED, kills: int = 200) -> None:
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
    print(f"{'indexers':<16} {counts(counted.outcomes)}")
    print(f"{'answers':<16} {counted.n_answers:,} from {len(counted.versions)} versions")
    judge("kills", counted.outcomes.total(), counted.violations)


@app.command(name="machine")
def run_machine(*, seed: int = SEED, runs: int = 500, steps: int = 20) -> None:
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
    print(f"{'steps':<16} {counts(StoreMachine.counted)}")
    judge("machine", StoreMachine.n_runs, [])


@app.default
def run_all(*, seed: int = SEED) -> None:
    """Run every bar at its full size; takes about two hours.

    Parameters
    ----------
    seed
        Of everything.
    """
    failed: list[str] = []
    store = (run_damage, run_indices, run_disk, run_kills, run_syscalls, run_machine)
    for bar in (*store, run_bodies, run_connections, run_fields):
        try:
            bar(seed=seed)
        except Violated as violated:
            failed.append(str(violated))
    if failed:
        raise Violated("; ".join(failed))


if __name__ == "__main__":
    sys.exit(exits.run(app))
