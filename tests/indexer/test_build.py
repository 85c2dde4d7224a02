from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ilk.bundle import Store, open_bundle
from ilk.errors import DataError, SettingsError
from ilk.program import exits
from ilk.query import answer
from ilk.types import Examples, Filter, ItemId, Profile, Query, Rating, Target, Text, UserId
from ilk.vectors import norms, support
from indexer import config
from indexer.__main__ import app, main
from indexer.build import build
from indexer.evaluation.quality import measure_quality
from indexer.interactions import Interactions, Items
from indexer.progress import Progress
from indexer.settings import BuildSettings
from indexer.training.order import kept

QUIET = Progress(quiet=True)
QUICK = BuildSettings(factors=4, iterations=2, evaluate=False)


def tables(folder: Path, ratings: str, films: str) -> list[str]:
    (folder / "ratings.csv").write_text(ratings, encoding="utf-8")
    (folder / "films.csv").write_text(films, encoding="utf-8")
    return [
        "build",
        "--interactions",
        str(folder / "ratings.csv"),
        "--items",
        str(folder / "films.csv"),
        "--store",
        str(folder / "store"),
        "--factors",
        "4",
        "--quiet",
    ]


@pytest.mark.parametrize("limits", [(0.7, 4.5), (1.0, 4.9)])
def test_quality_is_measured_on_scales_that_float32_cannot_hold(
    sample: Interactions, limits: tuple[float, float]
) -> None:
    low, high = limits
    data = replace(
        sample,
        ratings=((sample.ratings - 0.5) / 4.5 * (high - low) + low).astype(np.float32),
        rating_scale=limits,
    )
    few = kept(data.only(data.user_rows < 100), min_user_ratings=1, min_item_ratings=0)
    assert measure_quality(few, QUICK, QUIET)["test_users"] > 0


def test_popularity_is_how_often_an_item_is_recommended_to_those_who_have_not_rated_it(
    sample: Interactions, tmp_path: Path
) -> None:
    # Of so few items all are recommended, but for those that were rated.
    few = sample.only((sample.user_rows < 40) & (sample.item_rows < 30))
    settings = replace(QUICK, min_user_ratings=1, min_item_ratings=1)
    build(few, tmp_path, settings, QUIET)
    bundle = open_bundle(tmp_path)
    n_raters = np.diff(bundle.ratings_by_item.indptr)
    shown = np.log1p(len(bundle.users) - n_raters)
    np.testing.assert_allclose(bundle.items.popularity, shown / shown.max(), rtol=1e-5)


def test_users_content_is_as_long_as_there_are_ratings_to_trust_it(
    sample: Interactions, tmp_path: Path
) -> None:
    build(sample.only(sample.user_rows < 40), tmp_path, QUICK, QUIET)
    bundle = open_bundle(tmp_path)
    expected = support(np.diff(bundle.ratings_by_user.indptr))
    np.testing.assert_allclose(norms(bundle.users.content), expected, rtol=1e-5)


@pytest.mark.parametrize("evaluate", [False, True])
def test_a_half_life_without_times_is_refused(
    sample: Interactions, tmp_path: Path, evaluate: bool
) -> None:
    timeless = replace(sample, timestamps=None)
    settings = replace(QUICK, half_life_days=30.0, evaluate=evaluate)
    with pytest.raises(DataError, match="has no timestamps; --half-life-days needs them"):
        build(timeless, tmp_path, settings, QUIET)


@pytest.mark.parametrize(
    ("ratings", "films"),
    [
        ("user,item,rating\nu,1,5\nu,2,1\n", "id,title,genres\n1,A,Drama\n2,B,War\n"),
        ("user,item,rating\nu,1,5\nv,1,1\n", "id,title,genres\n1,A,Drama\n"),
        ("user,item\nu,1\n", "id,title,genres\n1,A,\n"),
        ("user,item,rating\nu,1,5\nv,2,1\n", "id,title,genres\n1,A,\n2,B,\n"),
        ("user,item\nu,1\nu,1\nv,2\n", "id,title,genres\n1,A,Drama\n2,B,\n3,C,War\n"),
        ("user,item,rating\n😀 a,b c,5\nv,b c,1\n", "id,title,genres\nb c,Ä 😀,Sci-Fi|Film-Noir\n"),
    ],
    ids=["one user", "one film", "one click", "no genres", "clicks", "spaces and emoji"],
)
def test_the_smallest_data_makes_a_bundle_that_answers(
    tmp_path: Path, ratings: str, films: str
) -> None:
    assert exits.run(app, tables(tmp_path, ratings, films)) == exits.DONE
    bundle = open_bundle(tmp_path / "store")
    item_id, user_id = bundle.items.vocabulary.id_of(0), bundle.users.vocabulary.id_of(0)
    for target in Target:
        for whom in (ItemId(item_id), UserId(user_id), Profile(liked_item_ids=(item_id,))):
            for weight in (0.0, 0.3, 1.0):
                found = answer(bundle, Query(whom, target, weight))
                assert found.shortfall is not None
                assert found.shortfall.returned == len(found.neighbors) < 10


@pytest.mark.parametrize(
    ("ratings", "films", "says"),
    [
        ("user,item,rating\n", "id,title,genres\n1,A,Drama\n", "ratings.csv"),
        ("user,item,rating\nu,1,five\n", "id,title,genres\n1,A,Drama\n", "ratings.csv, line 2"),
        ("user,item,rating\nu,9,5\nv,1,1\n", "id,title,genres\n1,A,Drama\n", "ratings.csv, line 2"),
        ("user,item,rating\nu,1,1\nu,2,2\n", "id,title,genres\n1,A,D\n2,B,D\n", "liked-from"),
    ],
    ids=["empty", "no number", "unknown film", "no positive"],
)
def test_unusable_data_publishes_nothing_and_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], ratings: str, films: str, says: str
) -> None:
    command = [*tables(tmp_path, ratings, films), "--rating-scale", "1", "5"]
    if says == "ratings.csv":
        command = command[:-3]
    assert exits.run(app, command) == exits.FAILURE
    assert says in capsys.readouterr().err
    assert not Store(tmp_path / "store").list_versions()
    assert not (tmp_path / "store" / "CURRENT").exists()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--iterations", "0"], "--iterations must be in"),
        (["--regularization", "inf"], "--regularization must be positive"),
        (["--alpha", "nan"], "--alpha must be positive"),
        (["--content-weight", "2"], "--content-weight must be in"),
        (["--sample", "--movielens", "x"], "--sample, not 3"),
        (["--no-such-flag"], "no-such-flag"),
    ],
)
def test_wrong_flags_end_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], says: str
) -> None:
    command = tables(tmp_path, "user,item\nu,1\n", "id,title,genres\n1,A,\n")
    assert exits.run(app, [*command, *flags]) == exits.USAGE
    assert says in capsys.readouterr().err


def test_a_store_that_cannot_be_written_is_told_before_anything_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    command = ["build", "--sample", "--store", str(tmp_path / "file" / "store")]
    assert exits.run(app, command) == exits.FAILURE
    told = capsys.readouterr().err
    assert "store cannot be written: Not a directory" in told
    assert "train" not in told


def test_a_build_measures_itself_on_users_it_did_not_train_on(sample: Interactions) -> None:
    figures = measure_quality(sample, BuildSettings(factors=16, iterations=6), QUIET)
    assert 0.05 < figures["ndcg@10,w=0"] < 0.9
    assert figures["test_users"] > 10


def test_equal_data_and_seed_make_equal_bundles(sample: Interactions, tmp_path: Path) -> None:
    first, second = (build(sample, tmp_path / name, QUICK, QUIET) for name in ("a", "b"))
    assert first.rpartition("-")[2] == second.rpartition("-")[2]
    files = [open_bundle(tmp_path / name).manifest.files for name in ("a", "b")]
    assert files[0] == files[1]


def test_films_and_users_with_too_few_ratings_are_left_out(tmp_path: Path) -> None:
    items = Items(["1", "2", "3"], ["A", "B", "C"], np.zeros(3, np.int16), [("D",)] * 3, {})
    pairs = np.array([(0, 0), (0, 1), (1, 0), (1, 1), (2, 2)], dtype=np.int32)
    data = Interactions(
        ["u", "v", "w"],
        items,
        pairs[:, 0],
        pairs[:, 1],
        np.full(5, 5, dtype=np.float32),
        None,
        (1.0, 5.0),
        "five ratings",
    )
    settings = BuildSettings(
        factors=2, evaluate=False, min_item_ratings=2, min_user_ratings=2, iterations=2
    )
    build(data, tmp_path, settings, QUIET)
    bundle = open_bundle(tmp_path)
    assert sorted(bundle.items.vocabulary.ids.to_list()) == ["1", "2"]
    assert sorted(bundle.users.vocabulary.ids.to_list()) == ["u", "v"]


def test_movielens_looks_right_to_a_person(ml_latest_small: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    command = ["build", "--movielens", str(ml_latest_small), "--store", str(store)]
    assert exits.run(app, [*command, "--quiet", "--no-evaluate"]) == exits.DONE
    bundle = open_bundle(store)
    titles = bundle.catalogue.titles
    row_of = bundle.items.vocabulary.row_of

    def near(item_id: str, weight: float) -> set[str]:
        found = answer(bundle, Query(ItemId(item_id), content_weight=weight))
        return {titles[row_of(n.id)] for n in found.neighbors}

    assert {"Toy Story 2", "Aladdin", "The Lion King"} <= near("1", 0.0)
    assert {"Toy Story 2", "Monsters, Inc.", "Shrek", "Finding Nemo"} <= near("1", 0.3)
    assert {"Aliens", "Blade Runner"} <= near("1214", 0.0)
    assert any(title.startswith("Princess Mononoke") for title in near("5618", 0.3))
    someone = answer(bundle, Query(UserId("1"), Target.USERS)).neighbors[0].id
    users = [bundle.users.vocabulary.row_of(u) for u in ("1", someone)]
    mine, theirs = (set(bundle.ratings_by_user.others_of(u).tolist()) for u in users)
    assert len(mine & theirs) > 20
    newcomer = Profile(ratings=(Rating("1214", 5.0), Rating("2571", 5.0)))
    unseen = Query(newcomer, filter=Filter(exclude_seen=True), content_weight=0.3)
    assert "1200" in {n.id for n in answer(bundle, unseen).neighbors}
    for whom in (Text("film noir"), Examples(("1",), ("1214",))):
        assert answer(bundle, Query(whom)).neighbors


def test_an_unknown_key_of_the_settings_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ilk.toml"
    config.check(path, app)
    path.write_text("[indexer]\nfactors = 32\nmin-user-ratings = 2\n[server]\nport = 1\n")
    config.check(path, app)
    path.write_text("[indexer]\nfaktors = 32\n")
    with pytest.raises(SettingsError, match="faktors"):
        config.check(path, app)
    path.write_text("indexer = 3\n")
    with pytest.raises(SettingsError, match="must be a table, got 3"):
        config.check(path, app)
    path.write_text("[indexer\n")
    with pytest.raises(SettingsError, match="cannot be read"):
        config.check(path, app)


def test_a_build_that_is_interrupted_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("indexer.__main__.build", interrupted)
    assert main(["build", "--sample", "--quiet", "--store", str(tmp_path)]) == exits.FAILURE
    assert capsys.readouterr().err == "interrupted\n"
