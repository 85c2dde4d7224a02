"""Worlds made large, by the laws they promise to keep."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.scale.expansion import Block, Shape, expand, item_copies, reduced
from benchmarks.scale.world import Tail, tails, write_world
from ilk.errors import SettingsError
from indexer.interactions import Interactions
from indexer.readers import read_movielens
from indexer.sample import load_sample

SHAPE = Shape(2_000, 1_200, 90_000)


@pytest.fixture(scope="module")
def small() -> Interactions:
    return load_sample(n_users=300)


@pytest.fixture(scope="module")
def blocks(small: Interactions) -> list[Block]:
    return list(expand(small, SHAPE, seed=1))


def test_the_shape_asked_for_is_met(blocks: list[Block]) -> None:
    users = np.concatenate([block.user_rows for block in blocks])
    items = np.concatenate([block.item_rows for block in blocks])
    assert np.array_equal(np.unique(users), np.arange(SHAPE.n_users))
    assert 0 <= items.min() <= items.max() < SHAPE.n_items
    assert len(users) == pytest.approx(SHAPE.n_ratings, rel=0.01)


def test_nobody_rates_an_item_twice_and_pairs_come_in_order(blocks: list[Block]) -> None:
    pairs = np.concatenate([b.user_rows * SHAPE.n_items + b.item_rows for b in blocks])
    assert np.all(np.diff(pairs) > 0)


def test_a_block_holds_no_more_users_than_the_small_world(
    blocks: list[Block], small: Interactions
) -> None:
    assert all(len(np.unique(block.user_rows)) <= small.n_users for block in blocks)


def test_tails_stay_as_they_were_for_users_and_are_no_lighter_for_items(
    blocks: list[Block], small: Interactions
) -> None:
    users, items = tails(small)
    by_user = Tail.of(np.bincount(np.concatenate([b.user_rows for b in blocks])))
    by_item = Tail.of(np.bincount(np.concatenate([b.item_rows for b in blocks])))
    assert by_user.top_10 == pytest.approx(users.top_10, abs=0.03)
    assert by_item.top_10 > items.top_10 - 0.03


def test_copies_of_items_that_share_raters_share_them_still(
    blocks: list[Block], small: Interactions
) -> None:
    """The most alike pair of the small world is more alike than its most unlike one, when copied."""
    dense = np.zeros((small.n_users, small.n_items), dtype=np.float32)
    dense[small.user_rows, small.item_rows] = 1
    rated = np.flatnonzero(dense.sum(axis=0) >= 60)
    columns = dense[:, rated] / np.linalg.norm(dense[:, rated], axis=0)
    alike = columns.T @ columns - 2 * np.eye(len(rated))
    copied = np.zeros((SHAPE.n_users, SHAPE.n_items), dtype=np.float32)
    for block in blocks:
        copied[block.user_rows, block.item_rows] = 1
    copies = copied[:, rated] / np.linalg.norm(copied[:, rated], axis=0)
    correlation = np.corrcoef(alike[alike >= 0], (copies.T @ copies)[alike >= 0])[0, 1]
    assert correlation > 0.7


def test_the_reduced_matrix_is_densest_where_the_most_active_meet_the_best_known(
    small: Interactions,
) -> None:
    densities = reduced(small, 6, 3)
    assert densities.shape == (6, 3)
    assert np.all(densities > 0)
    assert np.unravel_index(densities.argmax(), densities.shape)[1] == 0
    assert densities[0].sum() > densities[-1].sum()


@pytest.mark.parametrize(
    "shape", [Shape(10, 10, 5_000), Shape(600, 494, 10_000_000)], ids=["few rows", "many ratings"]
)
def test_more_ratings_than_can_be_made_are_refused(small: Interactions, shape: Shape) -> None:
    with pytest.raises(SettingsError, match="ask for fewer --ratings"):
        list(expand(small, shape, seed=1))


def test_a_written_world_is_read_as_movielens(small: Interactions, tmp_path: Path) -> None:
    made = write_world(small, SHAPE, tmp_path, seed=1)
    world = read_movielens(tmp_path)
    assert (world.n_users, world.n_items) == (SHAPE.n_users, SHAPE.n_items)
    assert tails(world) == made
    assert world.n_duplicates == 0
    assert set(np.unique(world.ratings)) <= set(np.unique(small.ratings))
    # Genres are those of what was copied, and now and then one more.
    copied = item_copies(small, SHAPE, seed=1).small_rows()
    pairs = [
        (set(small.items.genres[c]), set(g))
        for c, g in zip(copied, world.items.genres, strict=True)
    ]
    assert all(before <= after for before, after in pairs)
    n_more = sum(before < after for before, after in pairs)
    assert 0 < n_more < 0.1 * SHAPE.n_items


def test_equal_seeds_write_equal_files_and_others_do_not(
    small: Interactions, tmp_path: Path
) -> None:
    shape = Shape(700, 600, 20_000)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_world(small, shape, tmp_path / name, seed)
    a, b, c = (tmp_path / name for name in "abc")
    for file in ("ratings.csv", "movies.csv"):
        assert (a / file).read_bytes() == (b / file).read_bytes()
    assert (a / "ratings.csv").read_bytes() != (c / "ratings.csv").read_bytes()


def test_no_world_is_written_inside_the_project(small: Interactions) -> None:
    inside = Path(__file__).parents[2] / "data"
    with pytest.raises(SettingsError, match="inside the project"):
        write_world(small, SHAPE, inside, seed=1)
    assert not inside.exists()


def test_of_a_world_that_cannot_be_had_nothing_is_left(small: Interactions, tmp_path: Path) -> None:
    with pytest.raises(SettingsError):
        write_world(small, Shape(20, 10, 10_000), tmp_path, seed=1)
    assert list(tmp_path.iterdir()) == []
