"""Runs what must hold while the server changes: ``python -m benchmarks.steadiness`` (--help says how)."""

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from cyclopts import App

from benchmarks.data import SAMPLE, Data
from benchmarks.steadiness import agreement, changes, ends, soak
from ilk.program import exits

app = App(
    name="steadiness",
    help="Change bundles, stop servers and kill workers under load; ask from many threads; soak.",
    version_flags=[],
)


@app.default
def run(
    *,
    data: Data = SAMPLE,
    swaps: int = 200,
    rollbacks: int = 20,
    stops: int = 20,
    kills: int = 20,
    queries: int = 2000,
    calls: int = 500_000,
) -> None:
    """Measure all of it, or what is not set to 0.

    Parameters
    ----------
    swaps
        Changes of the live bundle.
    rollbacks
        How many of them are taken back.
    stops
        Servers stopped with SIGTERM.
    kills
        Workers ended with SIGKILL, twice: 8 callers have a client each, then 64 share two.
    queries
        That sixteen threads ask as one did before, of each kind of index.
    calls
        Of the soak; the first fifth settles the server.
    """
    interactions = data.read()
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder)
        changes.publish_versions(interactions, store)
        if swaps:
            _show("changes", changes.measure(store, swaps, rollbacks))
        if stops:
            _show("stops", ends.measure_stops(store, stops))
        if kills:
            _show("kills", ends.measure_kills(store, kills))
            shared = ends.measure_kills(store, kills, n_callers=64, n_clients=2)
            _show("kills, 64 share 2 clients", shared)
        if queries:
            _show("agreement", agreement.measure(interactions, queries))
        if calls:
            _show("soak", soak.measure(store, calls, calls // 5))


def _show(what: str, figures: Mapping[str, float]) -> None:
    for name, figure in figures.items():
        print(f"{what + ': ' + name:<74} {figure:14.4f}", flush=True)


if __name__ == "__main__":
    sys.exit(exits.run(app))
