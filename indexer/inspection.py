"""Knows how a bundle is shown to a person.

It refuses to know how it was made.
"""

from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ilk.bundle import open_bundle
from ilk.bundle.manifest import IndexRecord, Manifest
from ilk.bundle.store import Store
from ilk.efforts import DEEPER, Efforts
from indexer.outputs import writing


def inspect_bundle(path: Path, version: str | None) -> Manifest:
    """Print a bundle, verified and opened, on stdout; errors as :func:`ilk.bundle.open_bundle`."""
    bundle = open_bundle(path, version)
    manifest = bundle.manifest
    console = Console(width=None if Console().is_terminal else 100)
    console.print(_summary(manifest, bundle.preference.scale))
    if manifest.quality:
        console.print(_pairs("Quality, measured on held-out users", manifest.quality))
    console.print(_choices(manifest))
    console.print(_recall(manifest))
    console.print(_pairs("Settings", manifest.settings))
    console.print(_pairs("Provenance", manifest.provenance))
    others = [v for v in Store(path).list_versions() if v != manifest.version]
    console.print(f"Other versions in the store: {', '.join(others) or 'none'}")
    return manifest


def draw_recall(manifest: Manifest, folder: Path) -> Path:
    """Draw recall against cost of every index that was measured, by space; return the file.

    Raises
    ------
    IlkError
        If the folder, which is made if need be, cannot be written to.
    """
    # Not at the top: drawing is the only use of a library that takes a second to import.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 9), layout="constrained")
    weight = _usual_blend(manifest)
    figure.suptitle(f"{manifest.version}: worse of recall@10 and @100 at content weight {weight:g}")
    for axis, space in zip(figure.subplots(2, 2).flat, manifest.indices, strict=True):
        for record, chosen in _records(manifest, space):
            rows = [row for row in record.recall if row.content_weight == weight]
            axis.plot(
                [row.worst for row in rows],
                [row.cpu_us for row in rows],
                "o-",
                linewidth=3 if chosen else 1,
                label=record.name + (" (chosen)" if chosen else ""),
            )
        axis.axvline(manifest.default_recall, linestyle=":", color="grey")
        axis.set(title=space, xlabel="recall", ylabel="CPU of a query, us", yscale="log")
        axis.legend()
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(folder / "recall.png", dpi=120)
    return folder / "recall.png"


def _records(manifest: Manifest, space: str) -> Iterator[tuple[IndexRecord, bool]]:
    """Yield what was measured of a space, and whether it was chosen."""
    yield manifest.indices[space], True
    for record in manifest.rejected_indices.get(space, []):
        yield record, False


def _usual_blend(manifest: Manifest) -> float:
    """Return the measured blend that is nearest to that of queries that name none."""
    measured = {row.content_weight for r in manifest.indices.values() for row in r.recall}
    return min(measured, key=lambda w: abs(w - manifest.default_content_weight))


def _summary(manifest: Manifest, scale: tuple[float, float] | None) -> Table:
    created = datetime.fromtimestamp(manifest.created_at_s, tz=timezone.utc)
    size_mb = sum(record.size_bytes for record in manifest.files.values()) / 1e6
    fields = manifest.content_fields
    genres = fields[0][1]
    return _pairs(
        f"Bundle {manifest.version}",
        {
            "created": f"{created:%Y-%m-%d %H:%M:%S} UTC",
            "source": manifest.source + (" (SIMULATED USERS)" if manifest.simulated else ""),
            "users": f"{manifest.n_users:,}",
            "items": f"{manifest.n_items:,}",
            "ratings": f"{manifest.n_ratings:,}{_told(scale)}",
            "vectors": f"{manifest.n_factors} factors, {manifest.dim_content} of content",
            "content": ", ".join(f"{name} ({len(terms):,})" for name, terms, _ in fields),
            "genres": " | ".join(genres),
            "default blend": f"content_weight {manifest.default_content_weight:g}",
            "default recall": f"{manifest.default_recall:g}",
            "size": f"{size_mb:,.1f} MB in {len(manifest.files)} files",
        },
    )


def _told(scale: tuple[float, float] | None) -> str:
    return " clicks, without stars" if scale is None else f", of {scale[0]:g} to {scale[1]:g} stars"


def _choices(manifest: Manifest) -> Table:
    weight = _usual_blend(manifest)
    table = Table(
        title=f"Indices measured; a query at the cheapest effort of recall {manifest.default_recall:g}, "
        f"content weight {weight:g}"
    )
    for column in ("space", "index", "chosen", "MB", "built in s", "effort", "CPU of a query, us"):
        table.add_column(column, justify="left" if column in ("space", "index") else "right")
    for space in manifest.indices:
        for record, chosen in _records(manifest, space):
            efforts = Efforts(record.recall, record.costs_us)
            effort = efforts.least(weight, manifest.default_recall, DEEPER, well_known=None)
            used_us = {
                row.effort: row.cpu_us for row in record.recall if row.content_weight == weight
            }
            found = ("-", "-") if effort is None else (str(effort), f"{used_us[effort]:.0f}")
            table.add_row(
                space,
                record.name,
                "yes" if chosen else "",
                f"{record.size_bytes / 1e6:.1f}",
                f"{record.build_s:.2f}",
                *found,
            )
    return table


def _recall(manifest: Manifest) -> Table:
    table = Table(title="Recall by content weight, measured on the bundle's own queries")
    table.add_column("space", no_wrap=True)
    table.add_column("index", overflow="fold")
    for column in ("weight", "effort", "recall@10", "well known", "others", "recall@100", "us"):
        table.add_column(column, justify="right")
    for record in manifest.indices.values():
        for row in sorted(record.recall, key=lambda row: (row.content_weight, row.effort)):
            table.add_row(
                row.space,
                row.index,
                f"{row.content_weight:g}",
                str(row.effort),
                f"{row.recall_at_10:.4f}",
                *(
                    "" if r is None else f"{r:.4f}"
                    for r in (row.well_known_at_10, row.others_at_10)
                ),
                f"{row.recall_at_100:.4f}",
                f"{row.cpu_us:.0f}",
            )
    return table


def _pairs(title: str, values: dict[str, str] | dict[str, float]) -> Table:
    table = Table(title=title, show_header=False)
    for name, value in values.items():
        table.add_row(name, str(value))
    return table
