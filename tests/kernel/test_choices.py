"""A variable or a key that names no choice of a program is refused, as a flag is that names none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ilk.errors import SettingsError
from ilk.program import choices, exits
from indexer.__main__ import app, main
from server.__main__ import app as server_app


def test_a_misspelled_variable_is_refused_with_the_one_that_is_meant(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("ILK_INDEXER_FAKTORS", "32")
    assert main(["inspect", "--store", str(tmp_path)]) == exits.USAGE
    told = capsys.readouterr().err
    assert "ILK_INDEXER_FAKTORS is no setting" in told
    assert "ILK_INDEXER_FACTORS is meant" in told


def test_the_server_refuses_it_too(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "server", "--store", str(tmp_path)]
    environment = {**os.environ, "ILK_SERVER_RATE_LIMT": "1e9"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode == exits.USAGE
    assert "ILK_SERVER_RATE_LIMT is no setting" in ended.stderr
    assert "ILK_SERVER_RATE_LIMIT is meant" in ended.stderr


@pytest.mark.parametrize(
    "variable",
    [
        "ILK_SERVER_port",
        "ILK_SERVER_",
        "ILK_SERVER_PORT_",
        "ILK_SERVER_NONSENSE",
        "ILK_SERVER_WORKERS_2",
    ],
)
def test_what_no_choice_is_called_is_refused(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "1")
    with pytest.raises(SettingsError, match=f"{variable} is no setting"):
        choices.expect_variables(server_app, "ILK_SERVER_")


def test_choices_and_what_a_cluster_tells_of_services_are_not_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ILK_SERVER", "127.0.0.1:50051")
    monkeypatch.setenv("ILK_SERVER_MAX_WAIT_S", "1.5")
    for name in ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_GRPC", "PORT_50051_TCP_ADDR"):
        monkeypatch.setenv(f"ILK_SERVER_{name}", "10.0.0.1")
    choices.expect_variables(server_app, "ILK_SERVER_")
    _, bound, _ = server_app.parse_args([])
    assert bound.arguments["settings"].max_wait_s == 1.5


def test_every_command_has_its_names_told() -> None:
    names = choices.names(app)
    assert {"movielens", "factors", "recall_target", "budget_s", "user", "no_evaluate"} <= names
    assert not any("-" in name for name in names)
    assert choices.unknown(app, ["min-user-ratings", "factors", "faktors"]) == ["faktors"]


@pytest.mark.parametrize(
    ("flags", "environment"),
    [
        (["--users-crowd", "2.5"], {}),
        (["--max-in-flight=5.7"], {}),
        ([], {"ILK_SERVER_PORT": "5.5"}),
    ],
    ids=str,
)
def test_a_part_of_a_number_is_not_rounded_to_a_whole_one(
    flags: list[str],
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert exits.run(server_app, flags) == exits.USAGE
    assert "must be a whole number, got" in capsys.readouterr().err


def test_a_settings_file_holds_whole_numbers_too(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ilk.toml").write_text("[indexer]\nfactors = 8.5\n")
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "indexer", "build", "--sample", "--store", str(tmp_path / "s")]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    ended = subprocess.run(command, env=environment, cwd=tmp_path, timeout=60)
    assert ended.returncode == exits.USAGE
    assert "--factors must be a whole number, got 8.5" in capfd.readouterr().err


@pytest.mark.parametrize("written", ["[indexr]\nfactors = 8\n", "factors = 8\n[indexer]\n"])
@pytest.mark.parametrize("module", ["indexer", "server"])
def test_a_setting_that_is_no_programs_is_no_slip_unnoticed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], written: str, module: str
) -> None:
    (tmp_path / "ilk.toml").write_text(written)
    root = Path(__file__).parents[2]
    more = ["build", "--sample"] if module == "indexer" else ["--port", "0"]
    command = [sys.executable, "-m", module, *more, "--store", str(tmp_path / "s")]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    ended = subprocess.run(command, env=environment, cwd=tmp_path, timeout=60)
    assert ended.returncode == exits.USAGE
    assert "in the tables [indexer] and [server], and '" in capfd.readouterr().err
    assert not (tmp_path / "s").exists()


def test_a_whole_number_may_be_written_with_a_point(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["build", "--sample", "--factors", "8.0", "--iterations", "0"]) == exits.USAGE
    assert "whole" not in capsys.readouterr().err
