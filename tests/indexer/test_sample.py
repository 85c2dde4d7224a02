"""Knows what the embedded sample promises: real films, repeatable users, likenesses that hold."""

import dataclasses

import numpy as np
import numpy.typing as npt
import pytest

from ilk.errors import SettingsError
from indexer.interactions import Interactions
from indexer.sample import load_sample
from indexer.sample.simulate import Simulation, simulate

GENRES = {
    *("Action", "Adventure", "Animation", "Children", "Comedy", "Crime", "Documentary", "Drama"),
    *("Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller"),
    *("War", "Western"),
}
N_USERS = 1500


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    return simulate(seed=20, n_users=N_USERS)


@pytest.fixture(scope="module")
def sample(simulation: Simulation) -> Interactions:
    return simulation.interactions


def _years(timestamps: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return timestamps.astype("datetime64[s]").astype("datetime64[Y]").astype(np.int64) + 1970


def _timestamps(sample: Interactions) -> npt.NDArray[np.int64]:
    assert sample.timestamps is not None
    return sample.timestamps


def _liked(sample: Interactions) -> npt.NDArray[np.float64]:
    liked = np.zeros((sample.n_users, sample.n_items))
    good = sample.ratings >= 4
    liked[sample.user_rows[good], sample.item_rows[good]] = 1.0
    return liked


def _unit_rows(matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    norms: npt.NDArray[np.float64] = np.linalg.norm(matrix, axis=1, keepdims=True)
    return matrix / np.maximum(norms, 1e-12)


def test_same_seed_gives_the_same_ratings(sample: Interactions) -> None:
    again = load_sample(seed=20, n_users=N_USERS)
    for field in dataclasses.fields(Interactions):
        mine, other = getattr(sample, field.name), getattr(again, field.name)
        if field.name == "items":
            assert mine.item_ids == other.item_ids
        else:
            np.testing.assert_array_equal(mine, other, err_msg=field.name)


def test_another_seed_gives_other_ratings_of_the_same_films(sample: Interactions) -> None:
    other = load_sample(seed=21, n_users=N_USERS)
    assert other.items.item_ids == sample.items.item_ids
    n_shared = min(len(other), len(sample))
    same = other.item_rows[:n_shared] == sample.item_rows[:n_shared]
    assert same.mean() < 0.5
    assert "seed 21" in other.source


def test_default_sample_has_the_promised_size() -> None:
    sample = load_sample()
    assert sample.n_users == 3000
    assert 400 <= sample.n_items <= 500
    assert 100_000 <= len(sample) <= 200_000


def test_sample_says_it_is_simulated(sample: Interactions) -> None:
    assert sample.simulated
    assert "simulated users (seed 20)" in sample.source
    assert all(user_id.startswith("sim-") for user_id in sample.user_ids)


def test_ids_are_unique_and_rows_point_at_them(sample: Interactions) -> None:
    assert len(set(sample.user_ids)) == sample.n_users == N_USERS
    assert len(set(sample.items.item_ids)) == sample.n_items
    assert 0 <= sample.user_rows.min() <= sample.user_rows.max() < sample.n_users
    assert 0 <= sample.item_rows.min() <= sample.item_rows.max() < sample.n_items


def test_nobody_rates_a_film_twice(sample: Interactions) -> None:
    pairs = sample.user_rows.astype(np.int64) * sample.n_items + sample.item_rows
    assert len(np.unique(pairs)) == len(pairs)


def test_ratings_are_half_star_steps_of_the_scale(sample: Interactions) -> None:
    assert sample.rating_scale == (0.5, 5.0)
    assert set(np.unique(sample.ratings).tolist()) == {step / 2 for step in range(1, 11)}


def test_arrays_have_the_types_the_indexer_expects(sample: Interactions) -> None:
    assert sample.user_rows.dtype == sample.item_rows.dtype == np.int32
    assert sample.ratings.dtype == np.float32
    assert _timestamps(sample).dtype == np.int64
    assert sample.items.years.dtype == np.int16


def test_nobody_rates_a_film_before_its_year(sample: Interactions) -> None:
    rated_in = _years(_timestamps(sample))
    released_in = sample.items.years[sample.item_rows]
    assert (rated_in >= released_in).all()
    # The rule binds: some films came out while the users were already there.
    assert (released_in > rated_in.min()).any()


def test_timestamps_span_ten_years_in_sessions(sample: Interactions) -> None:
    rated_in = _years(_timestamps(sample))
    assert (rated_in.min(), rated_in.max()) == (2014, 2023)
    gaps_s = np.diff(_timestamps(sample))[np.diff(sample.user_rows) == 0]
    assert (gaps_s >= 0).all()
    assert np.median(gaps_s) < 3600
    assert (gaps_s > 30 * 24 * 3600).mean() > 0.01


def test_some_films_are_rated_by_nobody_and_some_by_few(simulation: Simulation) -> None:
    counts = np.bincount(
        simulation.interactions.item_rows, minlength=simulation.interactions.n_items
    )
    assert ((counts == 0) == (simulation.catalogue.fame == 0)).all()
    assert (counts == 0).sum() >= 5
    assert ((counts > 0) & (counts < 20)).any()


def test_popularity_is_long_tailed(sample: Interactions) -> None:
    counts = np.sort(np.bincount(sample.item_rows, minlength=sample.n_items))[::-1]
    assert counts[: sample.n_items // 10].sum() > 0.2 * len(sample)
    assert counts[0] > 2.5 * np.median(counts)


def test_activity_is_long_tailed(sample: Interactions) -> None:
    counts = np.bincount(sample.user_rows, minlength=sample.n_users)
    assert counts.min() >= 1
    assert (counts <= 5).sum() >= 10
    assert (counts >= 300).any()
    assert np.median(counts) < counts.mean()


def test_habits_show_in_the_stars(simulation: Simulation) -> None:
    sample, habits = simulation.interactions, simulation.audience.habits
    never_five = habits.ceiling[sample.user_rows] < 5
    whole_only = habits.step[sample.user_rows] == 1
    assert (sample.ratings[never_five] < 5).all()
    assert (sample.ratings[whole_only] % 1 == 0).all()
    assert (sample.ratings[~whole_only] % 1 != 0).any()
    by_user = np.bincount(sample.user_rows, sample.ratings) / np.bincount(sample.user_rows)
    assert np.corrcoef(by_user, habits.bias)[0, 1] > 0.5


def _share_of(
    loves: npt.NDArray[np.bool_], simulation: Simulation, within: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Return, per user, the share of the ratings ``within`` that go to films of ``loves``."""
    sample = simulation.interactions
    in_groups = simulation.catalogue.groups > 0
    of_loved = np.any(loves[sample.user_rows] & in_groups[sample.item_rows], axis=1)
    hits = np.bincount(sample.user_rows[within], of_loved[within], minlength=sample.n_users)
    counts = np.bincount(sample.user_rows[within], minlength=sample.n_users)
    return hits / np.maximum(counts, 1)


def test_users_who_drift_leave_their_early_groups_and_others_do_not(
    simulation: Simulation,
) -> None:
    sample, audience = simulation.interactions, simulation.audience
    counts = np.bincount(sample.user_rows, minlength=sample.n_users)
    place = np.arange(len(sample)) - (np.cumsum(counts) - counts)[sample.user_rows]
    early = place < counts[sample.user_rows] / 2
    drifting, steady = audience.drifts, audience.stays & ~audience.drifts
    assert drifting.mean() > 0.1

    before = _share_of(audience.early_loves, simulation, early)
    after = _share_of(audience.early_loves, simulation, ~early)
    gained = _share_of(audience.late_loves, simulation, ~early)
    assert before[drifting].mean() > 4 * after[drifting].mean()
    assert before[steady].mean() < 2 * after[steady].mean()
    assert gained[drifting].mean() > 4 * after[drifting].mean()


def test_films_are_well_formed(sample: Interactions) -> None:
    items = sample.items
    assert {name for film in items.genres for name in film} == GENRES
    assert all(film and len(set(film)) == len(film) for film in items.genres)
    assert all(title == title.strip() and title for title in items.titles)
    assert items.years.min() < 1930
    assert items.years.max() >= 2020
    for item_id, year in zip(items.item_ids, items.years.tolist(), strict=True):
        assert item_id.endswith(f"-{year}")
        assert item_id == item_id.lower()
        assert item_id.isascii()
    assert {"Toy Story", "The Matrix", "Amélie", "Spirited Away"} <= set(items.titles)


def test_every_group_ties_several_films_together(simulation: Simulation) -> None:
    catalogue = simulation.catalogue
    assert ((catalogue.groups > 0).sum(axis=0) >= 5).all()
    assert ((catalogue.groups == 1).sum(axis=1) == 1).all()
    assert (catalogue.sagas.sum(axis=0) >= 2).all()


@pytest.mark.parametrize(
    "item_id",
    [
        "toy-story-1995",
        "the-matrix-1999",
        "alien-1979",
        "titanic-1997",
        "spirited-away-2001",
        "the-godfather-1972",
    ],
)
def test_films_liked_together_are_of_a_kind(simulation: Simulation, item_id: str) -> None:
    # Users count alike however much they rate; else the most liked films are near to everything.
    films = _unit_rows(_unit_rows(_liked(simulation.interactions)).T)
    row = simulation.catalogue.items.item_ids.index(item_id)
    nearest = np.argsort(-(films @ films[row]))[1:7]
    of_a_kind = simulation.catalogue.groups[nearest] @ simulation.catalogue.groups[row] > 0
    # By chance it would be about one in twenty.
    assert of_a_kind.sum() >= 4


def test_users_who_liked_the_same_films_love_the_same_groups(simulation: Simulation) -> None:
    audience = simulation.audience
    rows = np.flatnonzero(audience.stays & ~audience.drifts)
    users = _unit_rows(_liked(simulation.interactions)[rows])
    likeness = users @ users.T
    np.fill_diagonal(likeness, -1.0)
    loves = audience.early_loves[rows].astype(np.int64)
    shared = loves @ loves.T
    shared_with_nearest = shared[np.arange(len(rows)), likeness.argmax(axis=1)].mean()
    assert shared_with_nearest > 4 * shared[~np.eye(len(rows), dtype=bool)].mean()


def test_one_user_is_enough() -> None:
    assert load_sample(n_users=1).n_users == 1


@pytest.mark.parametrize(("seed", "n_users"), [(-1, 10), (20, 0)])
def test_settings_out_of_range_are_refused(seed: int, n_users: int) -> None:
    with pytest.raises(SettingsError, match="sample"):
        load_sample(seed=seed, n_users=n_users)
