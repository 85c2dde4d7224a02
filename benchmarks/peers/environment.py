"""Knows how a peer is installed and run: in an environment of its own, as a process of its own.

It refuses to know what peers do. Their requirements never meet ours, and the kernel never sees them.
"""

import json
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ilk.errors import IlkError

_PROJECT = Path(__file__).resolve().parents[2]
_VENVS = _PROJECT / ".cache" / "venvs"


class PeerFailed(IlkError):
    """A peer that could not be installed or did not finish; what it said is on stderr."""


def installed(name: str, requirements: Sequence[str], base: str = sys.executable) -> Path:
    """Return the interpreter of the environment ``name``, made with pip where it is missing.

    Parameters
    ----------
    requirements
        What pip is told to install.
    base
        The Python that it is an environment of.

    Raises
    ------
    PeerFailed
        If the environment cannot be made or pip fails.
    """
    folder = _VENVS / name
    python, ready = folder / "bin" / "python", folder / ".ready"
    # Written last, so that an installation that was cut short is begun anew.
    contents = "\n".join((platform.python_version(), base, *requirements))
    if not (ready.exists() and ready.read_text(encoding="utf-8") == contents):
        _run([base, "-m", "venv", "--clear", str(folder)])
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        _run([*pip, *requirements])
        ready.write_text(contents, encoding="utf-8")
    return python


def answer_of(python: Path, module: str, *arguments: str) -> Any:
    """Run a module of ``benchmarks`` to its end and return the JSON in its last line.

    Raises
    ------
    PeerFailed
        If it ends with an error.
    """
    printed = _run([str(python), "-m", f"benchmarks.{module}", *arguments])
    return json.loads(printed.rstrip().rpartition("\n")[2])


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, cwd=_PROJECT)
    if done.returncode:
        raise PeerFailed(f"{' '.join(command)} ended with {done.returncode}")
    return done.stdout
