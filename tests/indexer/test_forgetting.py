"""Forgetting: the users are gone from what is served, from what is kept and from what is built later."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from examples.walkthrough import SETTINGS, five_users
from ilk.ann import IndexKind
from ilk.bundle import Bundle, Store, open_bundle
from ilk.bundle.contents import flatten
from ilk.bundle.manifest import Manifest
from ilk.errors import BundleError, DataError, NotFound
from ilk.predict import predict
from ilk.query import answer
from ilk.types import ItemId, Neighbors, Query, Target, UserId
from indexer.__main__ import main
from indexer.acceptance.gate import GateSettings
from indexer.acceptance.validation import check_values
from indexer.build import build
from indexer.erasure.forgetting import forget, prove_absence, readmit, without_forgotten
from indexer.erasure.removal import without_users
from indexer.forgotten import Forgotten
from indexer.indexing.indices import build_index
from indexer.interactions import Interactions
from indexer.progress import Progress
from indexer.publishing import assemble_and_publish
from indexer.settings import BuildSettings
from indexer.upkeep import roll_back

QUIET = Progress(quiet=True)
QUICK = BuildSettings(factors=8, iterations=2, evaluate=False)


@pytest.fixture(scope="module")
def named(sample: Interactions) -> Interactions:
    """The sample with users whose ids are long enough to be looked for in any file."""
    return replace(sample, user_ids=[f"person-{at:06d}" for at in range(sample.n_users)])


@pytest.fixture(scope="module")
def published(named: Interactions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of two versions."""
    path = tmp_path_factory.mktemp("named")
    for seed in (1, 2):
        assemble_and_publish(named, path, replace(QUICK, seed=seed), {}, QUIET)
    return path


@pytest.fixture
def store(published: Path, tmp_path: Path) -> Store:
    return Store(shutil.copytree(published, tmp_path / "store"))


def some_users(bundle: Bundle, *rows: int) -> list[str]:
    return [bundle.users.vocabulary.id_of(row) for row in rows]


def answered(bundle: Bundle, query: Query) -> Neighbors:
    return answer(bundle, query)


def test_the_live_bundle_goes_on_without_them(store: Store) -> None:
    before = open_bundle(store.path)
    gone = some_users(before, 0, 7, len(before.users) - 1)
    n_ratings = sum(
        len(before.ratings_by_user.stars_of(before.users.vocabulary.row_of(i))) for i in gone
    )
    stays = before.users.vocabulary.id_of(3)
    asked = [
        Query(UserId(stays), Target.ITEMS),
        Query(ItemId(before.items.vocabulary.id_of(5)), Target.ITEMS),
        Query(UserId(stays), Target.USERS, neighbor_count=20),
    ]
    expected = [answered(before, query) for query in asked]
    del before

    outcome = forget(store, [*gone, "person-nobody"], wait_s=0)
    assert (outcome.n_users, outcome.n_ratings) == (3, n_ratings)
    assert store.list_versions() == [outcome.version]
    after = open_bundle(store.path)
    check_values(after)
    assert (after.manifest.n_users, after.manifest.n_ratings) == (
        len(after.users),
        outcome_of(after),
    )
    for user_id in gone:
        with pytest.raises(NotFound):
            answer(after, Query(UserId(user_id), Target.ITEMS))
    for query, was in zip(asked, expected, strict=True):
        now = {n.id: n.score for n in answered(after, query).neighbors}
        for neighbor in was.neighbors:
            if neighbor.id not in gone and neighbor.id in now:
                assert now[neighbor.id] == pytest.approx(neighbor.score, abs=1e-5)
        assert not now.keys() & set(gone)
    assert [n.id for n in answered(after, asked[0]).neighbors] == [
        n.id for n in expected[0].neighbors
    ]
    assert predict(after, UserId(stays), [after.items.vocabulary.id_of(1)])


def outcome_of(bundle: Bundle) -> int:
    return int(bundle.ratings_by_item.indptr[-1])


def test_what_stays_is_what_it_was_to_the_last_bit(store: Store) -> None:
    before = open_bundle(store.path)
    folder = store.folder_of(before.version)
    most_active = np.flatnonzero(before.users.popularity == before.users.popularity.max())
    rows = np.union1d([2, 40, 41], most_active)
    manifest, arrays, _ = without_users(before, folder, rows)
    assert isinstance(manifest, Manifest)
    kept = np.setdiff1d(np.arange(len(before.users)), rows)
    for part in ("factors", "directions", "content"):
        assert np.array_equal(arrays[f"users.{part}"], getattr(before.users, part)[kept])
    # How active users are is told beside the most active who stays.
    active = before.users.popularity[kept]
    np.testing.assert_allclose(arrays["users.popularity"], active / active.max(), rtol=1e-6)
    assert before.expected is not None
    assert np.array_equal(arrays["users.expected"], before.expected[kept])
    for name, array in flatten("items", before.items).items():
        assert np.array_equal(arrays[name], array)
    indptr = arrays["ratings_by_user.indptr"]
    for new, old in enumerate(kept.tolist()):
        own = slice(indptr[new], indptr[new + 1])
        assert np.array_equal(
            arrays["ratings_by_user.others"][own], before.ratings_by_user.others_of(old)
        )
        assert np.array_equal(
            arrays["ratings_by_user.stars"][own], before.ratings_by_user.stars_of(old)
        )
    # By item, each entry is an entry by user.
    item_of = np.repeat(np.arange(len(before.items)), np.diff(arrays["ratings_by_item.indptr"]))
    user_of = np.repeat(np.arange(len(kept)), np.diff(indptr))
    by_item = set(zip(arrays["ratings_by_item.others"].tolist(), item_of.tolist(), strict=True))
    by_user = set(zip(user_of.tolist(), arrays["ratings_by_user.others"].tolist(), strict=True))
    assert by_item == by_user
    stars = np.bincount(item_of, arrays["ratings_by_item.stars"], len(before.items))
    rated = np.bincount(item_of, minlength=len(before.items))
    means = arrays["catalogue.mean_stars"]
    np.testing.assert_allclose(
        means[rated > 0], (stars / np.maximum(rated, 1))[rated > 0], rtol=1e-6
    )
    assert np.isnan(means[rated == 0]).all()


def test_a_later_build_from_the_same_data_leaves_them_out(
    store: Store, named: Interactions, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = some_users(open_bundle(store.path), 1, 2)
    forget(store, gone, wait_s=0)
    build(named, store.path, QUICK, QUIET, GateSettings(accept_drift=True))
    assert "2 forgotten users are left out" in capsys.readouterr().err
    bundle = open_bundle(store.path)
    assert (bundle.users.vocabulary.rows_of(gone) < 0).all()
    assert len(bundle.users) == named.n_users - 2
    # And the next one after it; others are not touched.
    left, n_out = without_forgotten(named, store.path)
    assert n_out == 2
    assert len(left) == outcome_of(bundle)


def test_who_is_forgotten_while_a_build_runs_does_not_come_back(
    store: Store, named: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    (gone,) = some_users(open_bundle(store.path), 6)

    def after_a_while(*handed: Any) -> str:
        forget(store, [gone], wait_s=0)
        return assemble_and_publish(*handed)

    accepting = GateSettings(accept_drift=True)
    with monkeypatch.context() as patch:
        patch.setattr("indexer.build.assemble_and_publish", after_a_while)
        with pytest.raises(BundleError, match=r"1 users who were forgotten.*build again"):
            build(named, store.path, QUICK, QUIET, accepting)
    assert open_bundle(store.path).users.vocabulary.row_of(gone) < 0
    assert store.list_versions() == [store.current_version()]
    version = build(named, store.path, QUICK, QUIET, accepting)
    assert open_bundle(store.path).version == version
    assert open_bundle(store.path).users.vocabulary.row_of(gone) < 0


def test_who_was_not_there_is_named_and_a_blank_is_nobody(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    (there,) = some_users(open_bundle(store.path), 4)
    assert main(["forget", "--user", there, "--user", "4,5", "--store", str(store.path)]) == 0
    told = capsys.readouterr()
    assert told.out.startswith("1 users with ")
    assert told.err.endswith(
        "user '4,5' was not in the live bundle; left out of later builds all the same\n"
    )
    assert there not in told.err
    live = store.current_version()
    assert main(["forget", "--user", " ", "--store", str(store.path)]) == 2
    assert "must not be blank" in capsys.readouterr().err
    assert store.current_version() == live


def test_no_rollback_brings_them_back(store: Store) -> None:
    serving = open_bundle(store.path)
    (gone,) = some_users(serving, 4)
    with pytest.raises(BundleError, match="still hold"):
        forget(store, [gone], wait_s=0)
    live = store.current_version()
    with pytest.raises(BundleError, match=f"{serving.version} holds 1 users who were forgotten"):
        roll_back(store, serving.version)
    assert store.current_version() == live


@pytest.mark.parametrize("name", [".removed-old", ".staging"])
def test_what_a_killed_command_left_behind_goes_too(store: Store, name: str) -> None:
    """Nothing else may be left to do: the live bundle holds nobody who is to be forgotten."""
    live = store.folder_of(store.current_version())
    shutil.copytree(live, store.path / name)
    forget(store, ["nobody-of-the-bundle"], wait_s=0)
    assert not (store.path / name).exists()


def test_who_was_to_be_forgotten_and_is_still_there_goes_with_the_next(store: Store) -> None:
    first, second = some_users(open_bundle(store.path), 4, 5)
    # As if the command had been killed when the list was written.
    Forgotten.of(store).with_users([first]).save(store)
    assert forget(store, [second], wait_s=0).n_users == 2
    assert (open_bundle(store.path).users.vocabulary.rows_of([first, second]) < 0).all()


def test_a_version_that_a_server_has_open_is_named_and_the_command_can_be_repeated(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    serving = open_bundle(store.path)
    (gone,) = some_users(serving, 4)
    with pytest.raises(BundleError, match=f"{serving.version} still hold.*run the same command"):
        forget(store, [gone], wait_s=0.3)
    # What could be done was done.
    assert open_bundle(store.path).users.vocabulary.row_of(gone) < 0
    assert store.current_version() in store.list_versions()
    version = serving.version
    del serving
    assert main(["forget", "--user", gone, "--store", str(store.path), "--wait-s", "0"]) == 0
    told = capsys.readouterr().out
    assert "0 users with 0 ratings were in the live bundle" in told
    assert f"older versions deleted: {version}" in told
    assert version not in store.list_versions()


def test_a_version_that_cannot_be_read_is_taken_to_hold_them(store: Store) -> None:
    older, live = store.list_versions()
    store.point_current_at(live)
    (store.folder_of(older) / "gram.npy").unlink()
    assert older in forget(store, ["person-nobody"], wait_s=0).deleted


@pytest.mark.parametrize("what", ["a build", "another", "the list"])
def test_what_is_published_meanwhile_is_not_undone(
    what: str, store: Store, named: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, other = some_users(open_bundle(store.path), 6, 8)
    versions: list[str] = []

    def meanwhile(*handed: Any) -> Any:
        monkeypatch.setattr("indexer.erasure.forgetting.without_users", without_users)
        made = without_users(*handed)
        if what == "a build":
            accepting = GateSettings(accept_drift=True)
            build(named, store.path, replace(QUICK, seed=9), QUIET, accepting)
        elif what == "another":
            with pytest.raises(BundleError, match="are in use"):
                forget(store, [other], wait_s=0)
        else:
            Forgotten.of(store).with_users([other]).save(store)
        versions.append(store.current_version())
        return made

    monkeypatch.setattr("indexer.erasure.forgetting.without_users", meanwhile)
    outcome = forget(store, [gone], wait_s=0)
    live = open_bundle(store.path)
    assert (outcome.version == versions[0]) == (what != "the list")
    assert live.version == outcome.version
    assert live.users.vocabulary.row_of(gone) < 0
    assert (live.users.vocabulary.row_of(other) < 0) == (what != "a build")
    assert store.list_versions() == [live.version]


def test_versions_without_them_stay(tmp_path: Path) -> None:
    data, store = five_users(), Store(tmp_path)
    others = data.only(data.user_rows != data.user_ids.index("U5"))
    without = {
        assemble_and_publish(others, tmp_path, replace(SETTINGS, seed=seed), {}, QUIET)
        for seed in range(4)
    }
    live = assemble_and_publish(data, tmp_path, SETTINGS, {}, QUIET)
    outcome = forget(store, ["U5"], wait_s=0)
    assert outcome.deleted == (live,)
    assert set(store.list_versions()) == {*without, outcome.version}


# Codes of four bits are for thousands of rows: of five they miss some, less than the usual floor.
@pytest.mark.parametrize("kind", list(IndexKind), ids=lambda kind: kind.value)
def test_indices_of_every_kind_are_carried_over(kind: IndexKind, tmp_path: Path) -> None:
    assemble_and_publish(five_users(), tmp_path, replace(SETTINGS, index=kind), {}, QUIET)
    outcome = forget(Store(tmp_path), ["U3"], wait_s=0)
    bundle = open_bundle(tmp_path)
    assert {record.kind for record in bundle.manifest.indices.values()} == {kind.value}
    assert (outcome.n_users, outcome.n_ratings, len(bundle.users)) == (1, 2, 4)
    near = answer(bundle, Query(ItemId("Inception"), Target.USERS)).neighbors
    assert {n.id for n in near} == {"U1", "U2", "U4", "U5"}


def test_indices_are_measured_for_the_queries_that_the_bundle_was_built_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built_for = replace(SETTINGS, content_weight=0.7, recall_target=0.9)
    assemble_and_publish(five_users(), tmp_path, built_for, {}, QUIET)
    measured_for = []

    def build_and_tell(*args: Any) -> Any:
        measured_for.append((args[-1].content_weight, args[-1].recall_target))
        return build_index(*args)

    monkeypatch.setattr("indexer.indexing.spaces.build_index", build_and_tell)
    forget(Store(tmp_path), ["U3"], wait_s=0)
    assert measured_for == [(0.7, 0.9)] * 2


def test_a_trace_in_any_file_is_found(store: Store) -> None:
    bundle = open_bundle(store.path)
    folder = store.folder_of(bundle.version)
    with pytest.raises(BundleError, match="still holds 1 of the users"):
        prove_absence(bundle, folder, some_users(bundle, 3))
    # The manifest, and ids and titles of the items, are about no user.
    n_files = len(list(folder.iterdir())) - 4
    assert prove_absence(bundle, folder, ["person-nobody"]) == n_files
    with (folder / "users.factors.npy").open("ab") as file:
        file.write(b"....person-nobody....")
    with pytest.raises(BundleError, match=r"users\.factors\.npy names one of the users"):
        prove_absence(bundle, folder, ["person-nobody"])
    # Too short to mean anything among numbers.
    assert prove_absence(bundle, folder, ["nobody"]) == n_files


def test_ids_that_read_as_words_of_a_bundle_are_forgotten_too(
    named: Interactions, tmp_path: Path
) -> None:
    words = ["Adventure", "simulated", "recall_at_10", "fortran_order", "items.factors"]
    called = replace(named, user_ids=[*words, *named.user_ids[len(words) :]])
    older, live = (
        assemble_and_publish(called, tmp_path, replace(QUICK, seed=seed), {}, QUIET)
        for seed in (1, 2)
    )
    outcome = forget(Store(tmp_path), words, wait_s=0)
    assert outcome.n_users == len(words)
    assert set(outcome.deleted) == {older, live}


def test_older_versions_go_even_if_a_trace_is_found(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    (gone,) = some_users(open_bundle(store.path), 4)

    def found(*_: object) -> int:
        raise BundleError("gram.npy names one of the users")

    monkeypatch.setattr("indexer.erasure.forgetting.prove_absence", found)
    with pytest.raises(BundleError, match=r"gram\.npy names"):
        forget(store, [gone], wait_s=0)
    assert store.list_versions() == [store.current_version()]


def test_the_list_names_nobody(store: Store) -> None:
    Forgotten.of(store).with_users(["person-000001"]).save(store)
    data = (store.path / "forgotten.json").read_bytes()
    assert b"person" not in data
    listed = Forgotten.of(store)
    assert listed.among(["person-000001", "person-000002"]).tolist() == [True, False]
    # Another store has another salt.
    other = Store(store.path.parent / "other")
    assert Forgotten.of(other).with_users(["person-000001"]).hashes != listed.hashes


@pytest.mark.parametrize("damage", [b"", b"{}", b"[]", b"\xff"])
def test_no_build_passes_over_a_list_that_cannot_be_read(
    damage: bytes, store: Store, named: Interactions
) -> None:
    Forgotten.of(store).with_users(["person-000001"]).save(store)
    whole = (store.path / "forgotten.json").read_bytes()
    for told in (damage, whole[:-2], whole.replace(b"users", b"usher")):
        (store.path / "forgotten.json").write_bytes(told)
        with pytest.raises(BundleError, match="would bring them back"):
            build(named, store.path, QUICK, QUIET)


def test_the_last_of_all_users_cannot_be_forgotten_from_a_bundle(store: Store) -> None:
    bundle = open_bundle(store.path)
    everybody = some_users(bundle, *range(len(bundle.users)))
    with pytest.raises(BundleError, match="nothing would be left"):
        forget(store, everybody, wait_s=0)
    assert store.current_version() == bundle.version


def test_a_build_of_nobody_but_the_forgotten_is_refused(store: Store, named: Interactions) -> None:
    Forgotten.of(store).with_users(named.user_ids).save(store)
    with pytest.raises(DataError, match="ratings of forgotten users alone"):
        build(named, store.path, QUICK, QUIET)


def test_who_is_readmitted_is_built_from_again(
    store: Store, named: Interactions, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = "person-000001", "person-000002"
    forget(store, [first, second], 0)
    assert main(["readmit", "--store", str(store.path), "--user", first, "--user", "nobody"]) == 0
    assert "user 'nobody' was not forgotten here" in capsys.readouterr().err
    to_build, n_left_out = without_forgotten(named, store.path)
    assert n_left_out == 1
    users = {to_build.user_ids[row] for row in to_build.user_rows.tolist()}
    assert first in users
    assert second not in users


def test_readmitting_where_nobody_was_forgotten_leaves_no_list(store: Store) -> None:
    assert readmit(store, ["nobody"]) == ("nobody",)
    assert not (store.path / "forgotten.json").exists()
