"""How far predicted stars are off, beside Surprise on the same folds.

It refuses to know how anybody predicts: Ilk is asked through ``ilk.predict`` over a bundle of the
training part, Surprise runs in an environment of its own.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.peers.environment import answer_of, installed
from ilk.bundle import Bundle
from ilk.errors import DataError
from ilk.predict import MAX_ITEMS, predict
from ilk.types import PredictionMethod, UserId
from indexer.evaluation.served import built_from
from indexer.evaluation.stars import Fold, StarFigures, folds, star_figures
from indexer.interactions import Interactions
from indexer.progress import Progress
from indexer.settings import BuildSettings

_SURPRISE = ("scikit-surprise==1.1.5",)
_TEXTBOOK, _TEXTBOOK_PEER = "ilk cosine-knn", "Surprise KNNBasic"
_TEXTBOOK_BAR = 0.005


@dataclass(frozen=True, slots=True)
class StarsComparison:
    """Figures by method, one per fold, and what was asked.

    Attributes
    ----------
    ours, peers
        Figures of each fold by the method's name.
    n_ratings
        Ratings predicted over all folds, each once.
    n_of_unknown_users, n_of_unknown_items
        Those among them whose user has no rating in training, or whose item the bundle does not
        hold: Ilk is not asked, and the mean of all ratings is taken.
    surprise
        The version of Surprise.
    """

    ours: dict[str, list[StarFigures]]
    peers: dict[str, list[StarFigures]]
    n_ratings: int
    n_of_unknown_users: int
    n_of_unknown_items: int
    surprise: str


def compare(
    data: Interactions, settings: BuildSettings, progress: Progress, *, n_folds: int = 5
) -> StarsComparison:
    """Predict every rating from the other folds by each of our methods and of Surprise's.

    Raises
    ------
    DataError
        If the data holds clicks.
    PeerFailed
        If Surprise cannot be installed or fails.
    """
    if data.rating_scale is None:
        raise DataError(data.source, "holds clicks; predicting stars needs stars")
    ours: dict[str, list[StarFigures]] = {}
    peers: dict[str, list[StarFigures]] = {}
    unknown, version = np.zeros(2, dtype=np.int64), ""
    for number, fold in enumerate(folds(len(data), settings.seed, n_folds=n_folds), start=1):
        within = progress.within(f"fold {number}")
        with within.step("Surprise"):
            answer = _surprise(data, fold)
        version = answer["version"]
        for name, figures in answer["methods"].items():
            peers.setdefault(f"Surprise {name}", []).append(StarFigures(**figures))
        with built_from(data.only(fold.train), settings, within) as bundle:
            asked, unknown_now = _asked(bundle, data, fold.test)
            unknown += unknown_now
            for method in PredictionMethod:
                with within.step(method.value):
                    figures = _figures(bundle, data, fold.test, asked, method)
                ours.setdefault(f"ilk {method.value}", []).append(figures)
    return StarsComparison(ours, peers, len(data), int(unknown[0]), int(unknown[1]), version)


def table(comparison: StarsComparison) -> Iterator[str]:
    """Yield the lines that show a comparison."""
    means = {
        name: np.mean([(e.rmse, e.mae, e.fall_backs) for e in errors], axis=0)
        for name, errors in (comparison.ours | comparison.peers).items()
    }
    best = min(comparison.peers, key=lambda name: float(means[name][0]))
    yield f"{'method':<30} {'RMSE':>8} {'MAE':>8} {'RMSE / best peer':>17} {'fall-backs':>11}"
    for name, (rmse, mae, fall_backs) in means.items():
        yield f"{name:<30} {rmse:8.4f} {mae:8.4f} {rmse / means[best][0]:17.4f} {fall_backs:11.2%}"
    yield f"best peer: {best}, scikit-surprise {comparison.surprise}"
    gap = means[_TEXTBOOK][0] - means[_TEXTBOOK_PEER][0]
    yield f"{_TEXTBOOK} less {_TEXTBOOK_PEER}: {gap:+.4f} (bar: within {_TEXTBOOK_BAR})"
    yield f"{comparison.n_ratings} ratings, each predicted once; not asked of Ilk, the mean taken:"
    yield (
        f"{comparison.n_of_unknown_users} of unknown users, "
        f"{comparison.n_of_unknown_items} of unknown items"
    )


def _surprise(data: Interactions, fold: Fold) -> Any:
    low, high = data.rating_scale or (0.0, 0.0)
    with tempfile.TemporaryDirectory(prefix="ilk-stars-") as folder:
        files = [str(Path(folder) / name) for name in ("train.csv", "test.csv")]
        for file, entries in zip(files, (fold.train, fold.test), strict=True):
            columns = (data.user_rows[entries], data.item_rows[entries], data.ratings[entries])
            np.savetxt(file, np.column_stack(columns), fmt=("%d", "%d", "%.9g"), delimiter=",")
        python = installed("surprise", _SURPRISE)
        return answer_of(python, "peers.surprise_stars", *files, str(low), str(high))


def _asked(
    bundle: Bundle, data: Interactions, test: npt.NDArray[np.int64]
) -> tuple[list[npt.NDArray[np.int64]], tuple[int, int]]:
    """Return what ``predict`` is asked, and how many entries are of unknown users and items.

    Returns
    -------
    calls
        Positions in ``test``, those of one call in one array: one user, at most ``MAX_ITEMS`` items.
    n_of_unknown_users, n_of_unknown_items
        Entries in no call; one that is both counts as of an unknown user.
    """
    users, items = data.user_rows[test], data.item_rows[test]
    known_users = bundle.users.vocabulary.rows_of(data.user_ids) >= 0
    known_items = bundle.items.vocabulary.rows_of(data.items.item_ids) >= 0
    known = known_users[users] & known_items[items]
    asked = np.flatnonzero(known)
    asked = asked[np.argsort(users[asked], kind="stable")]
    by_user = np.split(asked, np.flatnonzero(np.diff(users[asked])) + 1)
    calls = [
        positions[start : start + MAX_ITEMS]
        for positions in by_user
        for start in range(0, len(positions), MAX_ITEMS)
    ]
    n_of_unknown_users = int(np.count_nonzero(~known_users[users]))
    return calls, (n_of_unknown_users, len(test) - len(asked) - n_of_unknown_users)


def _figures(
    bundle: Bundle,
    data: Interactions,
    test: npt.NDArray[np.int64],
    calls: list[npt.NDArray[np.int64]],
    method: PredictionMethod,
) -> StarFigures:
    """Ask for every entry that can be asked for, and compare with the stars that were given."""
    predicted = np.full(len(test), float(bundle.biases.mean[0]))
    counts = np.zeros(len(test), dtype=np.int64)
    item_ids = data.items.item_ids
    for positions in calls:
        entries = test[positions]
        user_id = UserId(data.user_ids[data.user_rows[entries[0]]])
        ids = [item_ids[row] for row in data.item_rows[entries].tolist()]
        answers = predict(bundle, user_id, ids, method)
        predicted[positions] = [a.stars for a in answers]
        counts[positions] = [a.neighbor_count for a in answers]
    return star_figures(data.ratings[test], predicted, counts)
