"""A real server of the sample, what it was learned to hold, and programs of other people."""

import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import pytest

from benchmarks.peers.environment import PeerFailed, installed
from loadtest import world
from loadtest.own_server import served
from loadtest.world import World

REPOSITORY = Path(__file__).parents[2]

Installed: TypeAlias = Callable[[str, Sequence[str]], Path]


@pytest.fixture(scope="session")
def target(sample_store: Path) -> Iterator[str]:
    """Yield the address of ``python -m server`` on the sample."""
    with served(sample_store) as address:
        yield address


@pytest.fixture(scope="session")
def known(target: str) -> World:
    """What the server told."""
    return world.learn(target)


@pytest.fixture(scope="session")
def ids(known: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a file."""
    path = tmp_path_factory.mktemp("ids") / "ids.json"
    world.save(known, path)
    return path


@pytest.fixture(scope="session")
def peer() -> Installed:
    """Install a program into an environment of its own; tests that want it skip where that fails."""

    def bin_folder(name: str, requirements: Sequence[str]) -> Path:
        try:
            return installed(name, requirements).parent
        except (PeerFailed, OSError, subprocess.SubprocessError) as error:
            pytest.skip(f"{name} cannot be installed here: {error}")

    return bin_folder
