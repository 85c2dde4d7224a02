"""Knows how a bundle is shown to a person.

It refuses to know how it was made.
"""

from datetime import datetime, timezone
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ilk.bundle import open_bundle
from ilk.bundle.manifest import Manifest
from ilk.bundle.store import Store


def inspect_bundle(path: Path, version: str | None) -> None:
    """Print a bundle, verified and opened, on stdout; errors as :func:`ilk.bundle.open_bundle`."""
    manifest = open_bundle(path, version).manifest
    console = Console(width=None if Console().is_terminal else 100)
    console.print(_summary(manifest))
    console.print(_indices(manifest))
    if manifest.quality:
        console.print(_pairs("Quality, measured on held-out users", manifest.quality))
    console.print(_pairs("Settings", manifest.settings))
    console.print(_pairs("Provenance", manifest.provenance))
    others = [v for v in Store(path).list_versions() if v != manifest.version]
    console.print(f"Other versions in the store: {', '.join(others) or 'none'}")


def _summary(manifest: Manifest) -> Table:
    created = datetime.fromtimestamp(manifest.created_at_s, tz=timezone.utc)
    size_mb = sum(record.size_bytes for record in manifest.files.values()) / 1e6
    genres = manifest.content_fields[0][1]
    return _pairs(
        f"Bundle {manifest.version}",
        {
            "created": f"{created:%Y-%m-%d %H:%M:%S} UTC",
            "source": manifest.source + (" (SIMULATED USERS)" if manifest.simulated else ""),
            "users": f"{manifest.n_users:,}",
            "items": f"{manifest.n_items:,}",
            "ratings": f"{manifest.n_ratings:,}",
            "vectors": f"{manifest.n_factors} factors, {manifest.dim_content} of content",
            "genres": ", ".join(genres),
            "default blend": f"content_weight {manifest.default_content_weight:g}",
            "default recall": f"{manifest.default_recall:g}",
            "size": f"{size_mb:,.1f} MB in {len(manifest.files)} files",
        },
    )


def _indices(manifest: Manifest) -> Table:
    table = Table(title="Recall, measured on the bundle's own queries")
    for column in ("space", "index", "effort", "content_weight", "recall@10", "recall@100"):
        table.add_column(column, justify="left" if column in ("space", "index") else "right")
    for record in manifest.indices.values():
        for row in record.recall:
            table.add_row(
                row.space,
                row.index,
                str(row.effort),
                f"{row.content_weight:g}",
                f"{row.recall_at_10:.4f}",
                f"{row.recall_at_100:.4f}",
            )
    return table


def _pairs(title: str, values: dict[str, str] | dict[str, float]) -> Table:
    table = Table(title=title, show_header=False)
    for name, value in values.items():
        table.add_row(name, str(value))
    return table
