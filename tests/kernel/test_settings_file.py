"""A settings file that is named has to be there, for both programs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ilk.errors import SettingsError
from ilk.program import exits, settings_file
from indexer.__main__ import main


@pytest.mark.parametrize("named", ["gone.toml", "."])
def test_a_file_that_is_named_and_is_not_there_is_refused(
    named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ILK_CONFIG", named)
    with pytest.raises(SettingsError, match=r"ILK_CONFIG names .*, which is no file"):
        settings_file.expect()


def test_a_file_that_is_there_or_that_nobody_named_is_not_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for named in ("", str(Path(__file__)), os.devnull):
        monkeypatch.setenv("ILK_CONFIG", named)
        settings_file.expect()
    monkeypatch.delenv("ILK_CONFIG")
    settings_file.expect()


def test_the_indexer_refuses_it_but_where_it_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ILK_CONFIG", "gone.toml")
    assert main(["inspect", "--store", "none"]) == exits.USAGE
    assert "ILK_CONFIG names gone.toml" in capsys.readouterr().err
    assert main(["tune"]) == exits.USAGE
    assert "give one of --movielens" in capsys.readouterr().err


def test_the_server_refuses_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "server", "--store", str(tmp_path)]
    environment = {**os.environ, "ILK_CONFIG": "gone.toml"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode == exits.USAGE
    assert "ILK_CONFIG names gone.toml" in ended.stderr
