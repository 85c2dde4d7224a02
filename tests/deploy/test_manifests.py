"""The manifests are valid, agree with each other and with the programs that they start."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from benchmarks.peers.environment import PeerFailed, installed
from ilk.v1 import similarity_pb2 as pb
from indexer.__main__ import app as indexer_app
from server.__main__ import app as server_app
from server.settings import ServerSettings
from tests.deploy.conftest import BY_HAND, DEPLOY, MANIFESTS, REPOSITORY

if TYPE_CHECKING:
    from tests.deploy.conftest import Resource

VALIDATOR = ("kubernetes-validate==1.37.0",)


def test_manifests_hold_to_the_schema_of_kubernetes() -> None:
    try:
        python = installed("kubernetes-validate", VALIDATOR)
    except (PeerFailed, OSError) as error:
        pytest.skip(f"kubernetes-validate cannot be installed here: {error}")
    done = subprocess.run(
        [str(python), "-m", "kubernetes_validate", "--strict", *map(str, (*MANIFESTS, *BY_HAND))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_server_takes_the_flags_it_is_started_with(
    server: "Resource", flags: dict[str, str]
) -> None:
    _, bound, _ = server_app.parse_args(server["args"], exit_on_error=False, print_error=False)
    settings = bound.arguments["settings"]
    assert str(settings.store) == flags["store"]
    assert settings.port == int(flags["port"])
    assert settings.grace_s == float(flags["grace-s"])


def test_the_indexer_takes_the_flags_it_is_started_with(indexer_pod: "Resource") -> None:
    (container,) = indexer_pod["spec"]["containers"]
    indexer_app.parse_args(container["args"], exit_on_error=False, print_error=False)


@pytest.fixture
def rollback() -> "Resource":
    """Return the container of the job that rolls back."""
    (path,) = BY_HAND
    (container,) = yaml.safe_load(path.read_text())["spec"]["template"]["spec"]["containers"]
    found: Resource = container
    return found


def test_the_indexer_takes_the_flags_of_a_rollback(rollback: "Resource") -> None:
    indexer_app.parse_args(rollback["args"], exit_on_error=False, print_error=False)


def test_variables_name_settings_of_the_server(server: "Resource") -> None:
    for variable in server["env"]:
        name = variable["name"].removeprefix("ILK_SERVER_").lower()
        assert name in ServerSettings.__dataclass_fields__


def test_ports_are_the_ones_the_server_listens_on(
    server: "Resource", flags: dict[str, str], resources: dict[tuple[str, str], "Resource"]
) -> None:
    ports = {port["name"]: port["containerPort"] for port in server["ports"]}
    listened = {
        "grpc": flags["port"],
        "health": flags["health-port"],
        "metrics": flags["metrics-port"],
    }
    assert ports == {name: int(port) for name, port in listened.items()}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert server[probe]["grpc"]["port"] == ports["health"]
    (offered,) = resources["Service", "ilk"]["spec"]["ports"]
    assert offered["targetPort"] in ports
    for rule in resources["NetworkPolicy", "ilk-server"]["spec"]["ingress"]:
        assert all(port["port"] in ports for port in rule["ports"])


def test_the_probe_asks_for_the_service_of_the_contract(server: "Resource") -> None:
    service = pb.DESCRIPTOR.services_by_name["SimilarityService"].full_name
    assert server["readinessProbe"]["grpc"]["service"] == service


def test_calls_have_their_grace_before_the_pod_is_killed(
    server_pod: "Resource", server: "Resource", flags: dict[str, str]
) -> None:
    command, pause_s = server["lifecycle"]["preStop"]["exec"]["command"]
    assert command == "sleep"
    allowed_s = server_pod["spec"]["terminationGracePeriodSeconds"]
    assert float(pause_s) + float(flags["grace-s"]) + 5 <= allowed_s


def test_liveness_does_not_give_up_on_a_server_that_drains(
    server_pod: "Resource", server: "Resource"
) -> None:
    probe = server["livenessProbe"]
    gives_up_after_s = probe["periodSeconds"] * probe["failureThreshold"]
    assert gives_up_after_s > server_pod["spec"]["terminationGracePeriodSeconds"]


def test_everything_that_selects_servers_selects_them(
    resources: dict[tuple[str, str], "Resource"], server_pod: "Resource"
) -> None:
    labels = server_pod["metadata"]["labels"].items()
    selectors = [
        resources["Deployment", "ilk-server"]["spec"]["selector"]["matchLabels"],
        resources["Service", "ilk"]["spec"]["selector"],
        resources["PodDisruptionBudget", "ilk-server"]["spec"]["selector"]["matchLabels"],
        resources["NetworkPolicy", "ilk-server"]["spec"]["podSelector"]["matchLabels"],
    ]
    assert all(selector.items() <= labels for selector in selectors)
    scaled = resources["HorizontalPodAutoscaler", "ilk-server"]["spec"]["scaleTargetRef"]
    assert (scaled["kind"], scaled["name"]) in resources
    assert "replicas" not in resources["Deployment", "ilk-server"]["spec"]


def test_only_the_indexer_writes_the_store(
    resources: dict[tuple[str, str], "Resource"],
    server_pod: "Resource",
    indexer_pod: "Resource",
    flags: dict[str, str],
) -> None:
    serving, building = (_mount(pod, "ilk-store") for pod in (server_pod, indexer_pod))
    assert serving["readOnly"]
    assert not building.get("readOnly")
    assert serving["mountPath"] == flags["store"]
    claim = resources["PersistentVolumeClaim", "ilk-store"]["spec"]
    assert claim["accessModes"] == ["ReadWriteMany"]
    assert resources["CronJob", "ilk-indexer"]["spec"]["concurrencyPolicy"] == "Forbid"


def test_the_cluster_mounts_what_the_server_is_entered_with(
    server_pod: "Resource", server: "Resource", flags: dict[str, str]
) -> None:
    _, bound, _ = server_app.parse_args(server["args"], exit_on_error=False, print_error=False)
    settings = bound.arguments["settings"]
    assert settings.knows_callers
    assert not settings.allow_plaintext
    assert not settings.allow_anonymous
    secrets = {v["name"] for v in server_pod["spec"]["volumes"] if "secret" in v}
    mounts = {m["mountPath"]: m for m in server["volumeMounts"] if m["name"] in secrets}
    for flag in ("tls-cert", "tls-key", "callers"):
        mount = mounts[flags[flag].rpartition("/")[0]]
        assert mount["readOnly"]
        # What is mounted by subPath is never renewed.
        assert "subPath" not in mount


def test_pods_run_with_as_little_as_they_need(
    server_pod: "Resource", indexer_pod: "Resource"
) -> None:
    uid = 10001
    assert f"--uid {uid}" in (DEPLOY / "Dockerfile").read_text()
    for pod in (server_pod, indexer_pod):
        assert pod["spec"]["securityContext"]["runAsNonRoot"]
        assert pod["spec"]["securityContext"]["runAsUser"] == uid
        assert not pod["spec"]["automountServiceAccountToken"]
        for container in pod["spec"]["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"]
            assert not container["securityContext"]["allowPrivilegeEscalation"]
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_the_kustomization_names_every_manifest_and_image(
    server: "Resource", indexer_pod: "Resource", rollback: "Resource"
) -> None:
    told, by_hand, images = (
        yaml.safe_load((DEPLOY / "kubernetes" / folder / "kustomization.yaml").read_text())
        for folder in (".", "by-hand", "images")
    )
    assert sorted(told["resources"]) == [path.name for path in MANIFESTS]
    assert sorted(by_hand["resources"]) == [path.name for path in BY_HAND]
    assert (told["components"], by_hand["components"]) == (["images"], ["../images"])
    used = {server["image"], indexer_pod["spec"]["containers"][0]["image"]}
    assert {image["name"] for image in images["images"]} == used
    assert rollback["image"] in used
    version = f'version = "{images["images"][0]["newTag"]}"'
    assert version in (REPOSITORY / "pyproject.toml").read_text()


def test_a_registry_that_is_named_once_is_everywhere(tmp_path: Path) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("there is no kubectl here")
    copied = shutil.copytree(DEPLOY / "kubernetes", tmp_path / "kubernetes")
    images = copied / "images" / "kustomization.yaml"
    images.write_text(images.read_text().replace("newName: ", "newName: registry.example/"))
    found: set[str] = set()
    for folder in (copied, copied / "by-hand"):
        built = subprocess.run(
            [kubectl, "kustomize", str(folder)], capture_output=True, text=True, check=False
        )
        assert built.returncode == 0, built.stderr
        of_folder = set(re.findall(r"image: (\S+)", built.stdout))
        assert of_folder
        found |= of_folder
    assert found == {f"registry.example/ilk-{name}:0.1.0" for name in ("server", "indexer")}


def _mount(pod: "Resource", claim: str) -> Any:
    (volume,) = (
        v["name"]
        for v in pod["spec"]["volumes"]
        if v.get("persistentVolumeClaim", {}).get("claimName") == claim
    )
    (mount,) = (
        m for c in pod["spec"]["containers"] for m in c["volumeMounts"] if m["name"] == volume
    )
    return mount
