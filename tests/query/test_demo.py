"""What the README shows of the demo is what the demo shows."""

import contextlib
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from examples.demo import FILMS
from ilk.ann import IndexKind
from ilk.bundle import open_bundle
from ilk.catalogue import find_items
from ilk.query import answer
from ilk.terminal.tables import render_neighbors
from ilk.types import ItemId, Query
from indexer.progress import Progress
from indexer.publishing import assemble_and_publish
from indexer.sample import load_sample
from indexer.settings import BuildSettings

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
SCORE = re.compile(r"\d\.\d{4}")


def test_the_readme_shows_what_the_demo_prints(tmp_path: Path) -> None:
    # Which index finds the films, and how good they are, changes no score.
    settings = BuildSettings(evaluate=False, index=IndexKind.FLAT)
    assemble_and_publish(load_sample(), tmp_path, settings, {}, Progress(quiet=True))
    bundle = open_bundle(tmp_path)
    of_film = Query(
        ItemId("toy-story-1995"), content_weight=0.3, neighbor_count=6, include_components=True
    )
    found = answer(bundle, of_film)
    items, _ = find_items(bundle, [near.id for near in found.neighbors])
    rows = render_neighbors(found, {item.id: item for item in items}).splitlines()[:7]
    headline = f"Films like {FILMS[0]}: hybrid\n"
    shown = README.read_text(encoding="utf-8").partition(headline)[2].splitlines()[1:8]
    assert [SCORE.sub("", row) for row in shown] == [SCORE.sub("", row) for row in rows]
    # The last digits may differ between processors.
    scores = [[float(s) for row in table for s in SCORE.findall(row)] for table in (shown, rows)]
    assert scores[0] == pytest.approx(scores[1], abs=5e-3)


def test_the_server_of_the_demo_ends_with_it() -> None:
    command = [sys.executable, "-m", "examples.demo", "--sample"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as demo:
        assert demo.stdout is not None
        while not (served := _servers(psutil.Process(demo.pid))):
            assert demo.poll() is None
            time.sleep(0.05)
        demo.terminate()
        demo.stdout.read()
        assert demo.wait(60) == 128 + signal.SIGTERM
    _, alive = psutil.wait_procs(served, 30)
    assert not alive


def _servers(demo: psutil.Process) -> list[psutil.Process]:
    children = demo.children(recursive=True)
    with contextlib.suppress(psutil.Error):  # one has just ended
        return children if any("server" in child.cmdline() for child in children) else []
    return []


def test_the_demo_ends_quietly_when_its_reader_has_seen_enough() -> None:
    command = [sys.executable, "-m", "examples.demo", "--sample"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, **streams) as demo:  # type: ignore[call-overload]
        demo.stdout.readline()
        demo.stdout.close()
        told = demo.stderr.read()
        assert demo.wait(60) == 3
    assert b"Traceback" not in told


@pytest.mark.parametrize("example", ["demo", "walkthrough"])
def test_every_example_says_what_it_does(example: str) -> None:
    command = [sys.executable, "-m", f"examples.{example}", "--help"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout.startswith(f"usage: python -m examples.{example}")
