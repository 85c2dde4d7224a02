"""Bundles that the query path is held against: of every kind of index, small and large, odd ones."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ilk.ann import IndexKind
from ilk.bundle import Bundle, open_bundle
from indexer.interactions import Interactions, Items
from indexer.progress import Progress
from indexer.publishing import assemble_and_publish
from indexer.settings import BuildSettings
from tests.query.oracle import Oracle

SMALL = BuildSettings(factors=16, iterations=6, evaluate=False)
GENRES = ("Action", "Comedy", "Crime", "Drama", "Horror", "Musical", "Sci-Fi", "War")

BuildBundle = Callable[[Interactions, BuildSettings], Bundle]
World = Callable[[str], Oracle]


@pytest.fixture(scope="session")
def build_bundle(tmp_path_factory: pytest.TempPathFactory) -> BuildBundle:
    """Train on interactions and open what was published."""

    def built(data: Interactions, settings: BuildSettings) -> Bundle:
        store: Path = tmp_path_factory.mktemp("query")
        assemble_and_publish(data, store, settings, {}, Progress(quiet=True))
        return open_bundle(store)

    return built


@pytest.fixture(scope="session")
def crowd_data() -> Interactions:
    """Rows enough for filtered searches to go through the index, and every odd kind of row.

    Of 3,600 items the last 1,000 have no rating, 1 in 50 has no genre and 1 in 10 no year. Users 0
    and 1 rated 600 items each, items 0 and 1 have 600 raters each, users 2 to 11 like nothing.
    """
    rng = np.random.default_rng(7)
    n_users, n_items, n_rated = 2800, 3600, 2600
    fame = 1 / np.arange(10, n_rated + 10) ** 0.8
    drawn = rng.choice(n_rated, 20_000, p=fame / fame.sum())
    everyone = np.arange(2, n_users)
    users = np.concatenate(
        (rng.choice(everyone, 20_000), everyone, np.repeat([0, 1], 600), *[np.arange(600)] * 2)
    )
    one_each = rng.choice(n_rated, len(everyone))
    items = np.concatenate(
        (drawn, one_each, np.arange(900, 1500), np.arange(1400, 2000), np.repeat([0, 1], 600))
    )
    users[-600:] += 500
    pairs = np.unique(np.stack((users, items), axis=1), axis=0)
    stars = rng.integers(1, 6, len(pairs)).astype(np.float32)
    stars[(pairs[:, 0] >= 2) & (pairs[:, 0] < 12)] = 1
    genres = [
        tuple(sorted(rng.choice(GENRES, rng.integers(1, 4), replace=False).tolist()))
        for _ in range(n_items)
    ]
    genres[::50] = [()] * len(genres[::50])
    years = rng.integers(1950, 2020, n_items).astype(np.int16)
    years[::10] = 0
    ids = [f"i{row:04d}" for row in range(n_items)]
    return Interactions(
        user_ids=[f"u{row:04d}" for row in range(n_users)],
        items=Items(ids, [f"Title {i}" for i in ids], years, genres, {}),
        user_rows=pairs[:, 0].astype(np.int32),
        item_rows=pairs[:, 1].astype(np.int32),
        ratings=stars,
        timestamps=None,
        rating_scale=(1.0, 5.0),
        source="a crowd drawn at random",
        simulated=True,
    )


@pytest.fixture(scope="session")
def world(
    bundle: Bundle, sample: Interactions, crowd_data: Interactions, build_bundle: BuildBundle
) -> World:
    """Return the oracle of a world by name, such as ``sample-IVF``; each is built once."""
    opened = {"sample-Flat": Oracle(bundle, sample)}

    def by_name(name: str) -> Oracle:
        if name not in opened:
            data = sample if name.startswith("sample") else crowd_data
            kind = IndexKind(name.partition("-")[2])
            settings = replace(SMALL, factors=16 if data is sample else 8, index=kind)
            opened[name] = Oracle(build_bundle(data, settings), data)
        return opened[name]

    return by_name


@pytest.fixture(scope="session")
def crowd(world: World) -> Oracle:
    """The large world, whose index compares with everything."""
    return world("crowd-Flat")


@pytest.fixture(scope="session")
def oracle(world: World) -> Oracle:
    """The embedded sample, whose index compares with everything."""
    return world("sample-Flat")


@pytest.fixture(scope="session")
def fading_bundle(sample: Interactions, build_bundle: BuildBundle) -> Bundle:
    """The sample, where a rating a year older than its user's newest counts half."""
    return build_bundle(sample, replace(SMALL, half_life_days=365.0))


@pytest.fixture(scope="session")
def own_bars_bundle(sample: Interactions, build_bundle: BuildBundle) -> Bundle:
    """The sample, each user's stars read by their own habit, more stars meaning more."""
    return build_bundle(sample, replace(SMALL, normalize="mean", graded=True))


@pytest.fixture(scope="session")
def clicks_bundle(sample: Interactions, build_bundle: BuildBundle) -> Bundle:
    """The sample with its stars read as clicks, more clicks meaning more."""
    clicks = replace(sample, ratings=np.ceil(sample.ratings), rating_scale=None)
    return build_bundle(clicks, replace(SMALL, graded=True))
