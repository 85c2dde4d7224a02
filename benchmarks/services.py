"""What answering costs beside other services, on the same vectors and at the same recall.

Ilk comes first: the recall that its answers really have is the one that every other service is tuned
to, within 0.005. Each is asked alone, its server in processes of its own; server CPU is read from the
system, less what the server spends while nobody asks. Ilk is measured again between the others, and
each is held against what it cost next to it. Ilk is asked by user id, as it is meant to be;
the others are sent the vector.
"""

import tempfile
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.own_service import OwnService
from benchmarks.peers.environment import PeerFailed, answer_of, installed
from benchmarks.peers.service import TOLERANCE, K, Matrix, loaded, measure
from ilk.ann import Index, IndexKind, IndexSpec
from ilk.bundle import open_bundle
from ilk.types import MAX_RECALL
from indexer.build import build
from indexer.interactions import Interactions
from indexer.progress import Progress, note
from indexer.settings import BuildSettings

PEERS = ("redisearch", "fastapi_faiss", "pgvector", "chroma", "milvus_lite", "milvus")
# Bars: batched, Ilk is ahead by this factor of everyone; single, of everyone but one.
_BATCH_BAR = 1.5
_SINGLE_BAR = {"redisearch": 1 / 1.2}
# Clusters, the share of variance that they explain, and how variance falls by direction.
_N_CLUSTERS = 200
_OF_CLUSTER = 0.5
_SPECTRUM_DECAY = 0.7
_NORM_SIGMA = 0.3


def compare_on_factors(
    data: Interactions, recall: float, index: IndexKind | None, peers: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Compare on the ALS factors that a build of ``data`` gives: users asking for items.

    Returns
    -------
    dict
        What :func:`benchmarks.peers.service.measure` says of each service, by name; ``{"failed": why}``
        for a peer that could not be run.
    """
    with tempfile.TemporaryDirectory(prefix="ilk-services-") as folder:
        store = Path(folder) / "store"
        build(data, store, BuildSettings(evaluate=False, index=index), Progress(quiet=True))
        bundle = open_bundle(store)
        vectors = _written(bundle.items.factors, bundle.users.factors, Path(folder))
        own = OwnService(recall, index, bundle, store)
        return _compare(own, vectors, peers)


def compare_on_clusters(
    n_items: int, dim: int, recall: float, index: IndexKind | None, peers: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Compare on vectors drawn around centres, their norms spread as factors' are; see above."""
    with tempfile.TemporaryDirectory(prefix="ilk-services-") as folder:
        items, queries = _clustered(n_items, 1000, dim)
        vectors = _written(items, queries, Path(folder))
        own = OwnService(recall, index, None, Path(folder) / "store")
        return _compare(own, vectors, peers)


def table(found: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yield the lines that show a comparison."""
    yield (
        f"{'service':<14} {'recall':>7} {'effort':>6} {'single: us':>11} {'/ Ilk':>6} {'p50 ms':>8} "
        f"{'p99 ms':>8} {'batch: us':>10} {'/ Ilk':>6} {'p50 ms':>8} {'load s':>7}"
    )
    for name, told in found.items():
        if "failed" in told:
            yield f"{name:<14} {told['failed']}"
            continue
        single, batch = told["single"], told["batch"]
        yield (
            f"{name:<14} {told['recall']:7.4f} {told['effort']:6d} {single['cpu_us']:11.1f} "
            f"{_ratio(told, 'single'):6.2f} {single['p50_ms']:8.3f} "
            f"{single['p99_ms']:8.3f} {batch['cpu_us']:10.1f} "
            f"{_ratio(told, 'batch'):6.2f} {batch['p50_ms']:8.2f} "
            f"{told['load_s']:7.1f}"
        )
    yield "us: server CPU per query, less idle; p50, p99: of a call, one client; batches of 64"
    yield "/ Ilk: against what Ilk cost just before and after, in the same run"
    yield from _verdicts(found)


def _compare(own: OwnService, vectors: Path, peers: Sequence[str]) -> dict[str, dict[str, Any]]:
    note("ilk")
    with loaded(own, vectors) as at_work:
        found = {"ilk": measure(at_work, MAX_RECALL)}
        before = found["ilk"]
        for name in peers:
            note(name)
            try:
                found[name] = _measured(name, vectors, found["ilk"]["recall"])
            except (PeerFailed, ValueError) as error:
                found[name] = {"failed": str(error)}
                continue
            # A machine is not as quick at noon as in the morning: what Ilk cost just before and after.
            after = at_work.costs(0)
            found[name]["ilk_cpu_us"] = {
                kind: (before[kind]["cpu_us"] + after[kind]["cpu_us"]) / 2 for kind in after
            }
            before = after
            note(f"  {found[name]}")
    return found


def _measured(peer: str, vectors: Path, recall: float) -> Any:
    python = installed(peer, import_module(f"benchmarks.peers.{peer}").REQUIREMENTS)
    return answer_of(python, f"peers.{peer}", str(vectors), str(recall))


def _verdicts(found: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yield how each peer stands to the bars, and what keeps a row from being a fair one."""
    ilk = found["ilk"]
    for name, told in found.items():
        if name == "ilk" or "failed" in told:
            continue
        # Recall is rounded to four places.
        if abs(told["recall"] - ilk["recall"]) > TOLERANCE + 1e-4:
            yield f"{name}: recall {told['recall']} is not within {TOLERANCE} of {ilk['recall']}"
        for kind, bar in (("single", _SINGLE_BAR.get(name, 1.0)), ("batch", _BATCH_BAR)):
            ratio = _ratio(told, kind)
            if ratio < bar:
                yield f"{name}: {kind} {ratio:.2f} times Ilk's CPU, the bar is {bar:.2f}: missed"


def _ratio(told: dict[str, Any], kind: str) -> float:
    cpu_us: float = told[kind]["cpu_us"]
    beside_us: float = told.get("ilk_cpu_us", {kind: cpu_us})[kind]
    return cpu_us / beside_us


def _written(items: Matrix, queries: Matrix, folder: Path) -> Path:
    """Write the vectors and each query's true K-th score where every service will read them."""
    exact = Index.build(np.ascontiguousarray(items), IndexSpec(IndexKind.FLAT), 0)
    floors = exact.nearest(np.ascontiguousarray(queries), K).scores[:, K - 1]
    for name, array in (("items", items), ("queries", queries), ("floors", floors)):
        np.save(
            folder / f"{name}.npy",
            np.ascontiguousarray(array, dtype=np.float32),
            allow_pickle=False,
        )
    return folder


def _clustered(n_items: int, n_queries: int, dim: int) -> tuple[Matrix, Matrix]:
    """Draw vectors as factors are: few directions say most, some tastes are common, norms differ."""
    rng = np.random.default_rng(0)
    scales = np.arange(1, dim + 1) ** (-_SPECTRUM_DECAY / 2)
    centres = rng.standard_normal((_N_CLUSTERS, dim)) * scales
    sizes = 1 / np.arange(1, _N_CLUSTERS + 1)

    def near(n: int) -> npt.NDArray[np.float64]:
        drawn = centres[rng.choice(_N_CLUSTERS, n, p=sizes / sizes.sum())]
        own: npt.NDArray[np.float64] = rng.standard_normal((n, dim)) * scales
        own *= np.sqrt(1 - _OF_CLUSTER)
        own += np.sqrt(_OF_CLUSTER) * drawn
        return own

    items = near(n_items) * rng.lognormal(0, _NORM_SIGMA, n_items)[:, None]
    return items.astype(np.float32), near(n_queries).astype(np.float32)
