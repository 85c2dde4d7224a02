"""A grpcio without the names that our transport is built on is served all the same."""

import os
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ilk import SimilarityClient
from ilk.types import ItemId, Query
from server.cores import can_share_port
from server.transports import CORE_NAMES
from tests.server.conftest import REPOSITORY

if TYPE_CHECKING:
    from tests.server.conftest import Start

MATRIX = Query(ItemId("the-matrix-1999"), neighbor_count=3)
# Python runs a module of this name before any other: it takes a name away from grpcio.
HIDING = "from grpc._cython import cygrpc\ndel cygrpc.ReceiveMessageOperation\n"
COMPLAINT = "has no ReceiveMessageOperation"


@pytest.fixture
def poorer(tmp_path: Path) -> str:
    """Return a ``PYTHONPATH`` with which programs find a grpcio that lacks a name."""
    folder = tmp_path / "poorer"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(HIDING)
    return f"{folder}{os.pathsep}{REPOSITORY}"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_grpcio_without_a_name_of_the_core_is_served_by_aio_and_one_warning_says_so(
    start: "Start", sample_store: Path, poorer: str, workers: str
) -> None:
    if workers == "2" and not can_share_port():
        pytest.skip("only Linux deals out a port's connections")
    flags = ("--store", str(sample_store), "--port", "0", "--workers", workers)
    program = start(*flags, PYTHONPATH=poorer)
    with SimilarityClient(program.address()) as client:
        assert len(client.find_neighbors(MATRIX).neighbors) == 3
    program.process.send_signal(signal.SIGTERM)
    code, log = program.ended()
    assert (code, log.count(COMPLAINT), "Traceback" in log) == (0, 1, False), log


def test_who_asks_for_aio_is_not_told_what_the_core_lacks(
    start: "Start", sample_store: Path, poorer: str
) -> None:
    flags = ("--store", str(sample_store), "--port", "0", "--workers", "1", "--transport", "aio")
    program = start(*flags, PYTHONPATH=poorer)
    with SimilarityClient(program.address()) as client:
        assert len(client.find_neighbors(MATRIX).neighbors) == 3
    assert COMPLAINT not in program.log.read_text()


def test_every_name_that_the_transport_takes_from_the_core_is_looked_for() -> None:
    sources = "".join(file.read_text() for file in (REPOSITORY / "server/wire").glob("*.py"))
    assert set(re.findall(r"\bcygrpc\.(\w+)", sources)) == set(CORE_NAMES)
