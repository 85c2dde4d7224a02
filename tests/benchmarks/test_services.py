"""How services are compared: vectors in a bundle, the least effort for a recall, a network apart."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.own_service import OwnService, publish_vectors
from benchmarks.peers import service as peers
from benchmarks.services import table
from ilk.ann import IndexKind
from ilk.bundle import open_bundle
from ilk.errors import Overloaded
from ilk.types import Query, UserId

REPOSITORY = Path(__file__).parents[2]
RNG = np.random.default_rng(0)
ITEMS = RNG.standard_normal((600, 16)).astype(np.float32)
USERS = RNG.standard_normal((30, 16)).astype(np.float32)
FLOORS = np.sort(USERS @ ITEMS.T, axis=1)[:, -peers.K]


def test_given_vectors_are_what_a_bundle_holds(tmp_path: Path) -> None:
    publish_vectors(ITEMS, USERS, tmp_path, None)
    bundle = open_bundle(tmp_path)
    np.testing.assert_array_equal(bundle.items.factors, ITEMS)
    np.testing.assert_array_equal(bundle.users.factors, USERS)
    assert bundle.items.vocabulary.id_of(7) == "i7"


def test_vectors_that_cannot_be_dealt_out_evenly_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="multiple"):
        publish_vectors(ITEMS, USERS[:29], tmp_path, None)


def test_our_server_finds_the_true_neighbors_of_given_vectors(tmp_path: Path) -> None:
    own = OwnService(0.98, IndexKind.FLAT, None, tmp_path / "store")
    try:
        own.start(tmp_path)
        own.load(ITEMS, USERS)
        single = [own.search([at], 0)[0] for at in range(30)]
        assert own.search(range(30), 0) == single
        assert peers._cpu_s(own) > 0
    finally:
        own.stop()
    truth = np.argsort(-(USERS @ ITEMS.T), axis=1)[:, : peers.K]
    assert single == truth.tolist()


def test_a_refused_query_of_a_batch_does_not_count_as_answered() -> None:
    own = OwnService(0.98, IndexKind.FLAT, None, Path("nowhere"))
    own._queries = [Query(UserId("u0"))] * 2
    own._client = mock.Mock(batch_find_neighbors=lambda _: [Overloaded("full")] * 2)
    with pytest.raises(Overloaded):
        own.search(range(2), 0)


@given(st.integers(peers.K, 900), st.floats(0.5, 0.999))
def test_the_effort_is_the_least_that_reaches_the_recall(needed: int, wanted: float) -> None:
    def recall_at(effort: int) -> float:
        return wanted if effort >= needed else wanted * effort / (needed + 1)

    found = peers._least_effort(recall_at, wanted)
    assert needed <= found <= max(needed + 1, 1.03 * needed)


def test_recall_counts_ties_and_no_row_twice() -> None:
    class Answers:
        def search(self, asked: Sequence[int], effort: int) -> Sequence[Sequence[int]]:
            best = np.argsort(-(USERS[list(asked)] @ ITEMS.T), axis=1)
            # Half of them right, one of those named again and again.
            return [[*row[:5].tolist(), *[int(row[0])] * 5] for row in best]

    at_work = peers.Loaded(Answers(), ITEMS, USERS, FLOORS, 0.0)  # type: ignore[arg-type]
    assert at_work.recall_at(0) == pytest.approx(0.5)


def test_a_comparison_says_which_bars_were_missed() -> None:
    def told(recall: float, single_us: float, batch_us: float) -> dict[str, Any]:
        cost = {"p50_ms": 1.0, "p99_ms": 2.0}
        single, batch = {"cpu_us": single_us, **cost}, {"cpu_us": batch_us, **cost}
        beside = {"single": 100.0, "batch": 10.0}
        told = {"recall": recall, "effort": 9, "load_s": 1.0, "ilk_cpu_us": beside}
        return {**told, "single": single, "batch": batch}

    found: dict[str, dict[str, Any]] = {
        "ilk": told(0.98, 150, 15),
        "redisearch": told(0.981, 84, 15),
        "pgvector": told(0.98, 99, 14),
        "chroma": told(0.97, 200, 20),
        "milvus": {"failed": "not here"},
    }
    lines = "\n".join(table(found))
    assert "redisearch: " not in lines
    assert "pgvector: single 0.99" in lines
    assert "pgvector: batch 1.40" in lines
    assert "chroma: recall 0.97" in lines
    assert "milvus         not here" in lines


@pytest.mark.skipif(sys.platform != "linux", reason="network namespaces are Linux's")
def test_a_network_of_its_own_holds_loopback_alone() -> None:
    script = (
        "import socket\n"
        "from benchmarks.peers.network import enter_own_network\n"
        "enter_own_network()\n"
        "with socket.create_server(('127.0.0.1', 0)) as server:\n"
        "    socket.create_connection(server.getsockname(), 5).close()\n"
        "print(*(name for _, name in socket.if_nameindex()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    if "no network namespace" in done.stderr:
        pytest.skip("this system lends no network namespaces")
    assert done.stdout.split() == ["lo"], done.stderr
