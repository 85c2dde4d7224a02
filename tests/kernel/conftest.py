"""A store to damage, for the tests of bundles."""

import shutil
from pathlib import Path

import pytest

from ilk.bundle import Store


@pytest.fixture
def store(sample_store: Path, tmp_path: Path) -> Store:
    """A copy of a store with one version."""
    return Store(shutil.copytree(sample_store, tmp_path / "store"))


@pytest.fixture
def live(store: Store) -> Path:
    """The folder of the live version of ``store``."""
    return store.folder_of(store.current_version())
