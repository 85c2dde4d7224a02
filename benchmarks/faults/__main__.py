"""Runs the fault bars: ``python -m benchmarks.faults`` runs all; each is a command of its own.

Every command prints its seed first, then what it counted, and ends with 3 if anything was violated.
"""

import sys
from collections import Counter
from collections.abc import Iterable

from cyclopts import App

from benchmarks.faults import syscalls
from benchmarks.faults.hostile_indices import attack
from benchmarks.faults.nursery import Nursery
from ilk import exits
from ilk.ann import IndexKind
from ilk.errors import IlkError

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


def _counts(outcomes: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(outcomes.items()))


def _judge(bar: str, n_tried: int, violations: Iterable[str]) -> None:
    found = [violation for violation in violations if violation]
    print(f"{bar}: {n_tried:,} tried, {len(found)} violations", flush=True)
    if found:
        raise Violated(f"{bar}: {Counter(found).most_common(3)}")


if __name__ == "__main__":
    sys.exit(exits.run(app))
