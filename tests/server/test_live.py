"""Which bundle is served: the next one without a failed call, never one that is unsound."""

import errno
import gc
import json
import logging
import os
import shutil
import threading
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import grpc
import pytest

from ilk import SimilarityClient
from ilk.bundle import Bundle, Store, open_bundle
from ilk.bundle.lease import take_alone
from ilk.errors import BundleCorrupt, BundleMissing
from ilk.types import ItemId, Neighbors, Query
from ilk.v1 import similarity_pb2 as pb
from ilk.v1.similarity_pb2_grpc import SimilarityServiceStub
from server.bundles.live import Live
from server.settings import ServerSettings, Transport
from tests.golden.make import FOLDER, unpack

if TYPE_CHECKING:
    from tests.server.conftest import Serve

MATRIX = Query(ItemId("the-matrix-1999"), neighbor_count=3)
NEVER_S = 3600.0


@pytest.fixture
def versions(store: Store) -> tuple[str, str]:
    """Return the version that is live at first, and the one to come."""
    first, second = store.list_versions()
    return first, second


@pytest.fixture
def live(store: Store) -> Iterator[Live]:
    """Return what is live in ``store``; it looks at ``CURRENT`` only when told to."""
    watched = Live(store.path, NEVER_S)
    watched.start()
    yield watched
    watched.close()


def serving_version(live: Live) -> str:
    return live.get().bundle.version


def test_what_current_names_is_served(live: Live, store: Store, versions: tuple[str, str]) -> None:
    first, second = versions
    assert serving_version(live) == first
    for version in (second, first):
        store.point_current_at(version)
        live.refresh()
        assert serving_version(live) == version


@pytest.mark.parametrize("version", [1, 3])
def test_titles_of_a_bundle_of_before_are_found(version: int, tmp_path: Path) -> None:
    unpack(FOLDER / f"format-{version}.json", tmp_path)
    watched = Live(tmp_path, NEVER_S)
    watched.start()
    try:
        served = watched.get()
        ((row, score),) = served.titles.search("aunts heist", 1)
    finally:
        watched.close()
    assert (served.bundle.items.vocabulary.id_of(row), score > 0.8) == ("aunt-heist", True)


def test_an_unchanged_current_is_not_opened_again(live: Live) -> None:
    served = live.get()
    live.refresh()
    assert live.get() is served


def test_the_old_bundle_is_let_go_with_its_last_query(
    live: Live, store: Store, versions: tuple[str, str]
) -> None:
    query_under_way = live.get()
    factors = weakref.ref(query_under_way.bundle.items.factors)
    store.point_current_at(versions[1])
    live.refresh()
    gc.collect()
    assert factors() is not None
    del query_under_way
    gc.collect()
    assert factors() is None


def test_nothing_is_live_before_the_start(store: Store) -> None:
    with pytest.raises(BundleMissing):
        Live(store.path, NEVER_S).get()


def test_a_server_does_not_start_without_a_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleMissing, match="python -m indexer build"):
        Live(tmp_path / "nowhere", NEVER_S).start()


def test_a_server_does_not_start_with_a_corrupt_bundle(
    store: Store, versions: tuple[str, str]
) -> None:
    flip_a_byte(store.folder_of(versions[0]))
    with pytest.raises(BundleCorrupt, match="not the file that was published"):
        Live(store.path, NEVER_S).start()


def flip_a_byte(folder: Path) -> None:
    path = folder / "items.factors.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def cut_an_index_short(folder: Path) -> None:
    path = folder / "items.likeness.faiss"
    path.write_bytes(path.read_bytes()[:-100])


def remove_a_file(folder: Path) -> None:
    (folder / "gram.npy").unlink()


def add_a_file(folder: Path) -> None:
    (folder / "extra.npy").write_bytes(b"")


def empty_the_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_bytes(b"")


def scramble_the_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_bytes(b"\xff\xfe{")


def remove_the_folder(folder: Path) -> None:
    shutil.rmtree(folder)


def in_manifest(**changes: Any) -> Callable[[Path], None]:
    """Return what changes fields of a manifest, which no checksum guards."""

    def change(folder: Path) -> None:
        path = folder / "manifest.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    change.__name__ = "manifest with " + ", ".join(f"{k}={v!r}" for k, v in changes.items())
    return change


CORRUPTIONS = [
    flip_a_byte,
    cut_an_index_short,
    remove_a_file,
    add_a_file,
    empty_the_manifest,
    scramble_the_manifest,
    remove_the_folder,
    in_manifest(format_version=99),
    in_manifest(n_items=3),
    in_manifest(n_items="many"),
    in_manifest(indices={}),
    in_manifest(files=[]),
    in_manifest(preference=[]),
    in_manifest(fold_in={}),
    in_manifest(content_fields=[[1]]),
    # BUG: opened as sound, and fail only when they are asked; the reader should check the types of
    # the manifest's fields, and that the terms are as many as the array `content.idf`.
    in_manifest(content_fields=[]),
    in_manifest(content_fields=[["genres", ["Drama"], 1.0]]),
    in_manifest(default_recall=None),
    # BUG: the first answer raises TypeError, which `refresh` lets through: the watcher's thread dies
    # and no later version is ever served. `refresh` should catch every Exception.
    in_manifest(default_content_weight="none"),
    # BUG: served under a name that is not its folder's, so every poll opens and swaps it in again.
    in_manifest(version="another"),
]


@pytest.mark.parametrize("corrupt", CORRUPTIONS, ids=lambda corrupt: corrupt.__name__)
def test_an_unsound_version_is_refused_and_the_old_one_goes_on(
    live: Live,
    store: Store,
    versions: tuple[str, str],
    caplog: pytest.LogCaptureFixture,
    corrupt: Callable[[Path], None],
) -> None:
    first, second = versions
    served = live.get()
    store.point_current_at(second)
    corrupt(store.folder_of(second))
    for _ in range(3):
        live.refresh()
        assert live.get() is served
    assert caplog.text.count("refused") == 1
    store.point_current_at(first)
    live.refresh()
    assert live.get() is served


UNREADABLE = {
    "missing": None,
    "empty": b"",
    "not text": b"\xff\xfe",
    "a path": b"../../elsewhere",
    "a folder of no version": b"20200101T000000Z-00000000",
}


# BUG: only a CURRENT that names a version is remembered as refused; with any other the server logs a
# traceback at every poll, 43,200 a day at the default interval.
@pytest.mark.parametrize("content", UNREADABLE.values(), ids=UNREADABLE)
def test_an_unreadable_current_is_complained_of_once(
    live: Live, store: Store, caplog: pytest.LogCaptureFixture, content: bytes | None
) -> None:
    served = live.get()
    if content is None:
        store.current_file.unlink()
    else:
        store.current_file.write_bytes(content)
    for _ in range(3):
        live.refresh()
        assert live.get() is served
    assert caplog.text.count("refused") == 1


def test_each_thing_that_is_wrong_with_current_is_told(
    live: Live, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    for content in (b"", b"../../etc\n", b"", b""):
        store.current_file.write_bytes(content)
        live.refresh()
    assert caplog.text.count("refused") == 3


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
def test_a_file_that_cannot_be_read_for_now_is_tried_again(
    live: Live,
    store: Store,
    versions: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    number: int,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    store.point_current_at(versions[1])
    with monkeypatch.context() as patched:
        patched.setattr("ilk.bundle.reader.map_bundle", refuse)
        live.refresh()
    assert live.get().bundle.version == versions[0]
    live.refresh()
    assert live.get().bundle.version == versions[1]


def test_a_store_that_cannot_even_be_listed_is_looked_at_again(
    live: Live, store: Store, versions: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_files(_: Store) -> list[str]:
        raise OSError(errno.EMFILE, "too many open files")

    store.current_file.unlink()
    with monkeypatch.context() as patched:
        patched.setattr(Store, "list_versions", out_of_files)
        live.refresh()
    store.point_current_at(versions[1])
    live.refresh()
    assert live.get().bundle.version == versions[1]


class Caller(threading.Thread):
    """Asks single queries and batches without a pause, and keeps the versions that answered."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self._client = SimilarityClient(address, timeout_s=30)
        self._stop_asking = threading.Event()
        self.versions: list[str] = []
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            while not self._stop_asking.is_set():
                self.versions.append(self._client.find_neighbors(MATRIX).bundle_version)
                self.versions.append(self._of_one_batch())
        except Exception as failure:  # noqa: BLE001 - raised by the test, in its own thread
            self.failure = failure

    def _of_one_batch(self) -> str:
        outcomes = self._client.batch_find_neighbors([MATRIX] * 5)
        (version,) = {o.bundle_version for o in outcomes if isinstance(o, Neighbors)}
        return version

    def stop(self) -> None:
        self._stop_asking.set()
        self.join()
        self._client.close()
        if self.failure is not None:
            raise self.failure


Wait = Callable[[Callable[[], bool]], None]


def all_told(callers: list[Caller], version: str) -> bool:
    """Return whether each caller was last answered from ``version``, or has failed."""
    return all(c.versions[-1:] == [version] or not c.is_alive() for c in callers)


def test_new_versions_are_swapped_in_without_a_failed_call(
    serve: "Serve", store: Store, versions: tuple[str, str], wait_until: Wait
) -> None:
    first, second = versions
    settings = ServerSettings(store.path, port=0, poll_interval_s=0.02)
    with serve(settings) as address:
        callers = [Caller(address) for _ in range(2)]
        for caller in callers:
            caller.start()
        wait_until(partial(all_told, callers, first))
        for version in (second, first, second):
            store.point_current_at(version)
            wait_until(partial(all_told, callers, version))
        for caller in callers:
            caller.stop()
            assert set(caller.versions) == {first, second}
            swaps = sum(a != b for a, b in zip(caller.versions, caller.versions[1:], strict=False))
            assert swaps == 3


def test_a_corrupt_version_is_refused_rolled_back_and_followed_by_a_sound_one(
    serve: "Serve",
    store: Store,
    versions: tuple[str, str],
    wait_until: Wait,
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, second = versions
    spoiled = f"{second}-spoiled"
    shutil.copytree(store.folder_of(second), store.folder_of(spoiled))
    flip_a_byte(store.folder_of(spoiled))
    caplog.set_level(logging.INFO, "ilk.server")
    settings = ServerSettings(store.path, port=0, poll_interval_s=0.02)
    with serve(settings) as address, SimilarityClient(address) as client:
        store.point_current_at(spoiled)
        wait_until(lambda: "refused" in caplog.text)
        assert client.find_neighbors(MATRIX).bundle_version == first
        store.point_current_at(first)
        assert client.find_neighbors(MATRIX).bundle_version == first
        store.point_current_at(second)
        wait_until(lambda: client.get_bundle().version == second)
        wait_until(lambda: f"serving bundle {second}" in caplog.text)
        assert spoiled in caplog.text


def test_callers_are_told_what_was_refused_and_why_but_not_where(
    serve: "Serve", store: Store, versions: tuple[str, str], wait_until: Wait
) -> None:
    first, second = versions
    remove_a_file(store.folder_of(second))
    settings = ServerSettings(store.path, port=0, poll_interval_s=0.02)
    with serve(settings) as address, SimilarityClient(address) as client:
        assert client.get_bundle().refused == ()
        store.point_current_at(second)
        wait_until(lambda: client.get_bundle().refused != ())
        store.current_file.write_bytes(b"../../elsewhere\n")
        wait_until(lambda: len(client.get_bundle().refused) == 2)
        told = client.get_bundle()
        unreadable, spoiled = told.refused
        assert (told.version, unreadable.version, spoiled.version) == (first, "", second)
        assert "gram.npy" in spoiled.reason
        for refusal in told.refused:
            assert str(store.path) not in refusal.reason
            assert told.live_since_s is not None
            assert told.live_since_s <= refusal.refused_at_s


def test_a_version_that_was_mended_is_tried_again_when_told_to_look(
    live: Live, store: Store, versions: tuple[str, str], tmp_path: Path, wait_until: Wait
) -> None:
    first, second = versions
    aside = tmp_path / "gram.npy"
    shutil.move(store.folder_of(second) / "gram.npy", aside)
    store.point_current_at(second)
    live.refresh()
    shutil.move(aside, store.folder_of(second) / "gram.npy")
    live.refresh()
    assert serving_version(live) == first
    live.look()
    wait_until(lambda: serving_version(live) == second)
    assert [refusal.version for refusal in live.refused] == [second]


def test_a_version_that_comes_after_current_names_it_is_taken_up(
    live: Live, store: Store, versions: tuple[str, str], tmp_path: Path
) -> None:
    first, second = versions
    aside = shutil.move(store.folder_of(second), tmp_path / second)
    store.current_file.write_text(second + "\n")
    for _ in range(3):
        live.refresh()
        assert serving_version(live) == first
    assert [refusal.version for refusal in live.refused] == [second]
    shutil.move(aside, store.folder_of(second))
    live.refresh()
    assert serving_version(live) == second


@pytest.mark.parametrize("error", [OSError(errno.EMFILE, "too many"), MemoryError()], ids=repr)
def test_a_version_is_tried_again_when_the_system_was_short_of_something(
    live: Live,
    store: Store,
    versions: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    store.point_current_at(versions[1])
    with monkeypatch.context() as short:
        short.setattr("server.bundles.live.Encoder", Mock(side_effect=error))
        live.refresh()
        live.refresh()
    (refusal,) = live.refused
    assert "tried again" in refusal.reason
    live.refresh()
    assert serving_version(live) == versions[1]


def test_a_fault_of_ours_is_not_met_again_with_each_look(
    live: Live, store: Store, versions: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = Mock(side_effect=RuntimeError)
    monkeypatch.setattr("server.bundles.live.Encoder", failing)
    store.point_current_at(versions[1])
    live.refresh()
    live.refresh()
    assert failing.call_count == 1


def test_a_version_deleted_as_current_moved_on_is_no_refusal(
    live: Live,
    store: Store,
    versions: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    wait_until: Wait,
) -> None:
    second = versions[1]

    def open_late(path: Path, version: str) -> Bundle:
        if version == "deleted-meanwhile":
            store.point_current_at(second)
        return open_bundle(path, version)

    monkeypatch.setattr("server.bundles.live.open_bundle", open_late)
    store.current_file.write_text("deleted-meanwhile\n")
    live.refresh()
    # It looks again at once, however long the interval is.
    wait_until(lambda: serving_version(live) == second)
    assert live.refused == []


REFUSED = [
    pb.FindNeighborsRequest(),
    pb.FindNeighborsRequest(item_id="nobody"),
    pb.FindNeighborsRequest(text="qqq"),
    pb.FindNeighborsRequest(item_id="the-matrix-1999", target=pb.TARGET_USERS, offset=-1),
]


@pytest.fixture
def no_collection() -> Iterator[None]:
    """Have nothing that is in a cycle let go."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize("transport", ["core", "aio"])
@pytest.mark.parametrize("crowd", [1, 5])
def test_an_idle_server_holds_nothing_of_the_bundle_before(
    serve: "Serve",
    store: Store,
    versions: tuple[str, str],
    wait_until: Wait,
    transport: Transport,
    crowd: int,
) -> None:
    settings = ServerSettings(
        *(store.path, "127.0.0.1", 0), transport=transport, poll_interval_s=0.02, users_crowd=crowd
    )
    with serve(settings) as address, grpc.insecure_channel(address) as channel:
        stub: Any = SimilarityServiceStub(channel)  # type: ignore[no-untyped-call]
        asked = [*REFUSED, pb.FindNeighborsRequest(item_id="the-matrix-1999")]
        told = stub.BatchFindNeighbors(pb.BatchFindNeighborsRequest(queries=asked))
        assert [o.HasField("error") for o in told.outcomes] == [True] * len(REFUSED) + [False]
        messages = [pb.StreamFindNeighborsRequest(query=query) for query in asked]
        messages.append(pb.StreamFindNeighborsRequest(request_id="x" * 300))
        raw: Any = channel.stream_stream("/ilk.v1.SimilarityService/StreamFindNeighbors")
        bodies = [*(message.SerializeToString() for message in messages), b"\xff"]
        assert len(list(raw(iter(bodies)))) == len(bodies)
        for query in REFUSED:
            with pytest.raises(grpc.RpcError):
                stub.FindNeighbors(query)
        store.point_current_at(versions[1])

        def is_free() -> bool:
            lease = take_alone(store.folder_of(versions[0]))
            if lease is not None:
                lease.release()
            return lease is not None

        wait_until(is_free)
        assert stub.GetBundle(pb.GetBundleRequest()).bundle_version == versions[1]


def test_titles_and_items_come_from_the_same_bundle_as_neighbors(
    serve: "Serve", store: Store, versions: tuple[str, str], wait_until: Wait
) -> None:
    settings = ServerSettings(store.path, port=0, poll_interval_s=0.02)
    with serve(settings) as address, SimilarityClient(address) as client:
        before = client.search_titles("The Matrix", 1)
        store.point_current_at(versions[1])
        wait_until(lambda: client.get_bundle().version == versions[1])
        assert client.search_titles("The Matrix", 1) == before
