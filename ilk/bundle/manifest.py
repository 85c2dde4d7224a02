"""Knows what a bundle says of itself: versions, checksums, settings, provenance, measured figures.

It refuses to know arrays. The manifest is JSON with sorted keys, so equal builds give equal bytes.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from ilk.ann import OF_4, UP_TO_3, IndexKind, former
from ilk.bundle.typed import mistyped
from ilk.errors import BundleCorrupt, BundleUnsupported
from ilk.types import MeasuredRecall

FORMAT_VERSION = 5
MANIFEST_NAME = "manifest.json"
MAX_MANIFEST_BYTES = 16 << 20
# All that differs between builds of the same data, seed and libraries by one thread: times, and names and
# digests that times go into.
TIMES: Final = frozenset({"created_at_s", "version", "build_s", "cpu_us", "digest"})


@dataclass(frozen=True, slots=True)
class FileRecord:
    """Size and sha256 of one file of the bundle."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class IndexRecord:
    """One index of a space: kind, how it is called, what it takes, and its measured recall.

    ``costs_us`` is what a query of each row of ``recall`` costs by the table of `ilk.ann`, from what it
    compared: the same in every build, where what it took then, ``cpu_us``, is not.
    """

    kind: str
    name: str
    size_bytes: int
    build_s: float
    recall: tuple[MeasuredRecall, ...]
    costs_us: tuple[float, ...] = ()

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "IndexRecord":
        """Return what ``asdict`` and JSON made of a record."""
        recall = tuple(MeasuredRecall(**row) for row in values["recall"])
        costs_us = tuple(map(float, values.get("costs_us", ())))
        return cls(**values | {"recall": recall, "costs_us": costs_us})


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything a bundle says of itself.

    Attributes
    ----------
    version
        The bundle's name.
    created_at_s
        Unix seconds.
    n_users, n_items, n_ratings, n_factors, dim_content
        Shapes.
    preference, fold_in
        Plain values of :class:`ilk.preference.Preference` and :class:`ilk.foldin.FoldIn`.
    content_fields
        ``[name, terms, weight]`` of each field; the first holds the genres.
    indices, rejected_indices
        By the name of the space: the index it has, and what else was measured.
    quality
        Figures of the build's own evaluation.
    files
        By path within the bundle; all files but the manifest.
    """

    version: str
    created_at_s: float
    n_users: int
    n_items: int
    n_ratings: int
    n_factors: int
    dim_content: int
    preference: dict[str, Any]
    fold_in: dict[str, float]
    content_fields: list[list[Any]]
    indices: dict[str, IndexRecord]
    default_content_weight: float
    default_recall: float
    source: str
    simulated: bool
    settings: dict[str, str]
    provenance: dict[str, str]
    rejected_indices: dict[str, list[IndexRecord]] = field(default_factory=dict)
    quality: dict[str, float] = field(default_factory=dict)
    files: dict[str, FileRecord] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def to_json(self) -> bytes:
        """Return the manifest as UTF-8 JSON, sealed by a digest of itself."""
        return sealed(asdict(self))

    @classmethod
    def from_json(cls, data: bytes) -> "Manifest":
        """Return the manifest that ``data`` holds.

        Raises
        ------
        BundleCorrupt
            If it is not a manifest.
        BundleUnsupported
            If its format version is none from 1 to :data:`FORMAT_VERSION`.
        """
        try:
            values = json.loads(data)
            found = values["format_version"]
            digest = values.pop("digest", None)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise BundleCorrupt(
                f"{MANIFEST_NAME} is not a manifest: {error}; build again"
            ) from error
        if found not in range(1, FORMAT_VERSION + 1):
            raise BundleUnsupported(
                f"bundle format {found}, this version reads 1 to {FORMAT_VERSION}: build the bundle "
                "again, or serve it with the version that built it"
            )
        try:
            if digest is None or sealed(values) != data:
                raise BundleCorrupt(
                    f"{MANIFEST_NAME} is not the one that was published; build again"
                )
            for version in range(found, FORMAT_VERSION):
                values = _UPGRADES[version](values)
            values["indices"] = {
                name: IndexRecord.from_json(record) for name, record in values["indices"].items()
            }
            values["rejected_indices"] = {
                name: [IndexRecord.from_json(record) for record in records]
                for name, records in values["rejected_indices"].items()
            }
            values["files"] = {name: FileRecord(**rec) for name, rec in values["files"].items()}
            manifest = cls(**values)
            wrong = mistyped(cls, manifest, MANIFEST_NAME)
            if wrong:
                raise TypeError(wrong)
            return manifest
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BundleCorrupt(
                f"{MANIFEST_NAME} lacks or mistypes a field: {error}; build again"
            ) from error


def _from_1(values: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest of format 1 as format 2 has it: nothing was measured of an index but recall."""
    indices = {
        name: {**record, "size_bytes": 0, "build_s": 0.0}
        for name, record in values["indices"].items()
    }
    return {**values, "indices": indices, "rejected_indices": {}, "format_version": 2}


def _from_2(values: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest of format 2 as format 3 has it, which knows one more kind of index (ADR 22)."""
    return {**values, "format_version": 3}


def _from_3(values: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest of format 3 as format 4 has it, whose lists of codes need less (ADR 29)."""
    return _as_formerly(values, UP_TO_3) | {"format_version": 4}


def _from_4(values: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest of format 4 as format 5 has it, whose lists of codes need still less (ADR 30)."""
    return _as_formerly(values, OF_4) | {"format_version": 5}


def _as_formerly(values: dict[str, Any], bundles: int) -> dict[str, Any]:
    """Return a manifest whose lists of codes are searched as the ``bundles`` of then were measured."""

    def of(record: dict[str, Any]) -> dict[str, Any]:
        if record["kind"] not in (IndexKind.IVF_PQ.value, IndexKind.IVF_PQ_2.value):
            return record
        recall = [{**row, "effort": former(row["effort"], bundles)} for row in record["recall"]]
        return {**record, "recall": recall}

    indices = {name: of(record) for name, record in values["indices"].items()}
    rejected = {name: list(map(of, them)) for name, them in values["rejected_indices"].items()}
    return {**values, "indices": indices, "rejected_indices": rejected}


# From each older format to the next, so that every bundle that was ever published can be opened.
_UPGRADES: Final[dict[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    1: _from_1,
    2: _from_2,
    3: _from_3,
    4: _from_4,
}


def without_times(values: Any) -> Any:
    """Return a manifest's values, or a part of them, without :data:`TIMES`."""
    if isinstance(values, dict):
        return {name: without_times(v) for name, v in values.items() if name not in TIMES}
    return [without_times(v) for v in values] if isinstance(values, list) else values


def sealed(values: dict[str, Any]) -> bytes:
    """Return a manifest's values as JSON with a digest that vouches for them."""
    return _dump(values | {"digest": hashlib.sha256(_dump(values)).hexdigest()})


def _dump(values: dict[str, Any]) -> bytes:
    return (json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()
