"""Knows the pipeline: interactions in, one published bundle out.

It refuses to know formats, command lines and how quality is measured.
"""

import platform
import time
from importlib.metadata import version as installed_version
from pathlib import Path

from ilk.bundle import Store, publish
from ilk.bundle.manifest import Manifest
from indexer.assemble import Parts, assemble, preference_of
from indexer.interactions import Interactions
from indexer.order import kept, ordered
from indexer.progress import Progress
from indexer.settings import BuildSettings

_LIBRARIES = ("faiss-cpu", "implicit", "numpy", "scikit-learn", "scipy")


def assemble_and_publish(
    data: Interactions,
    store: Path,
    settings: BuildSettings,
    quality: dict[str, float],
    progress: Progress,
) -> str:
    """Train, index and publish; return the new version's name, made of the time and the contents.

    Parameters
    ----------
    quality
        Figures for the manifest, measured before.

    Raises
    ------
    DataError
        If the data cannot be trained on.
    BundleError
        If the store refuses; what was live stays live.
    """
    data = kept(
        data,
        min_user_ratings=settings.min_user_ratings,
        min_item_ratings=settings.min_item_ratings,
    )
    data = ordered(data, preference_of(data, settings).liked(data.ratings, data.user_rows))
    parts = assemble(data, settings, progress)
    manifest = _manifest(data, parts, settings, quality)
    with progress.step("publish"):
        folder = publish(Store(store), manifest, parts.arrays, parts.indices)
    return folder.name


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
    return {**libraries, **counts, "python": platform.python_version()}
