"""What the comparison of libraries is computed from, on searches whose recall is known."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import libraries, own_search
from benchmarks.libraries import Point, cheapest, frontier
from benchmarks.peers import searching
from ilk.ann import IndexKind
from ilk.bundle import Bundle, open_bundle
from ilk.query import answer
from ilk.query.plan import make_plan
from ilk.space import SPACE_KEYS, SpaceKey
from indexer.interactions import Interactions
from indexer.progress import Progress
from indexer.publishing import assemble_and_publish
from indexer.settings import BuildSettings

VECTORS = np.eye(20, dtype=np.float32) * np.arange(1, 21, dtype=np.float32)[:, None]
QUERY = np.ones((1, 20), dtype=np.float32)
TENTH = np.array([11.0], dtype=np.float32)


def point(name: str, recall: float, cpu_us: float) -> Point:
    return Point(name, f"at {cpu_us:g}", recall, cpu_us, 0.0)


@pytest.mark.parametrize(
    ("found", "recall"),
    [
        (list(range(10, 20)), 1.0),
        (list(range(9, 19)), 0.9),
        ([19] * 10, 0.1),
        ([19, 18, -1, -1, 25], 0.2),
        ([], 0.0),
    ],
    ids=["all", "one too low", "repeated", "filled up", "none"],
)
def test_recall_counts_each_true_neighbor_once(found: list[int], recall: float) -> None:
    def search(_: object) -> list[int]:
        return found

    assert searching.recall(search, VECTORS, QUERY, TENTH) == pytest.approx(recall)


def test_rows_that_score_like_the_tenth_are_no_misses() -> None:
    equal = np.ones((20, 1), dtype=np.float32)
    query = threshold = np.ones((1, 1), dtype=np.float32)
    assert searching.recall(lambda _: range(5, 15), equal, query, threshold.ravel()) == 1


def test_settings_after_one_that_finds_everything_are_not_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, array in (("vectors", VECTORS), ("queries", QUERY), ("thresholds", TENTH)):
        np.save(tmp_path / f"{name}.npy", array)
    monkeypatch.setattr(sys, "argv", ["", str(tmp_path)])
    monkeypatch.setattr(searching, "_ROUND_S", 0.001)

    def library(vectors: searching.Float32Matrix) -> object:
        for n_found in (5, 10, 20):
            yield f"{n_found}", lambda _, n=n_found: np.arange(len(vectors) - n, len(vectors))

    searching.main({"toy": library})  # type: ignore[dict-item]
    points = json.loads(capsys.readouterr().out)
    assert [(p["setting"], p["recall"]) for p in points] == [("5", 0.5), ("10", 1.0)]


def test_the_frontier_keeps_what_nothing_beats() -> None:
    points = [point("a", 0.9, 10), point("a", 0.8, 12), point("a", 0.95, 20), point("a", 0.9, 9)]
    assert [(p.recall, p.cpu_us) for p in frontier(points)] == [(0.9, 9), (0.95, 20)]
    assert cheapest(points, 0.92) == points[2]
    assert cheapest(points, 0.99) is None


def test_ilk_is_held_against_the_best_library_and_the_bare_index() -> None:
    at_99 = Point("ilk answer", "accuracy 0.99, effort 8", 0.995, 60.0, 0.0)
    bare = Point("bare faiss", "accuracy 0.99, effort 8", 0.995, 40.0, 0.0)
    peers = [point("quick", 0.991, 50), point("quicker, not enough", 0.98, 5)]
    found = {"items.likeness": [point("ilk index", 0.99, 30), at_99, bare, *peers]}
    lines = list(libraries.table(found))
    assert any("best library at 0.99: 0.60" in line for line in lines)
    assert any("over bare index.search: 20.0 us" in line for line in lines)


def test_curves_are_drawn_for_each_space(tmp_path: Path) -> None:
    found = {"a": [point("x", 0.9, 10), point("ilk index", 0.99, 20)], "b": [point("x", 0.8, 1)]}
    files = list(libraries.draw(found, "a title", tmp_path))
    assert [file.name for file in files] == ["a-title-a.png", "a-title-b.png"]
    assert all(file.stat().st_size > 1000 for file in files)


@pytest.mark.parametrize("kind", IndexKind)
def test_ilks_own_points_tell_index_answer_and_bare_index(
    kind: IndexKind,
    sample: Interactions,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = BuildSettings(factors=8, iterations=2, index=kind, evaluate=False)
    assemble_and_publish(sample, tmp_path, settings, {}, Progress(quiet=True))
    monkeypatch.setattr(searching, "_ROUND_S", 0.001)
    own_search.main(tmp_path, "items.affinity", 0.1, 50)
    points = json.loads(capsys.readouterr().out)
    told = {p["name"] for p in points}
    # These are for many more rows: of so few, comparing with all costs less than their candidates.
    for_many = kind in (IndexKind.IVF_PQ, IndexKind.IVF_PQ_2)
    assert told | ({"bare faiss"} if for_many else set()) == {
        "ilk index",
        "ilk answer",
        "bare faiss",
    }
    assert all(p["recall"] >= 0.9 and p["cpu_us"] > 0 for p in points if p["name"] == "ilk answer")
    assert max(p["recall"] for p in points if p["name"] == "ilk index") >= 0.99


@pytest.mark.parametrize("kind", [IndexKind.PQ, IndexKind.HNSW])
def test_the_bare_index_is_asked_for_what_each_plan_fetches(
    kind: IndexKind, sample: Interactions, tmp_path: Path
) -> None:
    settings = BuildSettings(factors=8, iterations=2, index=kind, evaluate=False)
    assemble_and_publish(sample, tmp_path, settings, {}, Progress(quiet=True))
    bundle = open_bundle(tmp_path)
    (query,) = own_search.drawn_queries(bundle, SPACE_KEYS[0], 0.1, 1)
    plan = make_plan(bundle, query)
    plans = [plan, replace(plan, n_wanted=50), plan]
    searches, width = own_search.bare_searches(plans)
    wide = np.zeros((1, width), dtype=np.float32)
    some, more, again = (np.size(search(wide)) for search in searches)
    assert some == again < more


@pytest.mark.parametrize("key", SPACE_KEYS, ids=lambda key: key.name)
def test_queries_drawn_for_a_space_are_answered_from_it(key: SpaceKey, bundle: Bundle) -> None:
    queries = own_search.drawn_queries(bundle, key, 0.3, 4)
    assert queries == own_search.drawn_queries(bundle, key, 0.3, 4)
    for query in queries:
        assert query.target is key.target
        own = own_search.query_vectors([make_plan(bundle, query)])[0]
        space, best = bundle.spaces[key], answer(bundle, query).neighbors[0]
        row = bundle.side(key.target).vocabulary.row_of(best.id)
        vector = np.concatenate((space.factors[row], space.content[row]))
        assert vector @ own == pytest.approx(best.score, abs=1e-5)
