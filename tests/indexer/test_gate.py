"""The gate: a bundle that should not be served does not become the live one."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from examples.walkthrough import SETTINGS, five_users
from ilk.ann import Index, IndexKind, IndexSpec
from ilk.bundle import Bundle, Store, open_bundle
from ilk.bundle.contents import Side
from ilk.errors import BundleError, BundleMissing, SettingsError
from ilk.space import SPACE_KEYS
from ilk.types import ItemId, Query, Target
from ilk.vectors import concatenate
from ilk.vocabulary import Vocabulary
from indexer.__main__ import main
from indexer.acceptance import drift, gate
from indexer.acceptance.drift import Overlap, overlap
from indexer.acceptance.gate import GateSettings
from indexer.acceptance.validation import check_values
from indexer.build import build
from indexer.indexing.self_neighbors import self_neighbors
from indexer.interactions import Interactions
from indexer.progress import Progress
from indexer.settings import BuildSettings
from indexer.upkeep import roll_back, verify

QUIET = Progress(quiet=True)
QUICK = BuildSettings(factors=8, iterations=3, evaluate=False)
LIKENESS_OF_ITEMS = next(k for k in SPACE_KEYS if k.by_likeness and k.target is Target.ITEMS)
Edit = Callable[[Bundle], Bundle]


def changed(array: Any, at: Any, value: float) -> Any:
    """Return a copy of ``array`` with ``value`` put ``at``."""
    copy = np.array(array)
    copy[at] = value
    return copy


def edit(part: str, name: str, at: Any, value: float) -> Edit:
    """Return what puts ``value`` into one array of one part of a bundle."""

    def edited(bundle: Bundle) -> Bundle:
        of = getattr(bundle, part)
        new = replace(of, **{name: changed(getattr(of, name), at, value)})
        return replace(bundle, **{part: new})

    return edited


def swapped(part: str, name: str) -> Edit:
    """Return what swaps the first two values of an array."""

    def edited(bundle: Bundle) -> Bundle:
        of = getattr(bundle, part)
        array = np.array(getattr(of, name))
        array[[0, 1]] = array[[1, 0]]
        return replace(bundle, **{part: replace(of, **{name: array})})

    return edited


def under_another_id(bundle: Bundle) -> Bundle:
    vocabulary = bundle.items.vocabulary
    ids = [vocabulary.id_of(row) for row in range(len(vocabulary))]
    other = type(vocabulary).of([ids[1], ids[0], *ids[2:]])
    wrong = type(vocabulary)(vocabulary.ids, other._hashes, other._hash_rows)
    wrong._known = None
    return replace(bundle, items=replace(bundle.items, vocabulary=wrong))


def without_help(bundle: Bundle) -> Bundle:
    return replace(bundle, expected=np.empty((0, bundle.manifest.n_factors), dtype=np.float32))


def helped_by_nothing(bundle: Bundle) -> Bundle:
    return replace(bundle, expected=changed(bundle.expected, (-1, 0), np.inf))


UNSOUND: dict[str, tuple[Edit, str]] = {
    "users who rated few without help": (without_help, "lacks users who rated few"),
    "help that is no number": (helped_by_nothing, r"users\.expected holds a value"),
    "a factor that is no number": (edit("items", "factors", (3, 1), np.nan), "items.factors"),
    "an infinite content": (edit("users", "content", (0, 0), np.inf), "users.content"),
    "a direction that is too long": (edit("users", "directions", (2, 0), 1.5), "longer than 1"),
    "popularity above 1": (edit("items", "popularity", 0, 1.5), r"outside \[0, 1\]"),
    "a rating of nobody": (edit("ratings_by_item", "others", 5, 10**6), "are named"),
    "a rating of less than nobody": (edit("ratings_by_user", "others", 5, -1), "are named"),
    "ratings out of order": (swapped("ratings_by_user", "others"), "not sorted"),
    "falling offsets": (edit("ratings_by_user", "indptr", 3, 10**6), "offsets fall"),
    "offsets that begin late": (edit("ratings_by_item", "indptr", 0, 1), "do not span"),
    "stars off the scale": (edit("ratings_by_user", "stars", 7, 11.0), "outside the scale"),
    "other stars by item": (edit("ratings_by_item", "stars", 7, 0.5), "different stars"),
    "a mean that is no mean": (edit("catalogue", "mean_stars", 0, 99.0), "mean_stars"),
    "a genre that is none": (edit("catalogue", "genre_codes", 0, 60000), "are named"),
    "a genre too many": (edit("catalogue", "genre_bitmaps", (0, 0), 255), "different genres"),
    "a member twice": (edit("content_groups", "members", 0, 1), "each of"),
    "an item in another group": (swapped("content_groups", "group_of"), "disagree|each of"),
    "a term that is none": (edit("item_terms", "codes", 0, 30000), "are named"),
    "a weight that is no number": (edit("item_terms", "weights", 0, np.nan), "item_terms"),
    "a name of no title": (edit("title_names", "rows", 0, 3), "title_names.rows"),
    "a name that is not there": (edit("title_names", "holders", 0, 10**6), "are named"),
    "a gram too many": (edit("title_names", "n_grams", 0, 99), "disagree"),
    "a gram twice": (swapped("title_names", "grams"), "do not rise"),
    "a bias that is no number": (edit("biases", "users", 0, np.nan), "biases.users"),
    "no Gram matrix": (edit("fold_in", "gram", (0, 0), np.nan), "gram"),
    "an id under another's hash": (under_another_id, "is found under row"),
}


class TestValues:
    def test_what_is_built_is_sound(self, bundle: Bundle, five_users_bundle: Bundle) -> None:
        check_values(bundle)
        check_values(five_users_bundle)

    @pytest.mark.parametrize(("unsound", "told"), UNSOUND.values(), ids=UNSOUND)
    def test_a_value_that_cannot_be_is_refused(
        self, unsound: Edit, told: str, bundle: Bundle
    ) -> None:
        with pytest.raises(BundleError, match=told):
            check_values(unsound(bundle))


class TestRows:
    @pytest.mark.parametrize("kind", list(IndexKind), ids=lambda kind: kind.value)
    def test_rows_are_found_where_they_stand(self, kind: IndexKind, bundle: Bundle) -> None:
        space = bundle.spaces[LIKENESS_OF_ITEMS]
        vectors = concatenate(space.factors, space.content)
        spec = IndexSpec(kind)
        # With all lists, codes would find half of all rows; what else is measured goes all the way.
        few = {IndexKind.PQ: 12, IndexKind.IVF_PQ_2: (1 << 16) + 8}
        effort = few.get(kind, spec.efforts(len(vectors))[-1])
        deep = replace(space.recall[0], effort=effort)
        sound = replace(space, index=Index.build(vectors, spec, 1), recall=(deep,))
        assert self_neighbors(sound, 0.99, seed=1) >= 0.98
        rows = np.random.default_rng(1).permutation(len(vectors))
        shuffled = replace(sound, index=Index.build(vectors[rows], spec, 1))
        assert self_neighbors(shuffled, 0.99, seed=1) < 0.6
        others = replace(sound, index=Index.build(np.roll(vectors, 3, axis=1).copy(), spec, 1))
        assert self_neighbors(others, 0.99, seed=1) < 0.9

    def test_an_index_over_other_rows_is_refused(self, bundle: Bundle) -> None:
        space = bundle.spaces[LIKENESS_OF_ITEMS]
        vectors = concatenate(space.factors, space.content)
        index = Index.build(np.ascontiguousarray(vectors[::-1]), IndexSpec(), 1)
        spaces = {**bundle.spaces, LIKENESS_OF_ITEMS: replace(space, index=index)}
        gate.check_self_neighbors(bundle, 0.9, seed=1)
        with pytest.raises(BundleError, match=r"items\.likeness.*build again"):
            gate.check_self_neighbors(replace(bundle, spaces=spaces), 0.9, seed=1)


class TestRecall:
    @pytest.mark.parametrize(("at_10", "at_100"), [(0.93, 0.96), (0.96, 0.93)])
    def test_the_best_setting_at_the_worst_blend_must_reach_the_floor(
        self, at_10: float, at_100: float, bundle: Bundle
    ) -> None:
        space = bundle.spaces[LIKENESS_OF_ITEMS]
        row = space.recall[0]
        table = (
            replace(row, content_weight=0.0, effort=1, recall_at_10=0.5, recall_at_100=0.4),
            replace(row, content_weight=0.0, effort=2, recall_at_10=0.97, recall_at_100=0.95),
            replace(row, content_weight=0.5, effort=2, recall_at_10=at_10, recall_at_100=at_100),
        )
        spaces = {LIKENESS_OF_ITEMS: replace(space, recall=table)}
        gate.check_recall(replace(bundle, spaces=spaces), 0.93)
        told = r"items\.likeness: .* 0\.93 at content_weight 0\.5 where 0\.94 .*--recall-floor"
        with pytest.raises(BundleError, match=told):
            gate.check_recall(replace(bundle, spaces=spaces), 0.94)

    def test_an_index_that_nobody_measured_is_refused(self, bundle: Bundle) -> None:
        space = replace(bundle.spaces[LIKENESS_OF_ITEMS], recall=())
        with pytest.raises(BundleError, match="no recall was measured"):
            gate.check_recall(replace(bundle, spaces={LIKENESS_OF_ITEMS: space}), 0.0)


NOISE = {"neighbors": 0.8, "recommendations": 0.6}


class TestDrift:
    def test_a_bundle_overlaps_with_itself_in_everything(self, bundle: Bundle) -> None:
        assert overlap(bundle, bundle, seed=1) == Overlap(1, 1, 1, 1)

    def test_bundles_of_different_things_have_nothing_in_common(
        self, bundle: Bundle, five_users_bundle: Bundle
    ) -> None:
        assert overlap(bundle, five_users_bundle, seed=1) == Overlap(0, 0, 0, 0)

    def test_what_nobody_asks_for_counts_as_lost_too(
        self, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Rows fall by how popular they are: the last are never drawn to be asked for."""
        monkeypatch.setattr(drift, "_mean_overlap", lambda *_: 1.0)

        def first(side: Side, n_rows: int) -> Side:
            ids = map(side.vocabulary.id_of, range(n_rows))
            return replace(side, vocabulary=Vocabulary.of(ids))

        few = replace(bundle, items=first(bundle.items, 300), users=first(bundle.users, 599))
        found = overlap(bundle, few, seed=1)
        assert found.items_kept == pytest.approx(300 / len(bundle.items), abs=1e-4)
        assert len(bundle.users) == 600
        assert 0.998 <= found.users_kept < 1

    def test_an_answer_that_became_shorter_lacks_what_it_lost(
        self, bundle: Bundle, five_users_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        answers = {bundle.version: [set("abcd")], five_users_bundle.version: [set("a")]}
        monkeypatch.setattr(drift, "_answers", lambda of, _: answers[of.version])
        asked = [Query(ItemId("x"))]
        assert drift._mean_overlap(bundle, five_users_bundle, asked) == 0.25
        assert drift._mean_overlap(five_users_bundle, bundle, asked) == 0.25

    @pytest.mark.parametrize(
        ("found", "refused"),
        [
            (Overlap(1, 1, 1, 1), False),
            (Overlap(0.8, 0.8, 0.4, 0.3), False),
            (Overlap(0.79, 1, 1, 1), True),
            (Overlap(1, 0.79, 1, 1), True),
            (Overlap(1, 1, 0.39, 1), True),
            (Overlap(1, 1, 1, 0.29), True),
        ],
    )
    def test_half_of_what_two_seeds_have_in_common_is_enough(
        self, found: Overlap, refused: bool, capsys: pytest.CaptureFixture[str]
    ) -> None:
        accepting = GateSettings(accept_drift=True)
        gate.check_drift(found, NOISE, accepting, "v1")
        assert "beside v1: items kept" in capsys.readouterr().err
        if refused:
            with pytest.raises(BundleError, match=r"from the live one, v1: .*--accept-drift"):
                gate.check_drift(found, NOISE, GateSettings(), "v1")
        else:
            gate.check_drift(found, NOISE, GateSettings(), "v1")

    def test_another_seed_is_no_drift_and_shuffled_items_are(
        self, sample: Interactions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Of versions of one second it cannot be told which is the oldest.
        moments_s = count(1_700_000_000.0)
        monkeypatch.setattr("indexer.publishing.time.time", lambda: next(moments_s))
        first = build(sample, tmp_path, QUICK, QUIET)
        build(sample, tmp_path, replace(QUICK, seed=7), QUIET)
        rows = np.random.default_rng(1).permutation(sample.n_items).astype(np.int32)
        shuffled = replace(sample, item_rows=rows[sample.item_rows])
        live = Store(tmp_path).current_version()
        with pytest.raises(BundleError, match="answers too differently"):
            build(shuffled, tmp_path, QUICK, QUIET)
        assert Store(tmp_path).current_version() == live
        accepted = build(shuffled, tmp_path, QUICK, QUIET, GateSettings(accept_drift=True, keep=1))
        # The one that was live before is kept whatever --keep says, the first is not.
        assert set(Store(tmp_path).list_versions()) == {live, accepted} != {first}

    def test_noise_that_was_measured_is_kept_and_used(
        self, sample: Interactions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        build(sample, tmp_path, QUICK, QUIET, GateSettings(measure_noise=True))
        quality = open_bundle(tmp_path).manifest.quality
        seen: list[Any] = []
        monkeypatch.setattr(gate, "check_drift", lambda *arguments: seen.append(arguments[1]))
        build(sample, tmp_path, replace(QUICK, seed=7), QUIET)
        (noise,) = seen
        assert 0.3 < noise["recommendations"] < 1
        assert set(noise.values()) == set(quality.values())

    def test_a_live_bundle_that_cannot_be_opened_does_not_stop_the_next(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        first = build(five_users(), tmp_path, SETTINGS, QUIET)
        (tmp_path / "versions" / first / "gram.npy").unlink()
        second = build(five_users(), tmp_path, replace(SETTINGS, seed=1), QUIET)
        assert "drift is not measured" in capsys.readouterr().err
        assert open_bundle(tmp_path).version == second


class TestPublishing:
    def test_what_the_gate_refuses_leaves_nothing_behind(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        live = build(five_users(), tmp_path, SETTINGS, QUIET)

        def refuse(staged: Bundle, **_: object) -> None:
            # It is whole, and nobody can see it yet.
            assert staged.version != Store(tmp_path).current_version()
            raise BundleError("not like this")

        monkeypatch.setattr(gate, "check", refuse)
        with pytest.raises(BundleError, match="not like this"):
            build(five_users(), tmp_path, replace(SETTINGS, seed=1), QUIET)
        assert Store(tmp_path).current_version() == live
        assert Store(tmp_path).list_versions() == [live]
        assert sorted(os.listdir(tmp_path)) == [".lock", "CURRENT", "versions"]

    @pytest.mark.parametrize(
        "wrong",
        [{"keep": 0}, {"recall_floor": 1.1}, {"max_drift": -0.1}, {"max_lost": float("nan")}],
    )
    def test_settings_out_of_range_are_refused(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(SettingsError, match="must be"):
            GateSettings(**wrong)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of three versions."""
    path = tmp_path_factory.mktemp("three")
    for seed in (1, 2, 3):
        build(five_users(), path, replace(SETTINGS, seed=seed), QUIET)
    return path


class TestUpkeep:
    @pytest.fixture
    def store(self, three: Path, tmp_path: Path) -> Store:
        """A store of its own with three versions."""
        return Store(shutil.copytree(three, tmp_path / "store"))

    def test_rolling_back_goes_to_the_version_before_or_to_the_one_named(
        self, store: Store, capsys: pytest.CaptureFixture[str]
    ) -> None:
        first, second, third = store.list_versions()
        store.point_current_at(third)
        assert roll_back(store, None) == second == store.current_version()
        assert main(["rollback", "--store", str(store.path)]) == 0
        assert capsys.readouterr().out == f"{first} is live\n"
        with pytest.raises(BundleMissing, match=f"no version older than {first}"):
            roll_back(store, None)
        assert main(["rollback", "--to", third, "--store", str(store.path)]) == 0
        assert store.current_version() == third
        assert main(["rollback", "--to", "v9", "--store", str(store.path)]) == 3
        told = capsys.readouterr().err
        assert f"holds no version v9; it holds {first}, {second}, {third}\n" in told

    def test_an_unsound_version_is_not_rolled_back_to(self, store: Store) -> None:
        first, _, third = store.list_versions()
        store.point_current_at(third)
        (store.folder_of(first) / "gram.npy").write_bytes(b"")
        with pytest.raises(BundleError, match=r"gram\.npy"):
            roll_back(store, first)
        assert store.current_version() == third

    def test_a_current_that_names_nothing_is_mended_by_naming_one(self, store: Store) -> None:
        store.current_file.write_bytes(b"\0")
        with pytest.raises(BundleError, match="rollback --to VERSION"):
            roll_back(store, None)
        roll_back(store, store.list_versions()[0])
        assert store.current_version() == store.list_versions()[0]

    def test_a_current_that_is_gone_is_mended_by_naming_one(
        self, store: Store, capsys: pytest.CaptureFixture[str]
    ) -> None:
        store.current_file.unlink()
        first = store.list_versions()[0]
        for command in ("rollback", "verify"):
            assert main([command, "--store", str(store.path)]) == 3
            told = capsys.readouterr().err
            assert "CURRENT is gone" in told
            assert "rollback --to VERSION" in told
            assert first in told
        assert main(["rollback", "--to", first, "--store", str(store.path)]) == 0
        assert store.current_version() == first

    @pytest.mark.parametrize(
        "command", [("rollback",), ("rollback", "--to", "v1"), ("forget", "--user", "U1")]
    )
    def test_where_there_is_no_store_none_is_made(
        self, command: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for mistyped in (tmp_path, tmp_path / "a" / "b"):
            assert main([*command, "--store", str(mistyped)]) == 3
            assert "holds no published bundle" in capsys.readouterr().err
            assert os.listdir(tmp_path) == []

    def test_nobody_rolls_back_while_an_indexer_writes(self, store: Store) -> None:
        with store.writing(), pytest.raises(BundleError, match="another indexer"):
            roll_back(store, store.list_versions()[0])

    def test_verifying_reads_everything(
        self, store: Store, capsys: pytest.CaptureFixture[str]
    ) -> None:
        first = store.list_versions()[0]
        assert verify(store, None) == store.current_version()
        assert main(["verify", "--store", str(store.path), "--version", first]) == 0
        assert capsys.readouterr().out == f"{first} is sound\n"
        path = store.folder_of(first) / "users.factors.npy"
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        assert main(["verify", "--store", str(store.path), "--version", first]) == 3
        assert "users.factors.npy is not the file" in capsys.readouterr().err
