"""What a reader does before faiss parses a byte, and that whatever it refuses it says what to do."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import pytest

from ilk.bundle import Store, open_bundle
from ilk.bundle.manifest import MANIFEST_NAME
from ilk.bundle.reader import read_manifest
from ilk.errors import BundleError
from tests.kernel.test_bundle import edit_manifest, reseal

# What a message tells an operator to do.
WHAT_TO_DO = r"build|rollback|restore|rename it back|put the folder|point CURRENT|update|make one"


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """Return what faiss was given to parse: name, byte limit and loop limit at that moment."""
    given: list[tuple[str, int, int]] = []
    parse = faiss.read_index

    def noted(path: str, *flags: int) -> object:
        limits = (
            faiss.get_deserialization_vector_byte_limit(),
            faiss.get_deserialization_loop_limit(),
        )
        given.append((Path(path).name, *limits))
        return parse(path, *flags)

    monkeypatch.setattr(faiss, "read_index", noted)
    return given


def test_faiss_parses_under_limits_of_the_order_of_the_file(
    store: Store, live: Path, parsed: list[tuple[str, int, int]]
) -> None:
    open_bundle(store.path)
    assert {name for name, _, _ in parsed} == {path.name for path in live.glob("*.faiss")}
    for name, most_bytes, most_turns in parsed:
        size = (live / name).stat().st_size
        assert size <= most_bytes <= 32 * size
        assert most_turns <= size


def test_no_index_is_parsed_before_every_file_has_its_checksum(
    store: Store, live: Path, parsed: list[tuple[str, int, int]]
) -> None:
    for name in read_manifest(live).files:
        whole = (live / name).read_bytes()
        (live / name).write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
        with pytest.raises(BundleError):
            open_bundle(store.path)
        assert parsed == []
        (live / name).write_bytes(whole)


def test_an_index_of_a_type_that_is_not_allowed_is_never_parsed(
    store: Store, live: Path, parsed: list[tuple[str, int, int]]
) -> None:
    strangers: tuple[Any, ...] = (
        faiss.IndexLSH(8, 8),
        faiss.index_factory(8, "PCA4,Flat"),
        faiss.IndexIDMap2(faiss.IndexFlatIP(8)),
        faiss.IndexFlatL2(8),
    )
    for stranger in strangers:
        faiss.write_index(stranger, str(live / "items.likeness.faiss"))
        reseal(live, "items.likeness.faiss")
        with pytest.raises(BundleError, match=r"items\.likeness\.faiss"):
            open_bundle(store.path)
        assert "items.likeness.faiss" not in {name for name, _, _ in parsed}


def no_format(live: Path) -> None:
    edit_manifest(live, lambda m: m.update(format_version=99))


def leading_out(live: Path) -> None:
    record = {"size_bytes": 0, "sha256": ""}
    edit_manifest(live, lambda m: m["files"].update({"../../CURRENT": record}))


def absolute(live: Path) -> None:
    record = {"size_bytes": 0, "sha256": ""}
    edit_manifest(live, lambda m: m["files"].update({str(live / "gram.npy"): record}))


def linked_file(live: Path) -> None:
    (live / "gram.npy").rename(live.parent / "kept")
    (live / "gram.npy").symlink_to(live.parent / "kept")


def linked_folder(live: Path) -> None:
    live.rename(live.parent.parent / "kept")
    live.symlink_to(live.parent.parent / "kept")


def linked_manifest(live: Path) -> None:
    (live / MANIFEST_NAME).rename(live.parent / "kept")
    (live / MANIFEST_NAME).symlink_to(live.parent / "kept")


def linked_current(live: Path) -> None:
    current = live.parent.parent / "CURRENT"
    current.rename(live / "kept")
    current.symlink_to(live / "kept")


def bent_current(live: Path) -> None:
    (live.parent.parent / "CURRENT").write_text("../elsewhere\n")


def missing(live: Path) -> None:
    (live / "gram.npy").unlink()


def extra(live: Path) -> None:
    (live / "extra.npy").write_bytes(b"")


def cut(live: Path) -> None:
    (live / "gram.npy").write_bytes(b"")


def bad_index(live: Path) -> None:
    (live / "items.likeness.faiss").write_bytes(b"IxFI")
    reseal(live, "items.likeness.faiss")


def bad_array(live: Path) -> None:
    (live / "gram.npy").write_bytes(b"\x93NUMPY\x01\x00")
    reseal(live, "gram.npy")


def bad_manifest(live: Path) -> None:
    (live / MANIFEST_NAME).write_bytes(b"{}")


def gone(live: Path) -> None:
    shutil.rmtree(live)


def nothing_published(live: Path) -> None:
    (live.parent.parent / "CURRENT").unlink()


DAMAGES = (
    *(no_format, leading_out, absolute, linked_file, linked_folder, linked_manifest),
    *(linked_current, bent_current, missing, extra, cut, bad_index, bad_array, bad_manifest),
    *(gone, nothing_published),
)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_what_is_refused_is_refused_unparsed_and_says_what_to_do(
    damage: Callable[[Path], None],
    store: Store,
    live: Path,
    parsed: list[tuple[str, int, int]],
) -> None:
    damage(live)
    with pytest.raises(BundleError, match=WHAT_TO_DO):
        open_bundle(store.path)
    assert "items.likeness.faiss" not in {name for name, _, _ in parsed}
