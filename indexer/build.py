"""Knows what ``build`` does: leave out the forgotten, measure settings on a part, train on everything.

It refuses to know formats and command lines.
"""

from pathlib import Path

from indexer.acceptance.gate import GateSettings
from indexer.erasure.forgetting import without_forgotten
from indexer.evaluation.quality import measure_quality
from indexer.interactions import Interactions
from indexer.progress import Progress, note
from indexer.publishing import assemble_and_publish
from indexer.settings import BuildSettings


def build(
    data: Interactions,
    store: Path,
    settings: BuildSettings,
    progress: Progress,
    asked: GateSettings | None = None,
) -> str:
    """Evaluate, train, index, check and publish; return the new version's name.

    Parameters
    ----------
    asked
        What the bundle must show before it may become live; None: the usual.

    Raises
    ------
    DataError
        If the data cannot be trained on.
    BundleError
        If the store or the gate refuses; what was live stays live.
    """
    data, n_forgotten = without_forgotten(data, store)
    if n_forgotten:
        note(f"{n_forgotten} forgotten users are left out")
    quality = (
        measure_quality(data, settings, progress.within("evaluate")) if settings.evaluate else {}
    )
    return assemble_and_publish(data, store, settings, quality, progress, asked or GateSettings())
