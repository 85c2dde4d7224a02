"""Knows what a bundle says of itself: versions, checksums, settings, provenance, measured figures.

It refuses to know arrays. The manifest is JSON with sorted keys, so equal builds give equal bytes.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any

from ilk.errors import BundleCorrupt, BundleUnsupported
from ilk.types import MeasuredRecall

FORMAT_VERSION = 2
MANIFEST_NAME = "manifest.json"
MAX_MANIFEST_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class FileRecord:
    """Size and sha256 of one file of the bundle."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class IndexRecord:
    """One index of a space: kind, how it is called, what it takes, and its measured recall."""

    kind: str
    name: str
    size_bytes: int
    build_s: float
    recall: tuple[MeasuredRecall, ...]

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "IndexRecord":
        """Return what ``asdict`` and JSON made of a record."""
        return cls(**values | {"recall": tuple(MeasuredRecall(**row) for row in values["recall"])})


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
            If its format version is not :data:`FORMAT_VERSION`.
        """
        try:
            values = json.loads(data)
            found = values["format_version"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise BundleCorrupt(f"{MANIFEST_NAME} is not a manifest: {error}") from error
        if found != FORMAT_VERSION:
            raise BundleUnsupported(
                f"bundle format {found}, this version reads {FORMAT_VERSION}: build the bundle again, "
                "or serve it with the version that built it"
            )
        try:
            values["indices"] = {
                name: IndexRecord.from_json(record) for name, record in values["indices"].items()
            }
            values["rejected_indices"] = {
                name: [IndexRecord.from_json(record) for record in records]
                for name, records in values["rejected_indices"].items()
            }
            values["files"] = {name: FileRecord(**rec) for name, rec in values["files"].items()}
            del values["digest"]
            manifest = cls(**values)
        except (KeyError, TypeError, AttributeError) as error:
            raise BundleCorrupt(f"{MANIFEST_NAME} lacks or mistypes a field: {error}") from error
        if manifest.to_json() != data:
            raise BundleCorrupt(f"{MANIFEST_NAME} is not the one that was published")
        return manifest


def sealed(values: dict[str, Any]) -> bytes:
    """Return a manifest's values as JSON with a digest that vouches for them."""
    return _dump(values | {"digest": hashlib.sha256(_dump(values)).hexdigest()})


def _dump(values: dict[str, Any]) -> bytes:
    return (json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()
