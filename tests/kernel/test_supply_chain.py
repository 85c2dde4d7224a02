"""What the programs are made of: nothing is unpickled, every dependency is pinned with hashes."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = ("ilk", "indexer", "server", "examples", "benchmarks", "loadtest")
LOCKS = ("requirements.lock", "deploy/server.lock", "deploy/indexer.lock")
# Modules that make objects of bytes by running what the bytes say.
_UNSAFE_MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "cloudpickle",
    "dill",
    "joblib",
    "jsonpickle",
    "marshal",
    "multiprocessing",
    "shelve",
    "torch",
}
_UNSAFE_CALLS = {"eval", "exec", "compile", "read_pickle", "to_pickle"}
# Bytes pass through pipes to processes that the same program has started; objects do not.
_OWN_PIPES = {f"server/processes/{name}.py" for name in ("link", "slot", "supervisor", "worker")}
# What measures, and is never served, starts processes of its own and sends them tasks.
_OWN_TASKS = {"benchmarks/limits.py", "benchmarks/overload.py", "loadtest/processes.py"}


def unsafe_uses(source: str) -> list[str]:
    """Return what in ``source`` could make an object of bytes that somebody else wrote."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = {alias.name.partition(".")[0] for alias in node.names}
            found += sorted(names & _UNSAFE_MODULES)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found += sorted({str(node.module).partition(".")[0]} & _UNSAFE_MODULES)
        elif isinstance(node, ast.Call):
            found += _unsafe_call(node)
    return found


def _unsafe_call(node: ast.Call) -> list[str]:
    called = ast.unparse(node.func)
    last = called.rpartition(".")[2]
    # `re.compile` and methods of that name are no matter.
    if last in _UNSAFE_CALLS and (called == last or "pickle" in last):
        return [called]
    if called in ("np.load", "numpy.load", "np.save", "numpy.save"):
        guards = {k.arg: ast.unparse(k.value) for k in node.keywords}
        return [] if guards.get("allow_pickle") == "False" else [called]
    return []


@pytest.mark.parametrize(
    "planted",
    [
        "import pickle",
        "import os, pickle as p",
        "from joblib import load",
        "from multiprocessing.connection import Connection",
        "a = np.load(path)",
        "a = np.load(\n    path,\n    allow_pickle=True,\n)",
        "np.save(file, a)",
        "pandas.read_pickle(path)",
        "eval(text)",
    ],
)
def test_what_unpickles_is_recognised(planted: str) -> None:
    assert unsafe_uses(planted)


def test_what_does_not_is_passed_over() -> None:
    fine = "import json, re\nre.compile('a')\nnp.load(\n path, allow_pickle=False)\nmodel.eval()"
    assert unsafe_uses(fine) == []


def test_nothing_is_unpickled_anywhere() -> None:
    paths = [path for name in PROGRAMS for path in (ROOT / name).rglob("*.py")]
    assert len(paths) > 50
    uses = {
        path.relative_to(ROOT).as_posix(): found
        for path in paths
        if (found := unsafe_uses(path.read_text(encoding="utf-8")))
    }
    assert {name: set(found) for name, found in uses.items()} == {
        name: {"multiprocessing"} for name in _OWN_PIPES | _OWN_TASKS
    }


@pytest.mark.parametrize("name", sorted(_OWN_PIPES))
def test_no_object_passes_through_a_pipe_of_our_own(name: str) -> None:
    tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    pickling = {c for c in called if c.rpartition(".")[2] in ("send", "recv")}
    # A socket's, which knows bytes only.
    assert pickling <= {"signals.recv"}
    assert not {c for c in called if c.endswith((".Process", ".Queue", ".Pool", ".Manager"))}


@pytest.mark.parametrize("name", LOCKS)
def test_every_pin_has_hashes_and_no_lock_names_a_host(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    pins = re.findall(
        r"^([A-Za-z0-9._-]+)==([^\s\\;]+)(.*?)(?=^\S|\Z)", text, re.MULTILINE | re.DOTALL
    )
    assert len(pins) > 10
    assert [package for package, _, rest in pins if "--hash=sha256:" not in rest] == []
    # Nothing in it is but pins and their hashes.
    assert [
        line
        for line in text.splitlines()
        if not re.match(r"[A-Za-z0-9._-]+==|    --hash=sha256:|$", line)
    ] == []
    assert "://" not in text
