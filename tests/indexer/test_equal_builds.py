"""Builds of the same data, seed and libraries by one thread are equal, however busy the machine is."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ilk.ann import IndexKind
from ilk.bundle import Store
from ilk.bundle.manifest import MANIFEST_NAME, TIMES, IndexRecord, without_times
from ilk.space import SpaceKey
from ilk.types import Target
from ilk.vectors import unit_rows
from indexer.indexing import bench
from indexer.indexing.indices import build_index
from indexer.settings import BuildSettings

ROOT = Path(__file__).parents[2]
ITEMS = SpaceKey(Target.ITEMS, by_likeness=True)
# Every kind of the middle is tried on as many rows as this.
N_ROWS = 4_500


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the flags that name a few hundred people's stars for a few hundred things."""
    folder, rng = tmp_path_factory.mktemp("tables"), np.random.default_rng(0)
    pairs = np.unique(rng.zipf(1.3, size=(9_000, 2)) % 400, axis=0)
    stars = rng.integers(1, 6, len(pairs))
    ratings = [f"u{u},{i},{s}" for (u, i), s in zip(pairs.tolist(), stars.tolist(), strict=True)]
    items = [f"{i},Thing {i},{'Drama|War' if i % 3 else 'Comedy'}" for i in range(400)]
    (folder / "ratings.csv").write_text("\n".join(["user,item,rating", *ratings]) + "\n")
    (folder / "items.csv").write_text("\n".join(["id,title,genres", *items]) + "\n")
    return ["--interactions", str(folder / "ratings.csv"), "--items", str(folder / "items.csv")]


def built(tables: list[str], store: Path, n_beside: int) -> dict[str, Any]:
    """Return the manifest of a build by one thread while so many processes do nothing, hard."""
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "indexer", "build", *tables, "--store", str(store)]
    command += ["--no-evaluate", "--factors", "8", "--iterations", "2", "--quiet"]
    beside = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n_beside)]
    try:
        subprocess.run(command, cwd=ROOT, env=os.environ | one_thread, check=True)
    finally:
        for process in beside:
            process.kill()
            process.wait()
    folder = Store(store).folder_of(Store(store).current_version())
    values: dict[str, Any] = json.loads((folder / MANIFEST_NAME).read_bytes())
    return values


def test_two_processes_under_different_load_write_the_same_manifest(
    tables: list[str], tmp_path: Path
) -> None:
    idle, busy = built(tables, tmp_path / "idle", 0), built(tables, tmp_path / "busy", 2)
    assert idle["digest"] != busy["digest"]
    assert without_times(idle) == without_times(busy)
    assert json.dumps(without_times(idle)) == json.dumps(without_times(busy))


def chosen(
    monkeypatch: pytest.MonkeyPatch, seconds: np.random.Generator
) -> tuple[IndexRecord, list[IndexRecord]]:
    """Return the choice for clustered vectors while the clock says whatever it likes."""
    monkeypatch.setattr(bench, "_cpu_s", lambda _: float(seconds.exponential()))
    rng = np.random.default_rng(3)
    around = rng.standard_normal((60, 12), dtype=np.float32)
    factors = around[rng.integers(60, size=N_ROWS)]
    factors = unit_rows(factors + 0.4 * rng.standard_normal(factors.shape, dtype=np.float32))
    content = unit_rows(rng.random((N_ROWS, 4), dtype=np.float32))
    _, record, rejected = build_index(ITEMS, factors, content, (factors, content), BuildSettings())
    return record, rejected


def timeless(record: IndexRecord) -> IndexRecord:
    rows = tuple(replace(row, cpu_us=0.0) for row in record.recall)
    return replace(record, build_s=0.0, recall=rows)


def test_the_choice_does_not_depend_on_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    one, one_rejected = chosen(monkeypatch, np.random.default_rng(1))
    other, other_rejected = chosen(monkeypatch, np.random.default_rng(2))
    assert [row.cpu_us for row in one.recall] != [row.cpu_us for row in other.recall]
    assert timeless(one) == timeless(other)
    assert list(map(timeless, one_rejected)) == list(map(timeless, other_rejected))
    assert {r.kind for r in one_rejected} | {one.kind} == {
        IndexKind.FLAT.value,
        IndexKind.PQ.value,
        IndexKind.IVF.value,
    }


def test_times_are_left_out_wherever_they_stand() -> None:
    values = dict.fromkeys(TIMES, 1) | {"kept": [{"cpu_us": 1.0, "effort": 3}], "also": {}}
    assert without_times(values) == {"kept": [{"effort": 3}], "also": {}}
