"""Opening: what is not exactly what was published is refused with a BundleError, never believed."""

import errno
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from ilk.bundle import Store, open_bundle
from ilk.bundle.manifest import FORMAT_VERSION, MANIFEST_NAME, sealed
from ilk.bundle.reader import read_manifest
from ilk.bundle.verification import sha256_of
from ilk.errors import BundleCorrupt, BundleError, BundleMissing, BundleUnsupported

Edit = Callable[[dict[str, Any]], Any]
GRAM_RECORD = {"size_bytes": 0, "sha256": ""}


def flip(path: Path, at: int, mask: int = 0xFF) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= mask
    path.write_bytes(data)


def edit_manifest(folder: Path, edit: Edit) -> None:
    """Change the manifest and seal it anew, as a wrong but honest writer would."""
    values = json.loads((folder / MANIFEST_NAME).read_bytes())
    del values["digest"]
    edit(values)
    (folder / MANIFEST_NAME).write_bytes(sealed(values))


def reseal(folder: Path, name: str) -> None:
    """Make the manifest vouch for what ``name`` holds now."""
    path = folder / name
    record = {"size_bytes": path.stat().st_size, "sha256": sha256_of(path)}
    edit_manifest(folder, lambda m: m["files"].update({name: record}))


def test_a_flipped_byte_in_any_file_is_refused(store: Store, live: Path) -> None:
    names = read_manifest(live).files.keys()
    assert {p.name for p in live.iterdir()} == {*names, MANIFEST_NAME}
    for name in names:
        size_bytes = (live / name).stat().st_size
        for at in (0, size_bytes // 2, size_bytes - 1):
            flip(live / name, at)
            with pytest.raises(BundleCorrupt, match=re.escape(name)):
                open_bundle(store.path)
            flip(live / name, at)
    open_bundle(store.path)


def test_a_file_cut_short_or_made_longer_is_refused(store: Store, live: Path) -> None:
    for name in read_manifest(live).files:
        whole = (live / name).read_bytes()
        for other in (whole[:-1], whole + b"\0", b""):
            (live / name).write_bytes(other)
            with pytest.raises(BundleCorrupt, match=re.escape(name)):
                open_bundle(store.path)
        (live / name).write_bytes(whole)


def test_a_flipped_bit_of_current_opens_no_other_version(store: Store) -> None:
    version = store.current_version()
    for at in range(store.current_file.stat().st_size):
        for bit in range(8):
            flip(store.current_file, at, 1 << bit)
            try:
                # Only the white space after the name may be other white space.
                assert open_bundle(store.path).version == version
                assert at == len(version)
            except BundleError:
                pass
            flip(store.current_file, at, 1 << bit)
    assert store.current_version() == version


@pytest.fixture(scope="module")
def flipped_manifests(sample_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Counter[str]:
    """How a reader takes it when the lowest bit of one byte of the manifest is flipped."""
    store = Store(shutil.copytree(sample_store, tmp_path_factory.mktemp("flips") / "store"))
    path = store.folder_of(store.current_version()) / MANIFEST_NAME
    taken: Counter[str] = Counter()
    for at in range(0, path.stat().st_size, 41):
        flip(path, at, 1)
        try:
            open_bundle(store.path)
            taken["believed"] += 1
        except BundleError:
            taken["refused"] += 1
        flip(path, at, 1)
    return taken


def test_a_flipped_byte_of_the_manifest_never_crashes_the_reader(
    flipped_manifests: Counter[str],
) -> None:
    assert flipped_manifests.keys() <= {"refused", "believed"}
    assert flipped_manifests["refused"] > 100


def test_a_flipped_byte_of_the_manifest_is_refused(flipped_manifests: Counter[str]) -> None:
    assert flipped_manifests["believed"] == 0


EDITS: dict[str, tuple[Edit, type[BundleError]]] = {
    "newer-format": (lambda m: m.update(format_version=FORMAT_VERSION + 1), BundleUnsupported),
    "format-is-text": (lambda m: m.update(format_version="1"), BundleUnsupported),
    "no-format": (lambda m: m.pop("format_version"), BundleCorrupt),
    "no-shape": (lambda m: m.pop("n_users"), BundleCorrupt),
    "surplus-field": (lambda m: m.update(surplus=1), BundleCorrupt),
    "no-files": (lambda m: m.update(files=None), BundleCorrupt),
    "indices-are-a-list": (lambda m: m.update(indices=[]), BundleCorrupt),
    "no-index": (lambda m: m["indices"].pop("items.likeness"), BundleCorrupt),
    "other-kind": (lambda m: m["indices"]["items.likeness"].update(kind="IVF"), BundleCorrupt),
    "unknown-kind": (lambda m: m["indices"]["items.likeness"].update(kind="LSH"), BundleCorrupt),
    "costs-are-words": (
        lambda m: m["indices"]["items.likeness"].update(costs_us=["dear"]),
        BundleCorrupt,
    ),
    "more-items": (lambda m: m.update(n_items=m["n_items"] + 1), BundleCorrupt),
    "fewer-factors": (lambda m: m.update(n_factors=m["n_factors"] - 1), BundleCorrupt),
    "field-is-a-number": (lambda m: m.update(content_fields=[7]), BundleCorrupt),
    "no-exponent": (lambda m: m["fold_in"].pop("exponent"), BundleCorrupt),
    "no-scale": (lambda m: m["preference"].pop("scale"), BundleCorrupt),
    "file-elsewhere": (lambda m: m["files"].update({"../CURRENT": GRAM_RECORD}), BundleCorrupt),
    "alpha-below-zero": (lambda m: m["preference"].update(alpha=-5.0), BundleCorrupt),
    "other-version": (lambda m: m.update(version="another"), BundleCorrupt),
}


@pytest.mark.parametrize(
    ("edit", "error"),
    [pytest.param(*EDITS[name], id=name) for name in EDITS],
)
def test_a_manifest_that_cannot_be_true_is_refused(
    edit: Edit, error: type[BundleError], store: Store, live: Path
) -> None:
    edit_manifest(live, edit)
    with pytest.raises(error):
        open_bundle(store.path)


def test_an_unknown_format_is_named_with_the_one_that_is_read(store: Store, live: Path) -> None:
    edit_manifest(live, lambda m: m.update(format_version=99))
    with pytest.raises(
        BundleUnsupported, match=rf"format 99, this version reads 1 to {FORMAT_VERSION}.*build"
    ):
        open_bundle(store.path)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
    ],
    ids=lambda data: repr(data[:4]),
)
def test_a_manifest_that_is_none_is_refused(data: bytes, store: Store, live: Path) -> None:
    (live / MANIFEST_NAME).write_bytes(data)
    with pytest.raises(BundleCorrupt):
        open_bundle(store.path)


def test_a_manifest_too_large_to_be_one_is_not_read(store: Store, live: Path) -> None:
    os.truncate(live / MANIFEST_NAME, 1 << 30)
    with pytest.raises(BundleCorrupt, match="larger than"):
        open_bundle(store.path)


@pytest.mark.parametrize("damage", ["missing", "unexpected", "link", "folder"])
def test_a_version_with_other_files_than_published_is_refused(
    damage: str, store: Store, live: Path
) -> None:
    gram = live / "gram.npy"
    if damage == "unexpected":
        (live / "surplus.npy").write_bytes(b"")
    else:
        kept = gram.rename(store.path / "gram.npy")
    if damage == "link":
        gram.symlink_to(kept)
    elif damage == "folder":
        gram.mkdir()
    with pytest.raises(BundleCorrupt, match=r"gram\.npy|surplus\.npy"):
        open_bundle(store.path)


@pytest.mark.parametrize(
    "stand_in",
    [
        pytest.param(
            lambda live: live.write_text("no folder"),
            id="version-is-a-file",
        ),
        pytest.param(
            lambda live: (live / MANIFEST_NAME).mkdir(parents=True),
            id="manifest-is-a-folder",
        ),
        pytest.param(lambda live: live.mkdir(), id="empty"),
        pytest.param(lambda live: None, id="gone"),
    ],
)
def test_a_version_that_is_no_bundle_is_refused(
    stand_in: Callable[[Path], Any], store: Store, live: Path
) -> None:
    shutil.rmtree(live)
    stand_in(live)
    with pytest.raises(BundleError):
        open_bundle(store.path)


def test_a_pickled_array_is_refused_even_with_the_right_checksum(store: Store, live: Path) -> None:
    np.save(live / "gram.npy", np.array([{}], dtype=object), allow_pickle=True)
    reseal(live, "gram.npy")
    with pytest.raises(BundleCorrupt, match=r"pickle|Python object"):
        open_bundle(store.path)


@pytest.mark.parametrize(
    "name",
    [
        "items.factors.npy",
        "users.content.npy",
        "gram.npy",
        "ratings_by_user.others.npy",
    ],
)
def test_an_archive_in_the_place_of_an_array_is_refused(
    name: str, store: Store, live: Path
) -> None:
    with (live / name).open("wb") as file:
        np.savez(file, array=np.zeros(3))
    reseal(live, name)
    with pytest.raises(BundleCorrupt):
        open_bundle(store.path)


@pytest.mark.parametrize("name", ["..", ".", "a/b", "../x", "/etc", ".staging-a", "a\n", " a", "é"])
def test_a_version_name_that_could_lead_elsewhere_is_refused(name: str, store: Store) -> None:
    with pytest.raises(BundleError, match="not a version name"):
        open_bundle(store.path, name)
    store.current_file.write_text(name, encoding="utf-8")
    if name.strip() == name:
        with pytest.raises(BundleError, match="not a version name"):
            open_bundle(store.path)


def test_a_name_of_no_version_and_a_store_without_one_are_missing(
    store: Store, tmp_path: Path
) -> None:
    with pytest.raises(BundleMissing, match="holds no version another; it holds "):
        open_bundle(store.path, "another")
    with pytest.raises(BundleMissing, match="python -m indexer build"):
        open_bundle(tmp_path / "nowhere")
    assert Store(tmp_path / "nowhere").list_versions() == []


@pytest.mark.parametrize("step", ["verify", "map_bundle", "_read_manifest"])
@pytest.mark.parametrize(
    "number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM], ids=errno.errorcode.get
)
def test_what_the_system_is_short_of_does_not_make_a_bundle_corrupt(
    store: Store, monkeypatch: pytest.MonkeyPatch, step: str, number: int
) -> None:
    short: Any = Mock(side_effect=OSError(number, os.strerror(number)))
    if step == "_read_manifest":
        monkeypatch.setattr(Path, "read_bytes", short)
    else:
        monkeypatch.setattr(f"ilk.bundle.reader.{step}", short)
    with pytest.raises(BundleError, match="for now") as refusal:
        open_bundle(store.path)
    assert not isinstance(refusal.value, BundleCorrupt)


@pytest.mark.parametrize("step", ["verify", "map_bundle"])
def test_want_of_memory_does_not_make_a_bundle_corrupt(
    store: Store, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    monkeypatch.setattr(f"ilk.bundle.reader.{step}", Mock(side_effect=MemoryError))
    with pytest.raises(BundleError, match="for now: out of memory; try again") as refusal:
        open_bundle(store.path)
    assert not isinstance(refusal.value, BundleCorrupt)


@pytest.mark.parametrize("data", [b"", b"\xff\xfe\n", b"a" * 1000])
def test_a_current_that_names_nothing_is_refused(data: bytes, store: Store) -> None:
    store.current_file.write_bytes(data)
    with pytest.raises(BundleError):
        open_bundle(store.path)


def set_in(*path: str | int, to: object) -> Edit:
    def edit(values: Any) -> None:
        for key in path[:-1]:
            values = values[key]
        values[path[-1]] = to

    return edit


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (set_in("source", to=5), "source"),
        (set_in("n_users", to="many"), "n_users"),
        (set_in("n_users", to=True), "n_users"),
        (set_in("created_at_s", to="today"), "created_at_s"),
        (set_in("created_at_s", to=float("nan")), "created_at_s"),
        (set_in("simulated", to=0), "simulated"),
        (set_in("settings", to=["seed"]), "settings"),
        (set_in("settings", "seed", to=1), r"settings\['seed'\]"),
        (set_in("quality", "ndcg@10", to="good"), r"quality\['ndcg@10'\]"),
        (set_in("content_fields", to={"genres": 1}), "content_fields"),
        (set_in("indices", "items.likeness", "build_s", to=None), "build_s"),
        (set_in("indices", "items.likeness", "recall", 0, "effort", to=1.5), "effort"),
        (set_in("indices", "items.likeness", "recall", 0, "others_at_10", to="1"), "others_at_10"),
        (set_in("files", "gram.npy", "size_bytes", to="0"), "size_bytes"),
    ],
)
def test_a_manifest_with_values_of_other_types_is_refused(
    store: Store, live: Path, edit: Edit, named: str
) -> None:
    edit_manifest(live, edit)
    with pytest.raises(BundleCorrupt, match=rf"mistypes a field: {named} must be of type"):
        open_bundle(store.path)
