"""Bundles drawn from a fitted one: they must be whole, answer, and lie as the fitted one does."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.scale import serving
from benchmarks.scale.drawing import Population
from benchmarks.scale.population import publish_drawn
from benchmarks.scale.resampling import Drawn, moved_rows
from ilk.bundle import Bundle, open_bundle
from ilk.query import answer
from ilk.query.plan import make_plan
from ilk.types import EXACT, Filter, ItemId, Query, Target, UserId
from indexer.progress import Progress
from indexer.settings import BuildSettings

POPULATION = Population(n_users=3_000, n_items=900, ratings_per_user=5)
SETTINGS = BuildSettings(factors=16, evaluate=False)


def draw_into(folder: Path, bundle: Bundle) -> Bundle:
    (folder / "scratch").mkdir()
    quiet = Progress(quiet=True)
    publish_drawn(bundle, POPULATION, folder, folder / "scratch", SETTINGS, quiet)
    return open_bundle(folder)


@pytest.fixture(scope="module")
def drawn_store(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    draw_into(folder, bundle)
    return folder


@pytest.fixture(scope="module")
def drawn(drawn_store: Path) -> Bundle:
    return open_bundle(drawn_store)


def test_rows_keep_about_their_length_and_no_two_are_the_same() -> None:
    rng = np.random.default_rng(0)
    fitted = (rng.standard_normal((50, 8)) * rng.lognormal(0, 1, (50, 1))).astype(np.float32)
    fitted[7] = 0
    origins = rng.integers(0, 50, 2_000)
    moved = moved_rows(fitted, origins, rng)
    of_zero = origins == 7
    assert not moved[of_zero].any()
    ratios = np.linalg.norm(moved[~of_zero], axis=1) / np.linalg.norm(
        fitted[origins[~of_zero]], axis=1
    )
    assert 0.5 < ratios.min() < 0.9 < 1.1 < ratios.max() < 2
    assert len(np.unique(moved[~of_zero], axis=0)) == np.count_nonzero(~of_zero)


def test_clusters_far_apart_stay_apart() -> None:
    rng = np.random.default_rng(0)
    centers = np.repeat(np.eye(4, 16, dtype=np.float32) * 10, 25, axis=0)
    fitted = centers + rng.standard_normal((100, 16), dtype=np.float32)
    origins = np.arange(100)
    nearest = np.argmax(moved_rows(fitted, origins, rng) @ np.eye(4, 16).T, axis=1)
    assert np.mean(nearest == origins // 25) > 0.9


def test_the_most_known_are_drawn_first_and_know_grows() -> None:
    positives = np.array([100, 10, 1, 0])
    drawn = Drawn.draw(positives, 20_000, growth=3.0, rng=np.random.default_rng(0))
    assert np.all(np.diff(drawn.n_positives) <= 0)
    assert set(drawn.origins.tolist()) == {0, 1, 2, 3}
    assert drawn.n_positives.mean() == pytest.approx(3 * positives.mean(), rel=0.1)


def test_a_drawn_bundle_has_its_shape_and_every_space_answers(drawn: Bundle) -> None:
    assert len(drawn.users) == drawn.manifest.n_users == POPULATION.n_users
    assert len(drawn.items) == drawn.manifest.n_items == POPULATION.n_items
    assert drawn.manifest.simulated
    for whom in (UserId("17"), ItemId("23")):
        for target in Target:
            for weight in (0.0, 0.3, 1.0):
                found = answer(drawn, Query(whom, target, weight, accuracy=EXACT))
                assert len(found.neighbors) == 10
                scores = [n.score for n in found.neighbors]
                assert scores == sorted(scores, reverse=True)


def test_both_directions_of_the_ratings_agree_and_seen_items_stay_away(drawn: Bundle) -> None:
    by_user, by_item = drawn.ratings_by_user, drawn.ratings_by_item
    user_rows = np.repeat(np.arange(len(drawn.users)), np.diff(by_user.indptr))
    item_rows = np.repeat(np.arange(len(drawn.items)), np.diff(by_item.indptr))
    pairs = set(zip(user_rows.tolist(), by_user.others.tolist(), strict=True))
    assert pairs == set(zip(by_item.others.tolist(), item_rows.tolist(), strict=True))
    assert len(pairs) == len(by_user.others) == drawn.manifest.n_ratings
    seen = {str(row + 1) for row in by_user.others_of(4).tolist()}
    assert 1 <= len(seen) <= POPULATION.ratings_per_user
    everything = Query(UserId("5"), filter=Filter(exclude_seen=True), neighbor_count=1000)
    assert {n.id for n in answer(drawn, everything).neighbors}.isdisjoint(seen)


def test_content_is_copied_with_the_genres_it_is_made_of(drawn: Bundle, bundle: Bundle) -> None:
    distinct = {row.tobytes() for row in bundle.items.content}
    assert {row.tobytes() for row in drawn.items.content} <= distinct
    catalogue = drawn.catalogue
    bits = np.unpackbits(catalogue.genre_bitmaps, axis=1, count=len(drawn.items), bitorder="little")
    for row in (0, 1, 450, 899):
        codes = catalogue.genre_codes[catalogue.genre_indptr[row] : catalogue.genre_indptr[row + 1]]
        assert np.flatnonzero(bits[:, row]).tolist() == sorted(codes.tolist())


def test_equal_seeds_draw_equal_bundles(drawn: Bundle, bundle: Bundle, tmp_path: Path) -> None:
    again = draw_into(tmp_path, bundle)
    assert again.manifest.files == drawn.manifest.files


def test_exact_scores_are_those_of_exact_answers(drawn: Bundle) -> None:
    queries = [Query(UserId(str(n)), Target.USERS, 0.3, accuracy=EXACT) for n in (1, 50, 2_000)]
    plans = [make_plan(drawn, query) for query in queries]
    expected = [[n.score for n in answer(drawn, query).neighbors] for query in queries]
    np.testing.assert_allclose(
        serving.exact_scores(plans[0].space, plans), expected, rtol=1e-5, atol=1e-6
    )


def test_serving_is_measured_whole(drawn_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/proc/self/smaps_rollup").exists():
        pytest.skip("only Linux tells which memory is a process's own")
    monkeypatch.setattr(serving, "_BUDGET_S", 0.01)
    monkeypatch.setattr(serving, "BLENDS", (0.1,))
    served = serving.measure(drawn_store, n_queries=3)
    assert 0 < served.open_s <= served.answer_s
    assert 0 < served.written_bytes <= served.own_bytes
    # Everything is exact at this size: 16 factors and the genres, four bytes each.
    assert all(size > 4 * 16 for size in served.index_bytes.values())
    assert {a.space for a in served.answered} == set(served.index_bytes)
    assert all(a.recall_at_10 == 1 and a.cpu_us > 0 for a in served.answered)
    lines = list(serving.table([served, served]))
    assert sum("x 1.00" in line for line in lines) == 4
