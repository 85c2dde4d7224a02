"""Keeping a store: leases outlive nothing, stamps are believed only while nothing changed."""

import errno
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ilk.bundle import Store, open_bundle, open_folder, publish, stamp, verification
from ilk.bundle.lease import take, take_alone
from ilk.bundle.manifest import MANIFEST_NAME
from ilk.bundle.retention import clean_up, remove, surplus
from ilk.errors import BundleCorrupt, BundleError, BundleMissing
from tests.kernel.test_publish import FEW, TINY

ROOT = Path(__file__).parents[2]


@pytest.fixture
def few(tmp_path: Path) -> Store:
    """A store of five versions, ``v1`` to ``v5``, that hold next to nothing."""
    store = Store(tmp_path / "few")
    for version in ("v1", "v2", "v3", "v4", "v5"):
        publish(store, replace(TINY, version=version), FEW, {})
    return store


class TestLeases:
    def test_a_version_that_is_open_is_not_deleted(self, store: Store) -> None:
        bundle = open_bundle(store.path)
        publish(store, TINY, FEW, {})
        assert not remove(store, bundle.version)
        assert open_bundle(store.path, bundle.version).version == bundle.version
        version = bundle.version
        del bundle
        assert remove(store, version)
        assert store.list_versions() == [TINY.version]

    def test_a_lease_is_held_until_it_is_released(self, few: Store) -> None:
        first, second = take(few.folder_of("v1")), take(few.folder_of("v1"))
        first.release()
        first.release()
        assert (first.is_held, second.is_held) == (False, True)
        assert take_alone(few.folder_of("v1")) is None
        second.release()
        alone = take_alone(few.folder_of("v1"))
        assert alone is not None
        with pytest.raises(BundleMissing, match="is being deleted"):
            take(few.folder_of("v1"))
        alone.release()
        take(few.folder_of("v1")).release()

    def test_a_lease_of_another_process_holds_and_dies_with_it(self, few: Store) -> None:
        holding = (
            "import sys, pathlib\n"
            "from ilk.bundle.lease import take\n"
            "lease = take(pathlib.Path(sys.argv[1]))\n"
            "print('held', flush=True)\n"
            "sys.stdin.read()\n"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", holding, str(few.folder_of("v2"))],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        with process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"held\n"
            assert not remove(few, "v2")
            process.kill()
            process.wait()
        assert remove(few, "v2")

    def test_a_lease_on_a_version_that_was_replaced_meanwhile_is_refused(self, few: Store) -> None:
        lease = take(few.folder_of("v1"))
        folder = few.folder_of("v1").rename(few.path / "aside")
        assert not lease.leads_to(few.folder_of("v1"))
        assert lease.leads_to(folder)
        lease.release()

    def test_a_file_system_without_locks_serves_but_keeps_every_version(
        self, few: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise OSError("no locks available")

        monkeypatch.setattr("ilk.bundle.lease.fcntl.flock", refuse)
        take(few.folder_of("v1")).release()
        assert not remove(few, "v1")
        assert "v1" in few.list_versions()

    @pytest.mark.parametrize("number", [errno.EACCES, errno.EMFILE, errno.EIO])
    def test_a_version_whose_manifest_cannot_be_opened_is_kept(
        self, few: Store, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        def refuse(*_: object) -> int:
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch:
            patch.setattr("ilk.bundle.lease.os.open", refuse)
            assert not remove(few, "v1")
            with pytest.raises(BundleError, match=re.escape(os.strerror(number))):
                take(few.folder_of("v1"))
        assert "v1" in few.list_versions()
        assert remove(few, "v1")

    def test_a_manifest_that_may_only_be_read_can_be_locked(
        self, few: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        really = os.open

        def may_read(path: Path, flags: int) -> int:
            if flags & os.O_RDWR:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return really(path, flags)

        monkeypatch.setattr("ilk.bundle.lease.os.open", may_read)
        lease = take(few.folder_of("v1"))
        assert not remove(few, "v1")
        lease.release()
        assert take_alone(few.folder_of("v1")) is not None

    @pytest.mark.skipif(not hasattr(os, "fork") or os.getuid() != 0, reason="needs to be root")
    def test_a_store_that_cannot_be_written_can_be_opened(self, store: Store) -> None:
        store.path.chmod(0o755)
        opening = (
            "import os, sys, pathlib\n"
            "from ilk.bundle import open_bundle, stamp\n"
            "os.chdir(sys.argv[1])\n"
            # Once before, for modules that are imported late and might be out of nobody's reach.
            "open_bundle(pathlib.Path())\n"
            "stamp.STAMPED_FROM_BYTES = 0\n"
            "os.setgid(65534); os.setuid(65534)\n"
            "bundle = open_bundle(pathlib.Path())\n"
            "assert not os.access('.', os.W_OK)\n"
            "print(bundle.version, bundle.lease.is_held)\n"
        )
        run = subprocess.run(
            [sys.executable, "-c", opening, str(store.path)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        assert run.stdout.split() == [store.current_version(), "True"]


class TestRetention:
    def test_the_newest_and_the_live_one_are_kept(self, few: Store) -> None:
        few.point_current_at("v2")
        assert surplus(few, 2) == ["v1", "v3"]
        assert surplus(few, 2, {"v3"}) == ["v1"]
        assert surplus(few, 9) == []
        with pytest.raises(BundleError, match="v2 is live"):
            remove(few, "v2")

    def test_publishing_deletes_what_is_not_to_be_kept(self, few: Store) -> None:
        held = take(few.folder_of("v2"))
        few.point_current_at("v1")
        publish(few, replace(TINY, version="v6"), FEW, {}, keep=2)
        # v1 was live before, v2 is in use, v5 and v6 are the newest.
        assert few.list_versions() == ["v1", "v2", "v5", "v6"]
        held.release()
        publish(few, replace(TINY, version="v7"), FEW, {}, keep=1)
        assert few.list_versions() == ["v6", "v7"]

    def test_a_version_without_a_manifest_can_be_deleted(self, few: Store) -> None:
        (few.folder_of("v1") / MANIFEST_NAME).unlink()
        assert remove(few, "v1")
        assert "v1" not in few.list_versions()

    def test_a_deletion_that_was_cut_short_is_finished_by_the_next_publication(
        self, few: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(path: Path) -> None:
            raise OSError(f"cannot delete {path.name}")

        with monkeypatch.context() as patch:
            patch.setattr("ilk.bundle.retention._delete", fail)
            told = r"v50 is live, but older .* cannot delete"
            with pytest.raises(BundleError, match=told):
                publish(few, replace(TINY, version="v50"), FEW, {}, keep=1)
        assert list(few.path.glob(".removed-*"))
        clean_up(few)
        assert list(few.path.glob(".removed-*")) == []

    def test_a_reader_that_loses_its_version_opens_the_one_that_is_live_now(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        live = store.current_version()
        named = iter(["gone", live, live])
        monkeypatch.setattr(Store, "current_version", lambda _: next(named))
        assert open_bundle(store.path).version == live
        assert list(named) == []


class TestStamps:
    """What was verified once is not read again, until anything about it changes."""

    @pytest.fixture
    def read_files(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """The files that are read to be verified; every file counts as large, and as settled."""
        files: list[str] = []
        hashed = verification.sha256_of

        def counted(path: Path) -> str:
            files.append(path.name)
            return hashed(path)

        monkeypatch.setattr(verification, "sha256_of", counted)
        monkeypatch.setattr(stamp, "STAMPED_FROM_BYTES", 0)
        monkeypatch.setattr(stamp, "SETTLED_AFTER_NS", 0)
        time.sleep(0.02)
        return files

    def test_a_second_opening_reads_nothing(self, store: Store, read_files: list[str]) -> None:
        bundle = open_bundle(store.path)
        assert sorted(read_files) == sorted(bundle.manifest.files)
        read_files.clear()
        assert open_bundle(store.path).version == bundle.version
        assert read_files == []
        open_bundle(store.path, trust_stamps=False)
        assert sorted(read_files) == sorted(bundle.manifest.files)

    def test_small_files_and_fresh_ones_are_read_each_time(
        self, store: Store, live: Path, read_files: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        open_bundle(store.path)
        monkeypatch.setattr(stamp, "STAMPED_FROM_BYTES", 1 << 40)
        read_files.clear()
        open_bundle(store.path)
        assert len(read_files) > 20
        monkeypatch.setattr(stamp, "STAMPED_FROM_BYTES", 0)
        monkeypatch.setattr(stamp, "SETTLED_AFTER_NS", 3600 * 10**9)
        os.utime(live / "gram.npy")
        for _ in range(2):
            read_files.clear()
            open_bundle(store.path)
            assert read_files == ["gram.npy"]

    def test_whatever_touches_a_file_has_it_read_again(
        self, store: Store, live: Path, read_files: list[str]
    ) -> None:
        gram = live / "gram.npy"

        def rewrite() -> None:
            gram.write_bytes(gram.read_bytes())

        def replaced() -> None:
            (store.path / "copy").write_bytes(gram.read_bytes())
            (store.path / "copy").replace(gram)

        def times_set_back() -> None:
            before = gram.stat()
            gram.write_bytes(gram.read_bytes())
            os.utime(gram, ns=(before.st_atime_ns, before.st_mtime_ns))

        for touch in (rewrite, replaced, times_set_back):
            open_bundle(store.path)
            time.sleep(0.02)
            touch()
            time.sleep(0.02)
            read_files.clear()
            open_bundle(store.path)
            assert read_files == ["gram.npy"], touch.__name__

    def test_a_change_under_a_stamp_is_refused(
        self, store: Store, live: Path, read_files: list[str]
    ) -> None:
        open_bundle(store.path)
        time.sleep(0.02)
        for name in ("gram.npy", "items.likeness.faiss", "items.factors.npy"):
            before, data = (live / name).stat(), bytearray((live / name).read_bytes())
            data[-1] ^= 1
            (live / name).write_bytes(data)
            os.utime(live / name, ns=(before.st_atime_ns, before.st_mtime_ns))
            with pytest.raises(BundleCorrupt, match=name):
                open_bundle(store.path)
            data[-1] ^= 1
            (live / name).write_bytes(data)
        open_bundle(store.path)

    @pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"digest": 1}'])
    def test_an_unsound_stamp_says_nothing(
        self, damage: bytes, store: Store, read_files: list[str]
    ) -> None:
        bundle = open_bundle(store.path)
        stamp_file = store.stamp_of(bundle.version)
        whole = stamp_file.read_bytes()
        for told in (damage, whole.replace(b"1", b"2", 1), whole[:-2]):
            stamp_file.write_bytes(told)
            read_files.clear()
            open_bundle(store.path)
            assert sorted(read_files) == sorted(bundle.manifest.files)

    def test_a_stamp_of_another_manifest_says_nothing(
        self, store: Store, live: Path, read_files: list[str]
    ) -> None:
        open_bundle(store.path)
        other = publish(store, TINY, FEW, {})
        stamp_file = store.stamp_of(live.name)
        stamp_file.rename(store.stamp_of(other.name))
        read_files.clear()
        with pytest.raises(BundleCorrupt):
            open_bundle(store.path)
        assert sorted(read_files) == sorted(f"{name}.npy" for name in FEW)

    def test_a_publication_that_is_checked_is_stamped_and_its_stamp_goes_with_it(
        self, store: Store, read_files: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("ilk.bundle.writer.STAMPED_FROM_BYTES", 1 << 40)
        before = open_bundle(store.path)
        arrays = {
            p.name.removesuffix(".npy"): np.load(p, allow_pickle=False)
            for p in store.folder_of(before.version).glob("*.npy")
        }
        indices = {key.name: space.index for key, space in before.spaces.items()}
        manifest = replace(before.manifest, version="second", files={})

        def wait(_: object) -> None:
            time.sleep(0.02)

        monkeypatch.setattr("ilk.bundle.writer._settle", wait)
        publish(store, manifest, arrays, indices, check=lambda bundle: None)
        read_files.clear()
        assert open_bundle(store.path).version == "second"
        assert read_files == []
        store.point_current_at(before.version)
        assert remove(store, "second")
        assert not store.stamp_of("second").exists()

    def test_a_bundle_of_small_files_leaves_no_stamp(self, store: Store) -> None:
        open_bundle(store.path)
        open_folder(store.folder_of(store.current_version()))
        assert not store.stamps.exists()
