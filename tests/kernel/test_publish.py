"""Publishing: what goes in comes out bit for bit, and a publication that fails changes nothing."""

import errno
import os
import resource
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from examples.walkthrough import SETTINGS, five_users
from ilk.ann import Index, IndexSpec
from ilk.bundle import Bundle, Store, open_bundle, open_folder, publish
from ilk.bundle.contents import Arrays, ContentGroups, flatten
from ilk.bundle.manifest import Manifest
from ilk.bundle.store import sync_folder
from ilk.errors import BundleError, BundleMissing
from indexer import publishing
from indexer.interactions import Interactions
from indexer.progress import Progress

PARTS = ("users", "items", "ratings_by_user", "ratings_by_item", "catalogue", "content_groups")
TINY = Manifest(
    version="tiny",
    created_at_s=0,
    n_users=0,
    n_items=0,
    n_ratings=0,
    n_factors=0,
    dim_content=0,
    preference={},
    fold_in={},
    content_fields=[],
    indices={},
    default_content_weight=0,
    default_recall=1,
    source="a test",
    simulated=False,
    settings={},
    provenance={},
)
FEW: Arrays = {"one": np.arange(3), "two": np.arange(5.0), "three": np.zeros((2, 2))}


def build(data: Interactions, store: Path) -> str:
    return publishing.assemble_and_publish(data, store, SETTINGS, {}, Progress(quiet=True))


def arrays_of(bundle: Bundle) -> Arrays:
    model = bundle.content_model
    arrays: Arrays = {"gram": bundle.fold_in.gram, "content.idf": model.idf}
    arrays["content.to_factors"] = model.to_factors
    for name in (*PARTS, "biases", "item_terms", "title_names"):
        arrays |= flatten(name, getattr(bundle, name))
    assert bundle.expected is not None
    assert bundle.fold_in.common is not None
    return arrays | {"users.expected": bundle.expected, "common_taste": bundle.fold_in.common}


def test_every_array_and_index_comes_back_as_it_was_published(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    handed: list[tuple[Manifest, Arrays, dict[str, Index]]] = []

    def kept(store: Store, *contents: Any, **options: Any) -> Path:
        handed.append(contents)
        return publish(store, *contents, **options)

    monkeypatch.setattr(publishing, "publish", kept)
    version = build(five_users(), tmp_path)
    bundle = open_bundle(tmp_path)
    ((manifest, arrays, indices),) = handed
    assert replace(bundle.manifest, files={}, version="") == Manifest.from_json(manifest.to_json())
    assert bundle.version == Store(tmp_path).current_version() == version
    opened = arrays_of(bundle)
    assert opened.keys() == arrays.keys()
    for name, array in arrays.items():
        assert (opened[name].dtype, opened[name].shape) == (array.dtype, array.shape), name
        assert opened[name].tobytes() == array.tobytes(), name
        assert not opened[name].flags.writeable, name
    for key, space in bundle.spaces.items():
        axes = np.eye(space.index.dim, dtype=np.float32)
        found, given = (i.nearest(axes, len(space)) for i in (space.index, indices[key.name]))
        assert np.array_equal(found.rows, given.rows)
        assert np.array_equal(found.scores, given.scores)


@pytest.mark.parametrize(
    "change",
    [
        {"rating_scale": None},
        {"timestamps": np.arange(9)},
        {"items": replace(five_users().items, genres=[()] * 4)},
        {"items": replace(five_users().items, titles=["", "🎬", "\n", "é"])},
    ],
    ids=["clicks", "times", "no-genres", "titles"],
)
def test_data_of_every_shape_can_be_published_and_opened(
    change: dict[str, Any], tmp_path: Path
) -> None:
    build(replace(five_users(), **change), tmp_path)
    bundle = open_bundle(tmp_path)
    assert (len(bundle.users), len(bundle.items), len(bundle.ratings_by_user.stars)) == (5, 4, 9)


def test_the_same_data_and_settings_give_the_same_contents(tmp_path: Path) -> None:
    one, other = (build(five_users(), tmp_path / name) for name in "ab")
    assert one.rpartition("-")[2] == other.rpartition("-")[2]


def test_content_groups_hold_every_item_once_with_its_own_vector() -> None:
    content = np.random.default_rng(1).integers(0, 2, (40, 3)).astype(np.float32)
    groups = ContentGroups.of(content)
    assert len(groups.vectors) == len({tuple(row) for row in content.tolist()})
    assert np.array_equal(groups.vectors[groups.group_of], content)
    for group, (start, stop) in enumerate(pairwise(groups.indptr.tolist())):
        assert np.array_equal(groups.members[start:stop], np.flatnonzero(groups.group_of == group))


def test_current_is_flipped_only_when_the_new_version_is_whole(
    store: Store, live: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = open_bundle(store.path)
    indices = {key.name: space.index for key, space in before.spaces.items()}
    flip, seen = Store.point_current_at, []

    def watched(self: Store, version: str) -> None:
        assert self.current_version() == before.version
        assert open_folder(self.folder_of(version)).version == version
        seen.append(version)
        flip(self, version)

    monkeypatch.setattr(Store, "point_current_at", watched)
    manifest = replace(before.manifest, version="second", files={})
    assert publish(store, manifest, arrays_of(before), indices) == store.folder_of("second")
    assert seen == [open_bundle(store.path).version] == ["second"]
    assert open_bundle(store.path, before.version).version == before.version
    assert store.list_versions() == [before.version, "second"]


def test_a_version_is_in_its_place_for_good_before_current_names_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[Path | str] = []
    flip = Store.point_current_at

    def synced(folder: Path) -> None:
        done.append(folder)
        sync_folder(folder)

    def flipped(self: Store, version: str) -> None:
        done.append(version)
        flip(self, version)

    monkeypatch.setattr("ilk.bundle.writer.sync_folder", synced)
    monkeypatch.setattr(Store, "point_current_at", flipped)
    publish(store, TINY, FEW, {})
    assert done == [store.staging / ".unnamed", store.versions, TINY.version]


@contextmanager
def failing_fsync(at: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Let the ``at``-th call of fsync fail as a full disk does; yields the calls counted."""
    calls: list[int] = []

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        yield calls


def leftovers(store: Store) -> list[str]:
    return sorted(p.name for p in store.path.glob(".[sC]*"))


@pytest.fixture(scope="module")
def n_fsyncs(tmp_path_factory: pytest.TempPathFactory) -> int:
    """How often publishing ``FEW`` calls fsync in a store that holds something."""
    store = Store(tmp_path_factory.mktemp("counted"))
    publish(store, replace(TINY, version="first"), FEW, {})
    with failing_fsync(0, pytest.MonkeyPatch()) as calls:
        publish(store, TINY, FEW, {})
    return len(calls)


def test_wherever_the_disk_fills_the_live_version_stays_and_the_next_publication_cleans_up(
    n_fsyncs: int, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert n_fsyncs >= len(FEW) + 4
    live = store.current_version()
    # The last call of all comes after the flip; see the test below.
    for at in range(1, n_fsyncs):
        failed = replace(TINY, version=f"failed-{at}")
        with failing_fsync(at, monkeypatch), pytest.raises(BundleError, match="cannot publish"):
            publish(store, failed, FEW, {})
        assert open_bundle(store.path).version == live
        assert [name for name in leftovers(store) if name == ".staging"] == []
    publish(store, replace(TINY, version="good"), FEW, {})
    assert store.current_version() == "good"
    assert leftovers(store) == []


def test_a_publication_whose_last_sync_fails_is_live_and_says_that_it_may_not_last(
    n_fsyncs: int, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = f"{TINY.version} is live, but a power cut"
    with failing_fsync(n_fsyncs, monkeypatch), pytest.raises(BundleError, match=told):
        publish(store, TINY, FEW, {})
    assert store.current_version() == TINY.version


@pytest.mark.parametrize(
    "n_rows",
    [
        # The last block is written when the file is closed, where faiss only prints the failure:
        # the version is published with half an index and a checksum that agrees.
        40,
        4000,
    ],
)
def test_a_disk_that_fills_under_an_index_fails_the_publication(
    n_rows: int, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = store.current_version()
    index = Index.build(np.ones((n_rows, 16), dtype=np.float32), IndexSpec(), seed=1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        with pytest.raises(BundleError, match="cannot publish"):
            publish(store, TINY, {}, {"items.likeness": index})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert store.current_version() == live


def test_a_disk_that_fills_under_an_array_fails_the_publication(store: Store) -> None:
    live = store.current_version()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        with pytest.raises(BundleError, match="cannot publish"):
            publish(store, TINY, {"large": np.zeros(1000)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert store.current_version() == live


def test_a_second_writer_is_refused_while_the_first_holds_the_store(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ilk.bundle.writer.WAIT_S", 0.2)
    live = store.current_version()
    with store.writing():
        with pytest.raises(BundleError, match="another indexer is writing"):
            publish(store, TINY, FEW, {})
        # Readers need no lock.
        assert open_bundle(store.path).version == live
    publish(store, TINY, FEW, {})
    assert store.current_version() == "tiny"


def test_a_second_writer_waits_for_the_first(store: Store) -> None:
    with ThreadPoolExecutor(1) as pool:
        with store.writing():
            waiting = pool.submit(publish, store, TINY, FEW, {})
            time.sleep(0.3)
            assert not waiting.done()
        assert waiting.result(30).name == "tiny"


def test_a_version_is_never_written_twice(store: Store) -> None:
    live = store.current_version()
    with pytest.raises(BundleError, match=f"already holds a version {live}"):
        publish(store, replace(TINY, version=live), FEW, {})
    assert open_bundle(store.path).version == live


def test_what_two_builds_make_in_one_second_is_published_once(store: Store) -> None:
    unnamed = replace(TINY, version="")
    made = publish(store, unnamed, FEW, {})
    with pytest.raises(BundleError, match=f"holds {made.name}, the same made in the same second"):
        publish(store, unnamed, FEW, {})
    assert store.current_version() == made.name


@pytest.mark.parametrize("name", ["..", "../elsewhere", "a/b", ".", ".hidden", "a" * 200])
def test_a_version_name_that_could_lead_elsewhere_is_not_written(
    name: str, store: Store, tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BundleError, match="not a version name"):
        publish(store, replace(TINY, version=name), FEW, {})
    with pytest.raises(BundleError, match="not a version name"):
        store.point_current_at(name)
    assert sorted(tmp_path.rglob("*")) == before


def test_current_can_be_pointed_back_but_not_at_nothing(store: Store) -> None:
    live = store.current_version()
    publish(store, TINY, FEW, {})
    store.point_current_at(live)
    assert open_bundle(store.path).version == live
    with pytest.raises(BundleMissing, match="no version 'unheard-of'"):
        store.point_current_at("unheard-of")
    assert open_bundle(store.path).version == live


def test_objects_are_never_pickled_into_a_bundle(store: Store) -> None:
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        publish(store, TINY, {"objects": np.array([{}], dtype=object)}, {})
    assert TINY.version not in store.list_versions()


def test_a_path_that_is_no_folder_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BundleError, match="cannot publish"):
        publish(Store(tmp_path / "file"), TINY, FEW, {})
    with pytest.raises(BundleError, match="cannot be read"):
        open_bundle(tmp_path / "file")
