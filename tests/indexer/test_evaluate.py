"""Comparisons from end to end: what is measured, what is shown, and that nothing held out is seen."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ilk.errors import SettingsError
from ilk.program import exits
from ilk.query import answer
from ilk.types import UNSEEN, Query
from indexer.__main__ import app
from indexer.evaluation.baselines import Popularity
from indexer.evaluation.favorites import favorite_genres
from indexer.evaluation.figures import ACCURACY, LISTS, ModelFigures
from indexer.evaluation.metrics import metric_named
from indexer.evaluation.plots import curves, draw
from indexer.evaluation.present import print_tables
from indexer.evaluation.protocols import (
    show_only,
    split_cold_items,
    split_given,
    split_latest,
    split_strong,
    split_temporal,
    split_weak,
)
from indexer.evaluation.quality import measure_quality
from indexer.evaluation.relevance import relevant
from indexer.evaluation.report import evaluate, evaluate_given
from indexer.evaluation.served import built_from, profile_of, rank
from indexer.evaluation.settings import EvaluationSettings, Request
from indexer.evaluation.splits import Split
from indexer.interactions import Interactions
from indexer.progress import Progress
from indexer.readers import GivenSplit
from indexer.settings import BuildSettings
from indexer.training.order import kept

QUIET = Progress(quiet=True)
QUICK = BuildSettings(factors=8, iterations=3, evaluate=False)
FLAGS = ["--factors", "8", "--iterations", "3", "--quiet"]


@pytest.fixture(scope="module")
def few(sample: Interactions) -> Interactions:
    """The first 120 users of the sample, with all films."""
    return kept(sample.only(sample.user_rows < 120), min_user_ratings=1, min_item_ratings=0)


def write(data: Interactions, mask: np.ndarray, path: Path) -> Path:
    assert data.timestamps is not None
    rows = [
        f"{data.user_ids[u]}::{data.items.item_ids[i]}::{stars:g}::{time}\n"
        for u, i, stars, time in zip(
            data.user_rows[mask],
            data.item_rows[mask],
            data.ratings[mask],
            data.timestamps[mask],
            strict=True,
        )
    ]
    path.write_text("".join(rows), encoding="utf-8")
    return path


def slow_popularity_ndcg_at_10(data: Interactions, is_train: np.ndarray) -> float:
    """Mean NDCG@10 of the most liked films that a user has not rated, a user at a time."""
    rated: dict[int, set[int]] = {}
    wanted: dict[int, set[int]] = {}
    likes: dict[int, int] = {}
    liking: set[int] = set()
    rows = zip(
        data.user_rows.tolist(), data.item_rows.tolist(), data.ratings, is_train, strict=True
    )
    for user, item, stars, learned in rows:
        if learned:
            rated.setdefault(user, set()).add(item)
            if stars >= 4:
                likes[item] = likes.get(item, 0) + 1
                liking.add(user)
        elif stars >= 4:
            wanted.setdefault(user, set()).add(item)
    figures = []
    # Equal counts stand in the order of the films' first appearance in the training file.
    seen = list(dict.fromkeys([*data.item_rows[is_train].tolist(), *data.item_rows.tolist()]))
    for user in wanted.keys() & liking:
        unseen = [item for item in seen if item not in rated[user]]
        top = sorted(unseen, key=lambda item: -likes.get(item, 0))[:10]
        gain = sum(1 / math.log2(at + 2) for at, i in enumerate(top) if i in wanted[user])
        ideal = sum(1 / math.log2(at + 2) for at in range(min(10, len(wanted[user]))))
        figures.append(gain / ideal)
    return sum(figures) / len(figures)


def test_given_files_are_measured_shown_and_drawn(
    few: Interactions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags: dict[str, list[str]] = {"--train": [], "--test": []}
    expected = []
    for seed in (1, 2):
        is_train = np.random.default_rng(seed).random(len(few)) < 0.8
        for flag, mask in (("--train", is_train), ("--test", ~is_train)):
            flags[flag].append(str(write(few, mask, tmp_path / f"{seed}{flag}.dat")))
        expected.append(slow_popularity_ndcg_at_10(few, is_train))
    command = ["evaluate", "--protocol", "weak", "--blends", "0", *FLAGS]
    command += ["--popularity-penalties", "0", "0.5"]
    outputs = ["--json", str(tmp_path / "f.json"), "--plots", str(tmp_path / "plots")]
    given = [word for flag, files in flags.items() for word in (flag, *files)]
    assert exits.run(app, [*command, *given, *outputs]) == exits.DONE
    told = json.loads((tmp_path / "f.json").read_text())
    assert [split["protocol"] for split in told["splits"]] == ["weak", "weak"]
    assert sum(s["entries to learn from"] + s["entries to predict"] for s in told["splits"]) > 0
    n_users = [split["test users"] for split in told["splits"]]
    popularity = told["models"]["popularity"]
    # Who is tested in both files is one user, whatever row it has in each.
    n_distinct = popularity["test_users"]
    assert max(n_users) <= n_distinct <= few.n_users < sum(n_users)
    assert popularity["ndcg@10"]["mean"] == pytest.approx(np.average(expected, weights=n_users))
    for model in told["models"].values():
        for name in (*ACCURACY, *LISTS):
            figure = model[name]
            assert figure["low"] <= figure["mean"] <= figure["high"]
            assert figure["n"] == n_distinct
    for name in ("accuracy.png", "groups.png", "trade-off.png"):
        assert (tmp_path / "plots" / name).read_bytes().startswith(b"\x89PNG")
    shown = capsys.readouterr().out
    for word in ("EASE", "item k-NN", "random", "ilk w=0 penalty=0.5", *ACCURACY, *LISTS):
        assert word in shown


def test_splits_that_tell_the_same_of_the_same_users_make_no_figure_surer(
    few: Interactions,
) -> None:
    split = split_weak(few, relevant(few, QUICK), 1)
    train, fold_in = split.train_matrix(), split.fold_in_matrix()
    ranked = Popularity.fit(train).rank(fold_in, 100, seen=split.seen_matrix())
    vectors = np.random.default_rng(0).random((few.n_items, 4))
    told = []
    for n_splits in (1, 4):
        model = ModelFigures()
        for _ in range(n_splits):
            model.add(split, ranked, vectors, 0)
        told.append(model.summary(0))
    once, often = told
    assert often["test_users"] == len(split.test_user_rows)
    for name in (*ACCURACY, *LISTS):
        assert often[name] == pytest.approx(once[name])
    for groups in ("ndcg@10 by activity", "recall@20 by item popularity"):
        assert often[groups].keys() == once[groups].keys()
        for name, figure in once[groups].items():
            assert often[groups][name] == pytest.approx(figure)


def test_novelty_is_of_the_users_that_training_knows(few: Interactions) -> None:
    assert few.timestamps is not None
    middle = int(np.median(few.timestamps))
    split = split_temporal(few, relevant(few, QUICK), cutoff_s=middle)
    likes = split.train_matrix()
    n_known = len(set(few.user_rows[split.train].tolist()))
    assert n_known < few.n_users
    ranked = np.full((len(split.test_user_rows), 100), -1)
    most_liked = int(likes.sum(axis=0).argmax())
    ranked[:, 0], ranked[:, 1] = most_liked, (most_liked + 1) % few.n_items
    counts = np.maximum(np.asarray(likes.sum(axis=0)).ravel()[ranked[0, :2]], 1)
    model = ModelFigures()
    model.add(split, ranked, np.ones((few.n_items, 2)), 0)
    told = model.summary(0)["novelty@10"]["mean"]
    assert told == pytest.approx(-np.log2(counts / n_known).mean())


def two_circles(tmp_path: Path) -> list[str]:
    """Films in two halves, and users who have each film of one: neighbors have nothing left to say."""
    items = "id,title,genres,year\n" + "".join(f"i{i},T,A|B,1990\n" for i in range(12))
    rows = (f"u{u},i{6 * (u % 2) + i},5,{10 * u + i}\n" for u in range(20) for i in range(6))
    (tmp_path / "items.csv").write_text(items)
    (tmp_path / "ratings.csv").write_text("user,item,rating,time\n" + "".join(rows))
    files = [
        "--interactions",
        str(tmp_path / "ratings.csv"),
        "--items",
        str(tmp_path / "items.csv"),
    ]
    return [*files, "--rating-scale", "1", "5"]


@pytest.mark.parametrize("protocol", ["strong", "weak", "cold_items"])
def test_a_baseline_that_ranks_too_little_goes_without_a_figure_and_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], protocol: str
) -> None:
    outputs = ["--json", str(tmp_path / "f.json"), "--plots", str(tmp_path / "plots")]
    command = ["evaluate", "--protocol", protocol, *two_circles(tmp_path), *outputs]
    assert exits.run(app, [*command, *FLAGS[:-1]]) == exits.DONE
    models = json.loads((tmp_path / "f.json").read_text())["models"]
    assert models.keys() >= {"ilk w=0", "EASE", "item k-NN", "popularity", "random"}
    assert models["popularity"]["left_out"] == {}
    left_out = models["item k-NN"]["left_out"]
    assert "diversity@10" in left_out
    assert models["item k-NN"].keys().isdisjoint(left_out)
    assert models["item k-NN"].keys() >= {*ACCURACY, *LISTS} - left_out.keys()
    told = capsys.readouterr()
    assert "item k-NN: diversity@10 is left out: ranked: has no list of two items" in told.err
    assert "left out" in told.out


def test_cold_films_can_be_ranked_among_themselves(few: Interactions) -> None:
    settings = EvaluationSettings(protocol="cold_items", among_cold=True, blends=(0.3,))
    comparison = evaluate(few, QUICK, settings, QUIET)
    assert set(comparison.models) == {"ilk w=0.3", "random"}
    (counts,) = comparison.splits
    n_cold = int(0.1 * len(np.unique(few.item_rows)))
    # Each test user could be shown them all, and so nothing is missed further down.
    assert counts["such items"] <= n_cold < 50
    for model in comparison.models.values():
        assert model.values("recall@50").min() == 1


def test_newcomers_may_name_genres_alone(few: Interactions) -> None:
    settings = EvaluationSettings(shown=0, favorites=2, blends=(0.1,))
    comparison = evaluate(few, QUICK, settings, QUIET)
    (counts,) = comparison.splits
    ours, random = (comparison.models[name].values("ndcg@10") for name in ("ilk w=0.1", "random"))
    assert len(ours) == counts["test users"]
    # Of people drawn to genres, as those of the sample are.
    assert ours.mean() > random.mean() + 0.05


def test_favorites_are_what_stands_out_in_what_is_liked(few: Interactions) -> None:
    split = split_strong(few, relevant(few, QUICK), seed=0)
    named = favorite_genres(split, 2)
    assert len(named) == len(split.test_user_rows)
    likes = split.fold_in_matrix() + split.held_out_matrix()
    genres = few.items.genres

    def share(rows: list[int], genre: str) -> float:
        return sum(genre in genres[row] for row in rows) / len(rows)

    everybody = split.train_matrix().indices.tolist()
    for at, told in enumerate(named):
        rows = likes[[at]].indices.tolist()
        usual = {g: share(rows, g) for row in rows for g in genres[row]}
        lifts = {g: s / share(everybody, g) for g, s in usual.items() if s >= 0.15}
        assert len(told) == min(2, len(lifts))
        for genre in told:
            assert sum(lift > lifts[genre] * (1 + 1e-9) for lift in lifts.values()) < 2


def test_a_model_that_was_left_out_of_a_split_is_shown_without_its_groups(
    few: Interactions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = evaluate(few, QUICK, EvaluationSettings(protocol="weak"), QUIET).summary(0)["models"]
    for groups in ("ndcg@10 by activity", "recall@20 by item popularity"):
        told["EASE"][groups].popitem()
    print_tables(told)
    assert "left out" in capsys.readouterr().out
    assert all(path.is_file() for path in draw(told, tmp_path))


def given_of(data: Interactions, is_train: np.ndarray) -> GivenSplit:
    return GivenSplit(data, is_train)


def test_users_and_items_that_training_lacks_are_counted_and_do_no_harm(few: Interactions) -> None:
    is_train = np.random.default_rng(0).random(len(few)) < 0.7
    is_train &= (few.user_rows != 3) & (few.item_rows != 5)
    comparison = evaluate_given(
        [given_of(few, is_train)], QUICK, EvaluationSettings(blends=(0.0, 1.0)), QUIET
    )
    (counts,) = comparison.splits
    assert counts["users with nothing to show or predict"] >= 1
    unknown = relevant(few, QUICK) & ~is_train & (few.user_rows != 3)
    unknown &= ~np.isin(few.item_rows, few.item_rows[is_train])
    assert counts["entries to predict on items unknown to training"] == unknown.sum() > 0
    assert counts["such items"] == len(set(few.item_rows[unknown].tolist())) > 0
    assert set(comparison.models) >= {"ilk w=0", "ilk w=1", "EASE", "popularity"}


def test_who_shows_what_settings_leave_out_is_ranked_for_by_the_rest(few: Interactions) -> None:
    split = split_strong(few, relevant(few, QUICK), 1, test_fraction=0.5)
    settings = replace(QUICK, min_item_ratings=12)
    n_lists = []
    for shown in (split, show_only(split, 1, 1)):
        with built_from(shown.train_interactions(), settings, QUIET) as bundle:
            held = bundle.items.vocabulary.rows_of(few.items.item_ids) >= 0
            ranked = rank(bundle, shown, 10, content_weight=0.0)
        assert not held.all()
        assert held[ranked[ranked >= 0]].all()
        can_be_ranked_for = shown.fold_in_matrix().toarray()[:, held].any(axis=1)
        assert ((ranked >= 0).any(axis=1) == can_be_ranked_for).all()
        n_lists.append(can_be_ranked_for.sum())
    assert len(split.test_user_rows) > n_lists[0] > n_lists[1] > 0


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--train", "a", "--test", "b", "c"], "go in pairs, got 1 and 2"),
        (["--train", "a"], "go in pairs, got 1 and 0"),
        (["--train", "a", "--test", "b", "--protocol", "strong"], "go with --protocol weak"),
        (["--train", "a", "--test", "b", "--core", "10"], "none of --core, --splits"),
        (["--train", "a", "--test", "b", "--splits", "2"], "none of --core, --splits"),
        (["--train", "a", "--test", "b", "--shown", "1"], "none of --core, --splits, --shown"),
        (["--train", "a", "--test", "b", "--all-ratings"], "--shown and --all-ratings"),
        (["--sample", "--rating-scale", "1", "5"], "--rating-scale goes with --interactions"),
        (["--sample", "--liked-from", "6"], "--liked-from 6 is outside the scale of the ratings"),
        (["--train", "a", "--test", "b", "--interactions", "c"], "--items may go with it"),
        ([], "give one of --movielens, --interactions and --sample"),
        (["--sample", "--date", "2020-01-01"], "--date needs the temporal protocol"),
        (["--sample", "--protocol", "weak", "--all-ratings"], "--all-ratings needs the strong"),
        (["--sample", "--favorites", "2"], "--favorites must be positive, and needs --shown"),
        (["--sample", "--shown", "0"], "--shown must be at least 1"),
        (["--sample", "--session-half-lives-s", "60"], "needs a protocol of temporal, latest"),
        (
            ["--sample", "--protocol", "latest", "--session-half-lives-s", "0"],
            "--session-half-lives-s must be positive",
        ),
        (["--sample", "--among-cold"], "--among-cold needs the cold_items protocol"),
        (["--sample", "--own-bars"], "give --all-ratings with the strong protocol"),
        (["--sample", "--own-bars", "--protocol", "weak", "--core", "2"], "and no --core"),
        (["--sample", "--core", "0"], "--core must be at least 1"),
        (["--sample", "--ease-regularization", "0"], "--ease-regularization must be positive"),
        (["--sample", "--diversities", "2"], r"--diversities must be in [0, 1]"),
    ],
)
def test_choices_that_contradict_each_other_end_with_2(
    capsys: pytest.CaptureFixture[str], flags: list[str], says: str
) -> None:
    assert exits.run(app, ["evaluate", *flags]) == exits.USAGE
    assert says in capsys.readouterr().err


def test_tiny_catalogues_are_measured_too(few: Interactions) -> None:
    tiny = kept(few.only(few.item_rows < 30), min_user_ratings=1, min_item_ratings=1)
    assert tiny.n_items < 100
    settings = EvaluationSettings(protocol="weak", blends=(0.0,))
    told = evaluate(tiny, QUICK, settings, QUIET).summary(0)
    assert told["models"]["ilk w=0"]["ndcg@100"]["mean"] > 0


def test_a_core_is_taken_of_positives_before_anything_is_split(few: Interactions) -> None:
    settings = EvaluationSettings(protocol="weak", core=8, blends=(0.0,), baselines=False)
    comparison = evaluate(few, QUICK, settings, QUIET)
    (counts,) = comparison.splits
    likes = few.only(few.ratings >= 4)
    core = kept(likes, min_user_ratings=8, min_item_ratings=8)
    n_test = sum(count // 5 for count in np.bincount(core.user_rows).tolist())
    assert counts["test users"] == core.n_users
    assert counts["entries to predict"] == n_test
    assert counts["entries to learn from"] == len(core) - n_test


def test_the_day_that_parts_past_from_future_may_be_named(few: Interactions) -> None:
    assert few.timestamps is not None
    moment = datetime.fromtimestamp(float(np.quantile(few.timestamps, 0.5)), tz=timezone.utc)
    day = datetime(moment.year, moment.month, moment.day)
    settings = EvaluationSettings(protocol="temporal", date=day, blends=(0.0,), baselines=False)
    cutoff_s = day.replace(tzinfo=timezone.utc).timestamp()
    (counts,) = evaluate(few, QUICK, settings, QUIET).splits
    assert counts["entries to learn from"] == (few.timestamps < cutoff_s).sum()


def test_what_was_popular_in_the_year_before_the_date_stands_beside(few: Interactions) -> None:
    settings = EvaluationSettings(protocol="temporal", blends=(0.0,))
    told = evaluate(few, QUICK, settings, QUIET).summary(0)["models"]["popularity, last year"]
    split = split_temporal(few, relevant(few, QUICK))
    times = few.timestamps
    assert times is not None
    assert split.cutoff_s is not None
    lately = split.train & split.positive & (times >= split.cutoff_s - 365 * 86_400)
    assert 0 < lately.sum() < (split.train & split.positive).sum()
    likes = replace(split, train=lately).train_matrix()
    ranked = Popularity.fit(likes).rank(split.fold_in_matrix(), 10, seen=split.seen_matrix())
    metric, depth = metric_named("ndcg@10")
    mine = metric(ranked, split.held_out_matrix(), depth)
    assert told["ndcg@10"]["mean"] == pytest.approx(mine.mean())


def test_sessions_are_asked_as_profiles_in_which_what_is_recent_counts_more(
    few: Interactions,
) -> None:
    split = split_latest(few, relevant(few, QUICK))
    day_s = 86_400.0
    with built_from(split.train_interactions(), QUICK, QUIET) as bundle:
        ranked = rank(bundle, split, 10, content_weight=0.0, half_life_s=day_s)
        entries = split.entries_by_test_user(split.fold_in)
        for at in (0, len(entries) // 2, len(entries) - 1):
            profile = replace(profile_of(few, entries[at]), half_life_s=day_s)
            query = Query(whom=profile, filter=UNSEEN, neighbor_count=10, content_weight=0.0)
            near = answer(bundle, query).neighbors
            told = [few.items.item_ids[row] for row in ranked[at].tolist()]
            assert told == [neighbor.id for neighbor in near]
        assert (ranked != rank(bundle, split, 10, content_weight=0.0)).any()
    settings = EvaluationSettings(
        protocol="latest", blends=(0.0,), session_half_lives_s=(day_s,), baselines=False
    )
    models = evaluate(few, QUICK, settings, QUIET).models
    assert list(models) == ["ilk w=0", "ilk w=0 half-life=86400s"]
    metric, depth = metric_named("ndcg@10")
    mine = metric(ranked, split.held_out_matrix(), depth)
    assert models["ilk w=0 half-life=86400s"].values("ndcg@10") == pytest.approx(mine)


def test_all_ratings_show_more_and_foretell_the_same(few: Interactions) -> None:
    positive = relevant(few, QUICK)
    alone = split_strong(few, positive, 1)
    beside = split_strong(few, positive, 1, all_ratings=True)
    assert (alone.held_out == beside.held_out).all()
    for name in ("train", "fold_in"):
        more, fewer = getattr(beside, name), getattr(alone, name)
        assert ((more & positive) == fewer).all()
        assert (more & ~positive).any()
    tested = np.isin(few.user_rows, beside.test_user_rows)
    known = np.isin(few.item_rows, few.item_rows[alone.train])
    assert (beside.fold_in == (tested & known & ~beside.held_out)).all()


SPLITS: dict[str, Callable[[Interactions, np.ndarray], Split]] = {
    "strong": lambda data, positive: split_strong(data, positive, 1, all_ratings=True),
    "weak": lambda data, positive: split_weak(data, positive, 1),
    "temporal": lambda data, positive: split_temporal(data, positive),
    "latest": lambda data, positive: split_latest(data, positive),
    "cold_items": lambda data, positive: split_cold_items(data, positive, 1),
}


@pytest.mark.parametrize("protocol", SPLITS)
def test_no_ranking_depends_on_what_is_held_out(few: Interactions, protocol: str) -> None:
    split = SPLITS[protocol](few, relevant(few, QUICK))
    build = replace(QUICK, normalize="mean", graded=True)
    # What is held out becomes other ratings of other films, at another time.
    rng = np.random.default_rng(0)
    hidden = ~(split.train | split.fold_in)
    scrambled = replace(
        few,
        item_rows=np.where(hidden, rng.integers(0, few.n_items, len(few)), few.item_rows).astype(
            np.int32
        ),
        ratings=np.where(hidden, np.float32(0.5), few.ratings),
        timestamps=None
        if few.timestamps is None
        else np.where(hidden, few.timestamps + 1, few.timestamps),
    )
    ranked = []
    for interactions in (few, scrambled):
        told = replace(split, interactions=interactions)
        with built_from(told.train_interactions(), build, QUIET) as bundle:
            ranked.append(rank(bundle, told, 20, content_weight=0.1))
    assert (ranked[0] >= 0).all()
    assert (ranked[0] == ranked[1]).all()


def stern(data: Interactions, user_rows: np.ndarray, stars_less: float) -> Interactions:
    """The same data, where some users give fewer stars for the same liking."""
    lowered = np.maximum(data.ratings - stars_less, 0.5).astype(np.float32)
    return replace(
        data, ratings=np.where(np.isin(data.user_rows, user_rows), lowered, data.ratings)
    )


def test_users_who_never_give_four_stars_are_served_by_their_own_bar(sample: Interactions) -> None:
    never = np.arange(0, sample.n_users, 8)
    data = stern(sample, never, 1.5)
    build = replace(QUICK, factors=16, iterations=6)
    assert not relevant(data, build)[np.isin(data.user_rows, never)].any()
    is_train = np.random.default_rng(0).random(len(sample)) < 0.8
    split = split_given(sample, relevant(sample, build), is_train, ~is_train)
    of_stern = np.isin(split.test_user_rows, never)
    metric, depth = metric_named("recall@20")
    figures = {}
    for normalize in ("none", "mean"):
        with built_from(data.only(is_train), replace(build, normalize=normalize), QUIET) as bundle:
            recall = metric(
                rank(bundle, split, depth, content_weight=0.0), split.held_out_matrix(), depth
            )
        figures[normalize] = recall[of_stern].mean(), recall[~of_stern].mean()
    # Without a bar of their own they have no positive, and are shown what is popular.
    assert figures["mean"][0] > 1.4 * figures["none"][0]
    assert figures["mean"][0] > 0.9 * figures["mean"][1]
    assert figures["mean"][1] > 0.95 * figures["none"][1]


def test_relevance_does_not_follow_the_build_unless_it_is_asked_to(few: Interactions) -> None:
    data = stern(few, np.arange(few.n_users), 1.0)
    everybodys, own = replace(QUICK, normalize="none"), replace(QUICK, normalize="mean")
    assert (relevant(data, everybodys) == (data.ratings >= 3.875)).all()
    assert (relevant(data, everybodys) == relevant(data, own)).all()
    by_habit = relevant(data, everybodys, own_bars=True)
    assert (by_habit == relevant(data, own, own_bars=True)).all()
    assert by_habit.sum() > 1.5 * relevant(data, own).sum()
    settings = EvaluationSettings(all_ratings=True, own_bars=True, blends=(0.0,), baselines=False)
    (counts,) = evaluate(data, own, settings, QUIET).splits
    assert counts["entries to learn from"] > by_habit.sum()


def test_what_is_asked_of_the_served_model() -> None:
    assert list(EvaluationSettings().requests(0.1)) == [Request(0.0), Request(0.1), Request(1.0)]
    assert list(EvaluationSettings().requests(0.0)) == [Request(0.0), Request(1.0)]
    session = EvaluationSettings(
        protocol="latest", blends=(0.3,), session_half_lives_s=(60.0, 2_592_000.0)
    )
    assert [str(request) for request in session.requests(0.1)] == [
        "ilk w=0.3",
        "ilk w=0.3 half-life=60s",
        "ilk w=0.3 half-life=2592000s",
    ]
    grid = EvaluationSettings(blends=(0.3,), diversities=(0, 0.5), popularity_penalties=(0, 0.2))
    assert [str(request) for request in grid.requests(0.1)] == [
        "ilk w=0.3",
        "ilk w=0.3 penalty=0.2",
        "ilk w=0.3 diversity=0.5",
        "ilk w=0.3 diversity=0.5 penalty=0.2",
    ]
    alone = list(EvaluationSettings(blends=(0.2,), trade_off=True).requests(0.1))
    assert alone[0] == Request(0.2)
    assert len(alone) == len(set(alone)) > 8
    assert all(request.diversity == 0 or request.popularity_penalty == 0 for request in alone)


def models_of(*requests: Request | None) -> dict[str, Any]:
    return {
        str(at): {"request": None if r is None else r._asdict()} for at, r in enumerate(requests)
    }


def test_curves_join_what_differs_in_one_strength_alone() -> None:
    found = curves(
        models_of(
            Request(0.1), Request(0.1, 0.5), Request(0.1, 0.2), Request(0.1, 0, 0.3), None,
            Request(0.7), Request(0.1, 0.5, 0.3),
        )
    )  # fmt: skip
    assert {name: [strength for strength, _ in curve] for name, curve in found.items()} == {
        "w=0.1, by diversity": [0, 0.2, 0.5],
        "w=0.1, by diversity at popularity_penalty 0.3": [0, 0.5],
        "w=0.1, by popularity_penalty": [0, 0.3],
        "w=0.1, by popularity_penalty at diversity 0.5": [0, 0.3],
        "w=0.7": [0],
    }


@pytest.mark.parametrize("name", ["ndcg", "ndcg@", "ndcg@0", "ndcg@-1", "precision@5", "ndcg@1.5"])
def test_a_figure_that_nobody_knows_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="unknown figure"):
        metric_named(name)


def test_who_is_kept_is_settled_before_anything_is_held_out(few: Interactions) -> None:
    # Of positives alone, hardly anybody has as many as the build asks for of all ratings.
    n_rated = np.bincount(few.user_rows)
    least = int(np.sort(n_rated)[len(n_rated) // 2])
    settings = replace(QUICK, min_user_ratings=least)
    of_kept = kept(few, min_user_ratings=least, min_item_ratings=0)
    measured, expected = (
        evaluate(data, of, EvaluationSettings(blends=(0.0,), baselines=False), QUIET)
        for data, of in ((few, settings), (of_kept, QUICK))
    )
    assert measured.summary(0) == expected.summary(0)
    assert measure_quality(few, settings, QUIET) == measure_quality(of_kept, QUICK, QUIET) != {}
