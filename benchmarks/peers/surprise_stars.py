"""Knows Surprise: trains its usual methods on one fold and prints their errors as JSON.

It refuses to know Ilk, for it runs where only Surprise is installed:
``python -m benchmarks.peers.surprise_stars TRAIN.csv TEST.csv LOWEST HIGHEST``. The files hold
``user,item,stars`` without a heading; the last two arguments are the ends of the scale.
"""

import json
import sys
from typing import Any

import surprise
from surprise import SVD, BaselineOnly, Dataset, KNNBaseline, KNNBasic, Reader, accuracy
from surprise.model_selection import PredefinedKFold


def main(train: str, test: str, lowest: str, highest: str) -> None:
    """Print ``{"version": ..., "methods": {name: {"rmse", "mae", "fall_backs"}}}``."""
    scale = (float(lowest), float(highest))
    reader = Reader(line_format="user item rating", sep=",", rating_scale=scale)
    data = Dataset.load_from_folds([(train, test)], reader)
    trainset, testset = next(PredefinedKFold().split(data))
    cosine = {"name": "cosine", "user_based": True}
    of_items = {"name": "pearson_baseline", "user_based": False}
    methods = {
        "KNNBasic": KNNBasic(sim_options=cosine, verbose=False),
        "BaselineOnly": BaselineOnly(verbose=False),
        "KNNBaseline": KNNBaseline(verbose=False),
        "KNNBaseline of items": KNNBaseline(sim_options=of_items, verbose=False),
        "SVD": SVD(random_state=0),
    }
    figures = {
        name: _figures(trainset, method.fit(trainset).test(testset))
        for name, method in methods.items()
    }
    print(json.dumps({"version": surprise.__version__, "methods": figures}))


def _figures(trainset: Any, predictions: list[Any]) -> dict[str, float]:
    """Return the errors, and the share of predictions that no neighbor (SVD: no factors) carried."""
    users = {trainset.to_raw_uid(user) for user in trainset.all_users()}
    items = {trainset.to_raw_iid(item) for item in trainset.all_items()}
    fell_back = [
        p.details.get("actual_k", 1) == 0
        or p.uid not in users
        or p.iid not in items
        or p.details["was_impossible"]
        for p in predictions
    ]
    return {
        "rmse": accuracy.rmse(predictions, verbose=False),
        "mae": accuracy.mae(predictions, verbose=False),
        "fall_backs": sum(fell_back) / len(fell_back),
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
