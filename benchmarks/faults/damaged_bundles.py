"""One bit turned over, a file cut, emptied, gone or added: each must be refused before faiss is called.

The damage is done to a version that a server is about to change over to; the version before must go on
being served.
"""

import contextlib
import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import faiss
import numpy as np

from benchmarks.faults.damage import flip_bit
from benchmarks.faults.nursery import Job, Nursery
from benchmarks.faults.oracle import answers_of
from ilk.bundle import Store
from server.bundles.live import Live

_NEVER_S = 3600.0
Damage = Callable[[bytes], bytes | None]


def flip_everywhere(nursery: Nursery, n_flips: int, seed: int) -> Counter[str]:
    """Flip one bit at a time, at ``n_flips`` random places; return what came of each.

    Files are drawn evenly, then the bit, so that small files such as CURRENT are met as often as large
    ones. ``refused`` is what all should be; ``believed``, ``parsed`` and ``stopped`` must be 0: the
    damage was not seen, or not before faiss, or the version before was not served any more.
    """
    rng = np.random.default_rng(seed)
    with _Bench(nursery) as bench:
        files = bench.files()
        came_of: Counter[str] = Counter(believed=0, parsed=0, stopped=0)
        for _ in range(n_flips):
            path = files[rng.integers(len(files))]
            bit = int(rng.integers(8 * path.stat().st_size))
            came_of[bench.suffer(path, lambda data, at=bit: flip_bit(data, at))] += 1  # type: ignore[misc]
    return came_of


def harm_every_file(nursery: Nursery) -> Counter[str]:
    """Cut, empty and remove every file in turn, and add files; return what came of each, as above."""
    cuts: tuple[Damage, ...] = (
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2],
        lambda _: b"",
        lambda data: data + b"\0",
        lambda _: None,
    )
    with _Bench(nursery) as bench:
        came_of: Counter[str] = Counter(believed=0, parsed=0, stopped=0)
        for path in bench.files():
            for cut in cuts:
                came_of[bench.suffer(path, cut)] += 1
        for extra in ("extra.npy", ".hidden", "users.faiss", "manifest.json.old"):
            came_of[bench.suffer(bench.second / extra, lambda _: b"x")] += 1
    return came_of


class _Bench:
    """A store of two versions, of which a server serves the first; a context manager."""

    def __init__(self, nursery: Nursery) -> None:
        self._stack = contextlib.ExitStack()
        store = Store(Path(self._stack.enter_context(tempfile.TemporaryDirectory())))
        for number in (1, 2):
            nursery.run(Job(str(store.path), number, f"v{number}"))
        self._store = store
        self.second = store.folder_of("v2")
        store.point_current_at("v1")
        self._live = Live(store.path, _NEVER_S)
        self._live.refresh()
        self._answers = answers_of(self._live.get().bundle)
        self._n_parsed = 0

    def __enter__(self) -> "_Bench":
        log = logging.getLogger("ilk.server")
        before = log.level
        log.setLevel(logging.CRITICAL + 1)
        self._stack.callback(log.setLevel, before)
        self._stack.enter_context(self._faiss_counted())
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def files(self) -> list[Path]:
        """Return every file of the second version, and CURRENT."""
        return [*sorted(self.second.iterdir()), self._store.current_file]

    def suffer(self, path: Path, damage: Damage) -> str:
        """Damage one file, let the server look, say what came of it, and mend the file."""
        self._store.point_current_at("v1")
        self._live.refresh()
        self._store.point_current_at("v2")
        whole = path.read_bytes() if path.exists() else None
        damaged = damage(whole or b"")
        _put(path, damaged)
        self._n_parsed = 0
        self._live.refresh()
        _put(path, whole)
        served = self._live.get().bundle
        if served.version != "v1":
            return "believed"
        if self._n_parsed:
            return "parsed"
        return "refused" if answers_of(served) == self._answers else "stopped"

    @contextlib.contextmanager
    def _faiss_counted(self) -> Iterator[None]:
        parse = faiss.read_index

        def counted(*arguments: object) -> object:
            self._n_parsed += 1
            return parse(*arguments)

        faiss.read_index = counted
        try:
            yield
        finally:
            faiss.read_index = parse


def _put(path: Path, data: bytes | None) -> None:
    if data is None:
        path.unlink()
    else:
        path.write_bytes(data)
