"""Every program tells its version, which is the package's."""

import subprocess
import sys
from pathlib import Path

import pytest

import ilk

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]


def test_the_version_is_the_packages() -> None:
    package = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert ilk.__version__ == package["version"]


@pytest.mark.parametrize("program", ["ilk", "indexer", "loadtest", "server", "server.callers"])
def test_every_program_tells_its_version(program: str) -> None:
    command = [sys.executable, "-m", program, "--version"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout == f"{ilk.__version__}\n"
