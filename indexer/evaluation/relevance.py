"""Knows which ratings a recommendation should have foretold.

It refuses to know how training reads ratings: settings are compared by one measure, not each by its own.
"""

from dataclasses import replace

from indexer.evaluation.splits import Mask
from indexer.interactions import Interactions
from indexer.settings import BuildSettings
from indexer.training.preference import read_ratings


def relevant(data: Interactions, build: BuildSettings, *, own_bars: bool = False) -> Mask:
    """Return which ratings are worth foretelling; shape ``(len(data),)``.

    Those from ``liked_from`` on, for everybody, whatever ``build.normalize`` is; or with ``own_bars``
    those that reach their user's own bar (:meth:`ilk.preference.Preference.bars`), likewise.
    """
    _, liked = read_ratings(data, replace(build, normalize="mean" if own_bars else "none"))
    return liked
