"""Knows what ``build`` does: measure the settings on a held-out part, then train on everything.

It refuses to know formats and command lines.
"""

from pathlib import Path

from indexer.evaluation.quality import measure_quality
from indexer.interactions import Interactions
from indexer.progress import Progress
from indexer.publishing import assemble_and_publish
from indexer.settings import BuildSettings


def build(data: Interactions, store: Path, settings: BuildSettings, progress: Progress) -> str:
    """Evaluate, train, index and publish; return the new version's name.

    Raises
    ------
    DataError
        If the data cannot be trained on.
    BundleError
        If the store refuses; what was live stays live.
    """
    quality = (
        measure_quality(data, settings, progress.within("evaluate")) if settings.evaluate else {}
    )
    return assemble_and_publish(data, store, settings, quality, progress)
