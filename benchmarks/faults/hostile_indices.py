"""Indices that lie, with checksums that agree: each is opened and asked as a server would.

The asking is done by a process with little memory, for faiss kills its process where it is misled. Run by
itself, this module is that process: it takes damaged files one by one, and says what came of each.
"""

import resource
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.faults.damage import mutate
from ilk.ann import Index, IndexKind, IndexSpec, use_threads
from ilk.errors import BundleCorrupt
from ilk.index_file import check_contents
from ilk.vectors import Float32Matrix

# A width that every kind stores as it is.
N_ROWS, DIM = 300, 16
_MEMORY_BYTES = 2 << 30
_QUERIES = 4


def attack(kind: IndexKind, n_files: int, seed: int) -> Counter[str]:
    """Return how often a damaged index of ``kind`` was refused, answered or lied, or killed its process.

    ``killed`` and ``lied`` must be 0: a row outside the data, or padding where rows are left.
    """
    rng = np.random.default_rng(seed)
    came_of: Counter[str] = Counter(killed=0, lied=0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole = _build(kind, folder / "whole", seed)
        left = list(_damaged(whole, folder, n_files, rng))
        while left:
            told = _probe(kind, left)
            came_of.update(told)
            if len(told) < len(left):
                came_of["killed"] += 1
            left = left[len(told) + 1 :]
    return came_of


def _build(kind: IndexKind, path: Path, seed: int) -> bytes:
    vectors = np.random.default_rng(seed).standard_normal((N_ROWS, DIM), dtype=np.float32)
    Index.build(vectors, IndexSpec(kind), seed).save(path)
    return path.read_bytes()


def _damaged(whole: bytes, folder: Path, n_files: int, rng: np.random.Generator) -> Iterator[Path]:
    at = 0
    while at < n_files:
        damaged = mutate(whole, rng)
        if damaged != whole:
            path = folder / f"{at}.faiss"
            path.write_bytes(damaged)
            at += 1
            yield path


def _probe(kind: IndexKind, files: list[Path]) -> list[str]:
    """Return what came of the files, up to the one that killed the process."""
    run = subprocess.run(
        [sys.executable, "-m", __spec__.name, kind.value],
        input="\n".join(map(str, files)),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    return run.stdout.split()


def _ask(path: Path, kind: IndexKind, queries: Float32Matrix) -> str:
    try:
        check_contents(path, kind.value, N_ROWS, DIM)
        index = Index.open(path, kind, N_ROWS, DIM)
    except BundleCorrupt:
        return "refused"
    some = np.arange(N_ROWS) % 7 == 0
    bitmap = np.packbits(some, bitorder="little")
    for k in (1, 10, N_ROWS):
        for effort in IndexSpec(kind).efforts(N_ROWS):
            found = index.nearest(queries, k, effort)
            if found.rows.min() < -1 or found.rows.max() >= N_ROWS:
                return "lied"
            if kind.has_nibbles:
                continue
            rows = index.nearest(queries, min(k, 20), effort, bitmap).rows
            if not some[rows[rows >= 0]].all():
                return "lied"
    return "answered"


def main() -> None:
    """Say what comes of each file that stdin names, one word a line."""
    use_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    kind = IndexKind(sys.argv[1])
    queries = np.random.default_rng(0).standard_normal((_QUERIES, DIM), dtype=np.float32)
    for line in sys.stdin.read().splitlines():
        print(_ask(Path(line), kind, queries), flush=True)


if __name__ == "__main__":
    main()
