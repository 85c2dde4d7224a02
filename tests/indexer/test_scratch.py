"""Bundles that are made to be measured are gone with who made them, however that ended."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from indexer.scratch import scratch_folder

ROOT = Path(__file__).parents[2]
BUILD = [sys.executable, "-m", "indexer", "build", "--sample", "--quiet", "--store"]
# A build of the sample takes seconds, half of them with a bundle of its own to measure.
PATIENCE_S = 60.0


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def held(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_scratch_folder_is_gone_at_the_end(temporary: Path) -> None:
    with scratch_folder() as folder:
        (folder / "bundle").mkdir()
        assert held(temporary) == {folder.name}
    assert held(temporary) == set()


def test_it_is_gone_after_an_error(temporary: Path) -> None:
    with pytest.raises(RuntimeError), scratch_folder():
        raise RuntimeError
    assert held(temporary) == set()


def test_what_was_left_behind_goes_and_what_is_in_use_stays(temporary: Path) -> None:
    left = temporary / "ilk-scratch-left"
    (left / "bundle").mkdir(parents=True)
    with scratch_folder() as first, scratch_folder() as second:
        assert held(temporary) == {first.name, second.name}


def test_what_is_not_ours_is_left_alone(temporary: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    (precious / "data").mkdir(parents=True)
    (temporary / "ilk-scratch-link").symlink_to(precious)
    (temporary / "other").mkdir()
    with scratch_folder():
        pass
    assert held(temporary) == {"ilk-scratch-link", "other"}
    assert held(precious) == {"data"}


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_a_build_that_is_ended_leaves_nothing_for_long(
    temporary: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    store = tmp_path / "store"
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen([*BUILD, str(store)], cwd=ROOT, env=environment) as build:
        until_s = time.monotonic() + PATIENCE_S
        while not list(temporary.glob("ilk-scratch-*/versions")):
            assert build.poll() is None
            assert time.monotonic() < until_s
            time.sleep(0.005)
        build.send_signal(number)
        assert build.wait(PATIENCE_S) == code
    if number is signal.SIGKILL:
        assert held(temporary)
        with scratch_folder():
            pass
    assert held(temporary) == set()
    assert not list(store.glob("versions/*"))
