"""Knows the figures that every bundle carries: how well its settings rank for users held out.

It refuses to know protocols beyond that one; `report` has them all.
"""

from dataclasses import replace

from ilk.errors import DataError, SettingsError
from indexer.evaluation import metrics
from indexer.evaluation.protocols import split_strong
from indexer.evaluation.relevance import relevant
from indexer.evaluation.served import built_from, rank
from indexer.interactions import Interactions
from indexer.progress import Progress, note
from indexer.settings import BuildSettings
from indexer.training.order import kept

_DEPTH = 20


def measure_quality(
    data: Interactions, settings: BuildSettings, progress: Progress
) -> dict[str, float]:
    """Return figures for users held out of a second training, at three blends.

    Empty where the data has too few users to hold any out.

    Raises
    ------
    DataError
        If no user or item has as many ratings as the settings ask for.
    """
    # Before anything is held out: of what is left of a user, the build would count too little.
    data = kept(
        data,
        min_user_ratings=settings.min_user_ratings,
        min_item_ratings=settings.min_item_ratings,
    )
    settings = replace(settings, min_user_ratings=1, min_item_ratings=0)
    positive = relevant(data, settings)
    try:
        split = split_strong(data, positive, settings.seed)
    except (DataError, SettingsError) as error:
        note(f"quality is not measured: {error}")
        return {}
    held_out = split.held_out_matrix()
    figures = {"test_users": float(len(split.test_user_rows))}
    with built_from(split.train_interactions(), settings, progress) as bundle:
        for weight in sorted({0.0, settings.content_weight, 1.0}):
            k = min(_DEPTH, data.n_items)
            ranked = rank(bundle, split, k, content_weight=weight)
            ndcg = metrics.ndcg_at(ranked, held_out, min(10, k)).mean()
            recall = metrics.recall_at(ranked, held_out, k).mean()
            figures[f"ndcg@10,w={weight:g}"] = round(float(ndcg), 6)
            figures[f"recall@20,w={weight:g}"] = round(float(recall), 6)
            coverage = metrics.coverage_at(ranked, data.n_items, min(10, k))
            figures[f"coverage@10,w={weight:g}"] = round(coverage, 6)
    return figures
