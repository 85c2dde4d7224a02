"""A disk that fills while a bundle is published: ``CURRENT`` stays, and the next publication succeeds.

Two ways to fill it: a file system of its own with a few kilobytes left (where one can be mounted, in a
namespace of its own), and a limit on the size of files, which works everywhere.
"""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.faults.nursery import Ended, Job, Nursery
from benchmarks.faults.oracle import Seen, see
from ilk.bundle import Store
from ilk.errors import BundleError

_DISK_BYTES = 2 << 20
_BLOCK_BYTES = 4096


def fill(n_trials: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Publish to disks with room for less than a bundle; return outcomes and violations.

    Uses a mounted disk where the system lets us mount one, else says ``no mount``.
    """
    with tempfile.TemporaryDirectory() as name:
        inner = [sys.executable, "-m", __spec__.name, name, str(n_trials), str(seed)]
        mount = f'mount -t tmpfs -o size={_DISK_BYTES} tmpfs {name} && exec "$@"'
        run = (
            subprocess.run(
                ["unshare", "--mount", "sh", "-c", mount, "sh", *inner],
                capture_output=True,
                text=True,
                check=False,
            )
            if shutil.which("unshare")
            else None
        )
    if run is None or (run.returncode and not run.stdout):
        return Counter({"no mount": 1}), []
    outcomes, violations = Counter[str](), []
    for line in run.stdout.splitlines():
        outcome, _, violation = line.partition("\t")
        outcomes[outcome] += 1
        violations += [violation] if violation else []
    if run.returncode:
        violations.append(run.stderr[-500:])
    return outcomes, violations


def limit(nursery: Nursery, n_trials: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Publish with files limited in size, from nothing to more than the largest; as :func:`fill`."""
    rng = np.random.default_rng(seed)

    def attempt(job: Job) -> Ended:
        # A child takes over the limit that its parent has when it is made: the nursery's own.
        size = int(rng.integers(1, 16_000))
        resource.prlimit(nursery.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        try:
            return nursery.run(job)
        finally:
            unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            resource.prlimit(nursery.pid, resource.RLIMIT_FSIZE, unlimited)

    with tempfile.TemporaryDirectory() as name:
        return _try_often(nursery, Path(name), n_trials, attempt)


def _fill_mounted(folder: Path, n_trials: int, seed: int) -> tuple[Counter[str], list[str]]:
    rng = np.random.default_rng(seed)
    filler = folder / "filler"

    def attempt(job: Job) -> Ended:
        free = shutil.disk_usage(folder).free
        # A bundle of the nursery takes some 230 KB of blocks.
        left = int(rng.integers(0, 80)) * _BLOCK_BYTES
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(free - left, _BLOCK_BYTES))
        try:
            return nursery.run(job)
        finally:
            filler.unlink()

    with Nursery() as nursery:
        return _try_often(nursery, folder, n_trials, attempt)


def _try_often(
    nursery: Nursery, folder: Path, n_trials: int, attempt: Callable[[Job], Ended]
) -> tuple[Counter[str], list[str]]:
    outcomes, violations = Counter[str](), []
    store = Store(folder / "store")
    nursery.run(Job(str(store.path), 0, "first"))
    for trial in range(n_trials):
        before, version = see(store.path), f"v{trial}"
        ended = attempt(Job(str(store.path), trial % 3, version, keep=1))
        outcome, violation = _judged(store, before, version, ended)
        outcomes[outcome] += 1
        violations += [violation] if violation else []
    if nursery.run(Job(str(store.path), 0, "last", keep=1)).code:
        violations.append("a publication after the disk had room again failed")
    return outcomes, violations


def _judged(store: Store, before: Seen, version: str, ended: Ended) -> tuple[str, str]:
    try:
        after = see(store.path)
    except BundleError as error:
        return "refused", f"a reader is refused: {error}"
    if ended.code == 0:
        return "published", "" if after.version == version else f"{after.version} is live"
    if f"{version} is live" in ended.said:
        return "published and told", "" if after.version == version else "it is not live"
    if after != before:
        return "full", f"CURRENT went from {before.version} to {after.version}"
    if "cannot" not in ended.said or "Traceback" in ended.said:
        return "full", f"it said: {ended.said[-300:]}"
    return "full", ""


def main() -> None:
    """Fill the disk mounted at the folder that is named; say what came of each trial, one a line."""
    outcomes, violations = _fill_mounted(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    for outcome in outcomes.elements():
        print(outcome)
    for violation in violations:
        print(f"violated\t{violation}")


if __name__ == "__main__":
    main()
