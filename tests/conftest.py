"""Data, bundles and servers that many tests share; each is built once a run."""

import os
from pathlib import Path

import pytest

from examples.walkthrough import built
from ilk.bundle import Bundle, open_bundle
from indexer.interactions import Interactions
from indexer.progress import Progress
from indexer.publishing import assemble_and_publish
from indexer.sample import load_sample
from indexer.settings import BuildSettings

QUIET = Progress(quiet=True)
SMALL = BuildSettings(factors=16, iterations=6, evaluate=False)


@pytest.fixture(scope="session")
def sample() -> Interactions:
    """The embedded sample with fewer users: quick to train on."""
    return load_sample(n_users=600)


@pytest.fixture(scope="session")
def sample_store(sample: Interactions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one published bundle of ``sample``."""
    store = tmp_path_factory.mktemp("store")
    assemble_and_publish(sample, store, SMALL, {}, QUIET)
    return store


@pytest.fixture(scope="session")
def bundle(sample_store: Path) -> Bundle:
    """The bundle of ``sample``, opened."""
    return open_bundle(sample_store)


@pytest.fixture(scope="session")
def five_users_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The bundle of the walk-through."""
    return built(tmp_path_factory.mktemp("walkthrough"))


@pytest.fixture(scope="session")
def ml_latest_small() -> Path:
    """The folder of MovieLens ml-latest-small; tests that want it skip where it is absent."""
    beside = Path(__file__).parents[2] / "shared" / "data" / "ml-latest-small"
    path = Path(os.environ.get("ILK_ML_LATEST_SMALL", beside))
    if not path.is_dir():
        pytest.skip(f"no MovieLens data at {path}; set ILK_ML_LATEST_SMALL")
    return path
