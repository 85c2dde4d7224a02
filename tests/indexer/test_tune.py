"""Searches: what is searched, what may go on from where, and what is written for build."""

import resource
import signal
import subprocess
import sys
from dataclasses import fields, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import tomlkit
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from ilk.ann import IndexKind
from ilk.errors import DataError, IlkError, SettingsError
from ilk.program import exits
from indexer import config
from indexer.__main__ import app
from indexer.evaluation.metrics import ndcg_at
from indexer.evaluation.protocols import split_weak
from indexer.evaluation.relevance import relevant
from indexer.evaluation.served import built_from, rank
from indexer.interactions import Interactions
from indexer.progress import Progress
from indexer.search.journal import open_journal
from indexer.search.tuning import TuningSettings, objective_key, tune
from indexer.settings import BuildSettings
from indexer.training.order import kept

QUIET = Progress(quiet=True)
QUICK = BuildSettings(factors=16, iterations=2, evaluate=False)
WEAK = TuningSettings(protocol="weak", metric="ndcg@10", splits=1, max_trials=2)


@pytest.fixture(scope="module")
def few(sample: Interactions) -> Interactions:
    return kept(sample.only(sample.user_rows < 80), min_user_ratings=1, min_item_ratings=1)


@pytest.fixture(autouse=True)
def other_settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a settings file of whoever runs the tests out of them."""
    monkeypatch.chdir(tmp_path)


def trials_of(journal: Path) -> dict[str, int]:
    storage = JournalStorage(JournalFileBackend(str(journal)))
    return {s.study_name: s.n_trials for s in optuna.get_all_study_summaries(storage)}


def test_the_first_trial_is_the_settings_given_measured_as_they_are_served(
    few: Interactions, tmp_path: Path
) -> None:
    one = replace(WEAK, max_trials=1)
    tuned = tune(few, QUICK, one, tmp_path / "journal", QUIET)
    split = split_weak(few, relevant(few, QUICK), QUICK.seed + 1_000_000)
    with built_from(split.train_interactions(), QUICK, QUIET) as bundle:
        expected = [
            ndcg_at(rank(bundle, split, 10, content_weight=w), split.held_out_matrix(), 10).mean()
            for w in (0.0, 0.05, 0.1, 0.2, 0.3, 0.4)
        ]
    assert tuned.score == pytest.approx(max(expected), abs=1e-6)
    assert replace(tuned.settings, content_weight=QUICK.content_weight) == QUICK


def test_a_search_goes_on_where_it_stopped_and_mixes_with_no_other(
    few: Interactions, tmp_path: Path
) -> None:
    journal = tmp_path / "cache" / "journal"
    one = replace(WEAK, max_trials=1)
    first = tune(few, QUICK, one, journal, QUIET)
    assert (first.n_trials, *trials_of(journal).values()) == (1, 1)
    again = tune(few, QUICK, replace(WEAK, budget_s=1e4), journal, QUIET)
    assert (again.n_trials, *trials_of(journal).values()) == (2, 2)
    assert again.score >= first.score
    assert tune(few, QUICK, replace(one, metric="recall@20"), journal, QUIET).n_trials == 1
    assert sorted(trials_of(journal).values()) == [1, 2]


def test_a_trial_that_was_killed_does_not_count(few: Interactions, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    study = optuna.create_study(
        study_name=objective_key(few, QUICK, WEAK),
        storage=JournalStorage(JournalFileBackend(str(journal))),
        direction="maximize",
    )
    study.ask()
    tuned = tune(few, QUICK, replace(WEAK, budget_s=1e-9), journal, QUIET)
    assert tuned.n_trials == 1
    assert trials_of(journal)[study.study_name] == 2
    # It was to measure the settings given, and they are measured still.
    assert replace(tuned.settings, content_weight=QUICK.content_weight) == QUICK


def test_a_search_that_goes_on_makes_no_trial_again(few: Interactions, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    for n_trials in (2, 3, 4):
        tune(few, QUICK, replace(WEAK, max_trials=n_trials, budget_s=1e4), journal, QUIET)
    (study,) = optuna.get_all_study_summaries(JournalStorage(JournalFileBackend(str(journal))))
    trials = optuna.load_study(
        study_name=study.study_name, storage=JournalStorage(JournalFileBackend(str(journal)))
    ).trials
    assert len({str(trial.params) for trial in trials}) == len(trials) == 4


def test_a_journal_that_was_torn_in_writing_goes_on(few: Interactions, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    tune(few, QUICK, replace(WEAK, max_trials=1), journal, QUIET)
    whole = journal.read_bytes()
    last = len(whole.splitlines()[-1])
    for n_kept in (1, 5, last // 2, last):
        journal.write_bytes(whole + whole.splitlines()[-1][:n_kept])
        storage = open_journal(journal)
        assert journal.read_bytes() == whole
        assert [s.n_trials for s in optuna.get_all_study_summaries(storage)] == [1]
    journal.write_bytes(whole[:-3])
    assert tune(few, QUICK, replace(WEAK, max_trials=1), journal, QUIET).n_trials == 1
    assert list(tmp_path.iterdir()) == [journal]


def test_a_search_that_was_killed_while_it_wrote_shuts_out_no_other(tmp_path: Path) -> None:
    code = """
import os, pathlib, signal
from indexer.search.journal import open_journal
open_journal(pathlib.Path("cache/journal"))._backend._lock.acquire()
os.kill(os.getpid(), signal.SIGKILL)
"""
    for _ in range(2):
        killed = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={"PYTHONPATH": str(Path(__file__).parents[2])},
            timeout=60,
            check=False,
        )
        assert killed.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("alpha = 3", r"journal, line 1: is no entry of a journal; give --journal another file"),
        ('{"op_code":0}\n{"op_code":4,"tr{"op_code":0}\n', "line 2: is no entry"),
        ('{"op_code":0}\n', "cannot be gone on from"),
        ('{"op_code":99,"worker_id":"x"}\n', "cannot be gone on from"),
        ("\x00\x00\n", "line 1: is no entry"),
    ],
)
def test_what_is_no_journal_is_refused_and_left_as_it_is(
    tmp_path: Path, text: str, problem: str
) -> None:
    journal = tmp_path / "journal"
    journal.write_text(text)
    with pytest.raises(DataError, match=problem):
        open_journal(journal)
    assert journal.read_text() == text


def test_a_journal_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "journal"):
        with pytest.raises(DataError, match="cannot be used as a journal"):
            open_journal(path)


def test_a_search_is_named_after_all_that_its_scores_depend_on(few: Interactions) -> None:
    same = objective_key(few, QUICK, WEAK)
    for settings_, base in (
        (replace(WEAK, budget_s=5.0, max_trials=9), QUICK),
        (WEAK, replace(QUICK, factors=32, alpha=9.0, regularization=0.1, activity_discount=0.0)),
        (WEAK, replace(QUICK, content_weight=0.7, index=IndexKind.IVF, evaluate=True)),
    ):
        assert objective_key(few, base, settings_) == same
    assert few.timestamps is not None
    times = [np.full(1, row) for row in range(few.n_items)]
    tags = replace(few.items, texts={"tags": few.items.titles}, line_times={"tags": times})
    tagged = replace(few, items=tags)
    others = [
        (few, QUICK, replace(WEAK, metric="ndcg@100")),
        (few, QUICK, replace(WEAK, protocol="strong")),
        (few, QUICK, replace(WEAK, splits=2)),
        (few, QUICK, replace(WEAK, core=2)),
        (few, replace(QUICK, iterations=3), WEAK),
        (few, replace(QUICK, liked_from=3.0), WEAK),
        (few, replace(QUICK, normalize="none"), WEAK),
        (few, replace(QUICK, half_life_days=3.0), WEAK),
        (few, replace(QUICK, seed=1), WEAK),
        (few.only(np.arange(len(few)) > 0), QUICK, WEAK),
        (replace(few, ratings=few.ratings[::-1]), QUICK, WEAK),
        (replace(few, timestamps=few.timestamps + 1), QUICK, WEAK),
        (replace(few, timestamps=None), QUICK, WEAK),
        (replace(few, rating_scale=None), QUICK, WEAK),
        (replace(few, items=replace(few.items, genres=few.items.genres[::-1])), QUICK, WEAK),
        (replace(few, items=replace(few.items, years=few.items.years[::-1])), QUICK, WEAK),
        (tagged, QUICK, WEAK),
        (replace(few, items=tags.before(9)), QUICK, WEAK),
    ]
    names = [objective_key(*other) for other in others]
    assert len({same, *names}) == 1 + len(others)


def test_a_start_outside_the_ranges_is_brought_inside(few: Interactions, tmp_path: Path) -> None:
    base = replace(QUICK, factors=8, alpha=0.01, frequency_exponent=0.0)
    tuned = tune(few, base, replace(WEAK, max_trials=1), tmp_path / "journal", QUIET).settings
    assert (tuned.factors, tuned.alpha, tuned.frequency_exponent) == (16, 0.5, 0.5)


def with_tags(data: Interactions, times: list[int]) -> Interactions:
    """The same data, where every film has a tag from each of these times."""
    text = "\n".join(f"tag {at}" for at in range(len(times)))
    line_times = [np.array(times)] * data.n_items
    tagged = {"tags": [text] * data.n_items}
    items = replace(data.items, texts=tagged, line_times={"tags": line_times})
    return replace(data, items=items)


def test_temporal_validation_searches_the_half_life_and_sees_nothing_from_the_day_on(
    few: Interactions, tmp_path: Path
) -> None:
    times_s = few.timestamps
    assert times_s is not None
    middle = datetime.fromtimestamp(float(np.median(times_s)), tz=timezone.utc)
    asked = replace(WEAK, protocol="temporal", max_trials=1, until=middle)
    late = int(middle.timestamp()) + 1
    few, tagged_later = (with_tags(few, times) for times in ([0], [0, late]))
    tuned = tune(few, QUICK, asked, tmp_path / "journal", QUIET)
    assert tuned.settings.half_life_days == 10_000
    is_past = times_s < middle.timestamp()
    past = few.only(is_past)
    scrambled = replace(few, ratings=np.where(is_past, few.ratings, np.float32(0.5)))
    for other in (past, scrambled, tagged_later):
        again = tune(other, QUICK, asked, tmp_path / "journal", QUIET)
        assert (again, len(trials_of(tmp_path / "journal"))) == (tuned, 1)
    with pytest.raises(DataError, match="--until needs"):
        tune(replace(few, timestamps=None), QUICK, asked, tmp_path / "journal", QUIET)


@pytest.mark.parametrize(
    "wrong",
    [
        {"metric": "f1@10"},
        {"protocol": "cold_items"},
        {"budget_s": 0.0},
        {"splits": 0},
        {"max_trials": 0},
        {"core": 0},
    ],
)
def test_choices_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        TuningSettings(**wrong)


def test_a_training_file_alone_is_tuned_for_and_the_settings_are_found_by_evaluate(
    few: Interactions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = tmp_path / "train.tsv"
    rows = zip(few.user_rows, few.item_rows, few.ratings, strict=True)
    train.write_text("".join(f"{u}\t{i}\t{r:g}\n" for u, i, r in rows if r >= 4))
    output = tmp_path / "ilk.toml"
    output.write_text('# ours\n[server]\nport = 1 # why\n\n[indexer]\nstore = "s"\nalpha = 7.0\n')
    command = ["tune", "--train", str(train), "--protocol", "weak", "--metric", "ndcg@10"]
    command += ["--splits", "1", "--max-trials", "1", "--iterations", "2", "--quiet"]
    assert exits.run(app, [*command, "--output", str(output)]) == exits.DONE
    assert "validation ndcg@10 0." in capsys.readouterr().out
    text = output.read_text()
    assert text.startswith("# ours\n[server]\nport = 1 # why\n")
    assert 'store = "s"' in text
    assert "iterations = 2" in text
    assert text.count("alpha = ") == 1
    config.check(output, app)


def test_settings_written_are_the_settings_read(tmp_path: Path) -> None:
    path = tmp_path / "ilk.toml"
    path.write_text("[indexer]\nliked-from = 2.0\nhalf-life-days = 3.0\ngraded = true\n")
    written = BuildSettings(factors=48, regularization=1 / 3, index=IndexKind.IVF, normalize="mean")
    config.write(written, path, "a remark")
    values = tomlkit.parse(path.read_text()).unwrap()["indexer"]
    assert BuildSettings(**{**values, "index": IndexKind(values["index"])}) == written
    assert "# a remark" in path.read_text()
    config.write(written, path, "another")
    assert path.read_text().count("remark") == 0
    assert set(values) <= {field.name for field in fields(BuildSettings)}
    for spoilt in ("[indexer\n", "[indexer]\nfactors = 8\nfactors = 9\n"):
        path.write_text(spoilt)
        with pytest.raises(SettingsError, match="cannot be read"):
            config.write(written, path, "")
        with pytest.raises(SettingsError, match="cannot be read"):
            config.check(path, app)


def test_a_settings_file_that_cannot_be_written_whole_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "ilk.toml"
    whole = "[server]\nport = 1\n" + "# one's own\n" * 300
    path.write_text(whole)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 10, limits[1]))
    try:
        with pytest.raises(IlkError, match=r"ilk\.toml cannot be written: File too large"):
            config.write(QUICK, path, "tuned")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_text() == whole
    config.write(QUICK, path, "tuned")
    assert path.read_text().startswith(whole)
