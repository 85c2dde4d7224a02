"""The image holds what the programs need, checked by hash, and can tell its health."""

import os
import re
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from benchmarks.peers.environment import PeerFailed, installed
from ilk import SimilarityClient
from ilk.types import ItemId, Profile, Query, Rating
from loadtest.own_server import served
from server.settings import ServerSettings
from tests.deploy.conftest import DEPLOY, REPOSITORY

DOCKERFILE = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
PIN = re.compile(r"^(?P<name>[\w.-]+)==(?P<version>\S+)(?P<marker>[^\\]*)")


def pins(lock: Path) -> dict[str, set[str]]:
    """Return the hashes of each pinned requirement of a lock."""
    found: dict[str, set[str]] = {}
    for line in lock.read_text().splitlines():
        if pin := PIN.match(line):
            found[pin[0].strip()] = hashes = set()
        else:
            hashes.add(line.strip(" \\"))
    return found


def needed(extra: str) -> set[str]:
    """Return the names of the distributions that ``ilk[extra]`` asks for itself."""
    text = (REPOSITORY / "pyproject.toml").read_text()
    found = re.search(rf"^{extra} = \[(.*?)\]$", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    names = re.findall(r'"([A-Za-z][\w-]*)', found[1])
    return {name.lower() for name in names} - {"ilk"}


@pytest.mark.parametrize("program", ["server", "indexer"])
def test_an_image_installs_what_the_tests_ran_with(program: str) -> None:
    of_image, of_tests = pins(DEPLOY / f"{program}.lock"), pins(REPOSITORY / "requirements.lock")
    different = [name for name, hashes in of_image.items() if of_tests.get(name) != hashes]
    assert different == [], "run: make lock"
    assert all(of_image.values())


@pytest.mark.parametrize("program", ["server", "indexer"])
def test_an_image_installs_all_that_its_program_needs(program: str) -> None:
    names = {pin.partition("==")[0] for pin in pins(DEPLOY / f"{program}.lock")}
    assert needed(program) | needed("kernel") <= names, "run: make lock"


def test_an_image_is_made_of_files_that_the_context_holds() -> None:
    kept = set(re.findall(r"^!(\w+)$", (REPOSITORY / ".dockerignore").read_text(), re.MULTILINE))
    copied = re.findall(r"^COPY (?!--from)(\S+)", DOCKERFILE, re.MULTILINE)
    assert {"ilk/", "server/", "indexer/"} <= set(copied)
    for source in copied:
        assert (REPOSITORY / source).exists()
        assert source.split("/")[0] in kept


def test_variables_of_the_image_name_settings_of_the_server() -> None:
    names = re.findall(r"ILK_SERVER_(\w+)=", DOCKERFILE)
    assert names
    assert {name.lower() for name in names} <= ServerSettings.__dataclass_fields__.keys()


def test_the_image_opens_the_ports_it_listens_on() -> None:
    set_to = dict(re.findall(r"ILK_SERVER_(\w*PORT)=(\d+)", DOCKERFILE))
    (opened,) = re.findall(r"^EXPOSE (.*)$", DOCKERFILE, re.MULTILINE)
    assert opened.split() == [set_to["PORT"], set_to["HEALTH_PORT"], set_to["METRICS_PORT"]]
    assert f'"127.0.0.1:{set_to["HEALTH_PORT"]}"' in DOCKERFILE


def test_the_image_runs_as_nobody_in_particular() -> None:
    stages = DOCKERFILE.split("\nFROM ")
    final = [stage for stage in stages if "ENTRYPOINT" in stage]
    assert len(final) == 2
    assert all(re.search(r"^USER 10001:10001$", stage, re.MULTILINE) for stage in final)


@pytest.fixture(scope="session")
def image_python() -> Path:
    """Return a Python of the image's version with the image's packages."""
    (version,) = re.findall(r"^ARG PYTHON_VERSION=(.*)$", DOCKERFILE, re.MULTILINE)
    known = [f"python{version}", *map(str, (PYENV / "versions").glob(f"{version}.*/bin/python3"))]
    here = [python for python in known if _says(python, "--version").startswith("Python")]
    if not here:
        pytest.skip(f"there is no Python {version}, which the image has")
    lock = ("--no-deps", "--require-hashes", "-r", str(DEPLOY / "server.lock"))
    try:
        return installed("image", lock, here[-1])
    except (PeerFailed, OSError) as error:
        pytest.skip(f"the image's packages cannot be installed here: {error}")


def _says(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return ""


# BUG: the image's Python was one that no test had run with, and what had to wait was never answered.
def test_the_images_python_and_packages_serve(image_python: Path, sample_store: Path) -> None:
    matrix, rater = Query(ItemId("the-matrix-1999")), Profile(ratings=(Rating("alien-1979", 5.0),))
    with served(sample_store, str(image_python)) as target, SimilarityClient(target) as client:
        found = client.find_neighbors(matrix)
        assert client.batch_find_neighbors([matrix])[0] == found
        assert list(client.stream_find_neighbors([matrix])) == [found]
        assert client.search_titles("matrix")[0].item.id == "the-matrix-1999"
        assert client.predict_ratings(rater, ["the-matrix-1999"])


def probe(target: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(DEPLOY / "probe.py"), target]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_probe_passes_a_server_that_serves(sample_store: Path) -> None:
    with served(sample_store) as target:
        done = probe(target)
    assert done.returncode == 0, done.stderr


def test_the_probe_fails_a_server_that_does_not_serve_or_is_not_there() -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        servicer = health.HealthServicer()
        servicer.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        draining = probe(target)
        server.stop(None).wait()
    gone = probe(target)
    assert (draining.returncode, gone.returncode) == (1, 1)
    assert "NOT_SERVING" in draining.stderr
    assert "UNAVAILABLE" in gone.stderr


def test_docker_waits_as_long_as_calls_may_take() -> None:
    (grace_s,) = map(float, re.findall(r"ILK_SERVER_GRACE_S=(\d+)", DOCKERFILE))
    page = (REPOSITORY / "docs" / "deployment.md").read_text(encoding="utf-8")
    started = re.findall(r"^docker run (.*)$", page, re.MULTILINE)
    assert started
    for flags in started:
        waits_s = re.search(r"--stop-timeout (\d+)", flags)
        assert waits_s is not None
        assert float(waits_s[1]) > grace_s
