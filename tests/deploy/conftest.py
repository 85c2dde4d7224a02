"""The deployment files, parsed, and a place to install what checks them."""

from pathlib import Path
from typing import Any, TypeAlias

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
DEPLOY = REPOSITORY / "deploy"
MANIFESTS = sorted(p for p in (DEPLOY / "kubernetes").glob("*.yaml") if "kustom" not in p.name)
BY_HAND = sorted(
    p for p in (DEPLOY / "kubernetes" / "by-hand").glob("*.yaml") if "kustom" not in p.name
)

Resource: TypeAlias = dict[str, Any]


@pytest.fixture(scope="session")
def resources() -> dict[tuple[str, str], Resource]:
    """Every resource, by kind and name."""
    parsed = [r for path in MANIFESTS for r in yaml.safe_load_all(path.read_text())]
    by_name = {(r["kind"], r["metadata"]["name"]): r for r in parsed}
    assert len(by_name) == len(parsed)
    return by_name


@pytest.fixture(scope="session")
def server_pod(resources: dict[tuple[str, str], Resource]) -> Resource:
    """What a server pod is."""
    pod: Resource = resources["Deployment", "ilk-server"]["spec"]["template"]
    return pod


@pytest.fixture(scope="session")
def server(server_pod: Resource) -> Resource:
    """The container that serves."""
    (container,) = server_pod["spec"]["containers"]
    found: Resource = container
    return found


@pytest.fixture(scope="session")
def indexer_pod(resources: dict[tuple[str, str], Resource]) -> Resource:
    """What an indexer pod is."""
    pod: Resource = resources["CronJob", "ilk-indexer"]["spec"]["jobTemplate"]["spec"]["template"]
    return pod


@pytest.fixture(scope="session")
def flags(server: Resource) -> dict[str, str]:
    """The server's flags and their values."""
    return dict(flag.removeprefix("--").split("=", 1) for flag in server["args"])
