"""Results that cannot be written where they are wanted: refused before the work for them begins."""

from pathlib import Path

import pytest

from ilk.bundle import Bundle
from ilk.errors import IlkError
from ilk.program import exits
from indexer import config
from indexer.__main__ import app
from indexer.evaluation import present
from indexer.inspection import draw_recall
from indexer.outputs import expect_file, expect_folder
from indexer.settings import BuildSettings


@pytest.fixture
def a_file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_text("ours")
    return path


@pytest.mark.parametrize(
    ("command", "flag"),
    [
        (["evaluate"], "--json"),
        (["evaluate"], "--plots"),
        (["tune"], "--output"),
        (["tune"], "--journal"),
        (["inspect"], "--plots"),
    ],
)
def test_a_path_that_cannot_be_written_is_refused_before_anything_is_read(
    command: list[str],
    flag: str,
    a_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    wanted = a_file / "deep" / "x.json"
    # No data is named: to read would be refused as wrong usage.
    assert exits.run(app, [*command, flag, str(wanted)]) == exits.FAILURE
    assert capsys.readouterr().err == f"{wanted} cannot be written: Not a directory\n"
    assert a_file.read_text() == "ours"


def test_what_is_expected_is_tried_and_leaves_nothing_behind(a_file: Path, tmp_path: Path) -> None:
    expect_file(a_file)
    expect_file(tmp_path / "new" / "x.json")
    expect_folder(tmp_path / "plots" / "deep")
    assert a_file.read_text() == "ours"
    assert list((tmp_path / "new").iterdir()) == []
    assert list((tmp_path / "plots" / "deep").iterdir()) == []
    with pytest.raises(IlkError, match=r"cannot be written: Is a directory"):
        expect_file(tmp_path)
    with pytest.raises(IlkError, match=r"file cannot be written: File exists"):
        expect_folder(a_file)


def test_a_settings_file_that_cannot_be_read_is_refused_before_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.toml").write_text("[indexer")
    assert exits.run(app, ["tune", "--sample", "--output", "other.toml"]) == exits.USAGE
    assert "other.toml cannot be read" in capsys.readouterr().err


def test_what_fails_all_the_same_is_told_by_the_path(a_file: Path, bundle: Bundle) -> None:
    beneath = a_file / "x"
    with pytest.raises(IlkError, match="x cannot be written"):
        present.write_json({}, beneath)
    with pytest.raises(IlkError, match="x cannot be written"):
        draw_recall(bundle.manifest, beneath)
    with pytest.raises(IlkError, match="x cannot be written"):
        config.write(BuildSettings(), beneath, "")
