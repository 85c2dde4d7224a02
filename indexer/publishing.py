"""Knows the pipeline: interactions in, one published bundle out.

It refuses to know formats, command lines and how quality is measured.
"""

import platform
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from importlib.metadata import version as installed_version
from pathlib import Path

from ilk import __version__
from ilk.bundle import Bundle, Store, open_folder, publish
from ilk.bundle.contents import Arrays
from ilk.bundle.manifest import Manifest
from ilk.bundle.writer import Savable
from indexer.acceptance import gate
from indexer.acceptance.drift import overlap
from indexer.acceptance.gate import GateSettings
from indexer.interactions import Interactions
from indexer.progress import Progress
from indexer.scratch import scratch_folder
from indexer.settings import BuildSettings
from indexer.training.assemble import Parts, assemble
from indexer.training.order import kept, ordered
from indexer.training.preference import read_ratings

_LIBRARIES = ("faiss-cpu", "implicit", "numpy", "scikit-learn", "scipy")


def assemble_and_publish(
    data: Interactions,
    store: Path,
    settings: BuildSettings,
    quality: dict[str, float],
    progress: Progress,
    asked: GateSettings | None = None,
) -> str:
    """Train, index and publish; return the new version's name, made of the time and the contents.

    Parameters
    ----------
    quality
        Figures for the manifest, measured before.
    asked
        What the bundle must show before it may become live; None asks nothing, and keeps all versions.

    Raises
    ------
    DataError
        If the data cannot be trained on.
    BundleError
        If the store or the gate refuses; what was live stays live.
    """
    data = kept(
        data,
        min_user_ratings=settings.min_user_ratings,
        min_item_ratings=settings.min_item_ratings,
    )
    preference, liked = read_ratings(data, settings)
    data = ordered(data, liked)
    parts = assemble(data, preference, settings, progress)
    manifest = _manifest(data, parts, settings, quality)
    if asked is not None and asked.measure_noise:
        noise = _noise(data, parts, manifest, settings, progress.within("other seed"))
        manifest = replace(manifest, quality=quality | noise)
    with progress.step("publish"):
        return publish_checked(
            Store(store), manifest, parts.arrays, parts.indices, asked, settings.seed
        )


def publish_checked(
    store: Store,
    manifest: Manifest,
    arrays: Arrays,
    indices: Mapping[str, Savable],
    asked: GateSettings | None,
    seed: int,
) -> str:
    """Publish one bundle, if it shows what is asked, and return its version; errors as above."""
    if asked is None:
        return publish(store, manifest, arrays, indices).name
    check = partial(gate.check, store=store, settings=asked, seed=seed)
    return publish(store, manifest, arrays, indices, check=check, keep=asked.keep).name


def _noise(
    data: Interactions,
    parts: Parts,
    manifest: Manifest,
    settings: BuildSettings,
    progress: Progress,
) -> dict[str, float]:
    """Return what this bundle has in common with one trained with another seed."""
    other = replace(settings, seed=(settings.seed + 1) % (1 << 31))
    with scratch_folder() as folder:
        store, other_parts = Store(folder), assemble(data, parts.preference, other, progress)

        def opened(version: str, of: Parts) -> Bundle:
            named = replace(manifest, version=version, indices=of.records)
            return open_folder(publish(store, named, of.arrays, of.indices))

        between = overlap(opened("one", parts), opened("other", other_parts), settings.seed)
        return gate.noise_figures(between)


def _manifest(
    data: Interactions, parts: Parts, settings: BuildSettings, quality: dict[str, float]
) -> Manifest:
    return Manifest(
        version="",
        created_at_s=float(int(time.time())),
        n_users=data.n_users,
        n_items=data.n_items,
        n_ratings=len(data),
        n_factors=settings.factors,
        dim_content=parts.content_model.dim,
        preference=parts.preference.to_json(),
        fold_in={
            "regularization": parts.fold_in.regularization,
            "unseen_weight": parts.fold_in.unseen_weight,
            "exponent": parts.fold_in.exponent,
        },
        content_fields=[[f.name, list(f.terms), f.weight] for f in parts.content_model.fields],
        indices=parts.records,
        rejected_indices=parts.rejected,
        default_content_weight=settings.content_weight,
        default_recall=settings.recall_target,
        source=data.source,
        simulated=data.simulated,
        settings=settings.to_strings(),
        provenance=_provenance(data),
        quality=quality,
    )


def _provenance(data: Interactions) -> dict[str, str]:
    libraries = {name: installed_version(name) for name in _LIBRARIES}
    counts = {"rows dropped": str(data.n_dropped), "duplicates merged": str(data.n_duplicates)}
    return {"ilk": __version__, **libraries, **counts, "python": platform.python_version()}
