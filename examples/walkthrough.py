"""The walk-through everyone starts from: five users, four films, nine ratings.

Published versions of it print other numbers; these are what the textbook formulas give, and what
Surprise's KNNBasic gives.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

from ilk.bundle import Bundle, open_bundle
from ilk.predict import predict
from ilk.program.printing import run_printing
from ilk.query import answer
from ilk.types import ItemId, PredictionMethod, Query, UserId
from indexer.build import build
from indexer.interactions import Interactions, Items
from indexer.progress import Progress
from indexer.settings import BuildSettings

FILMS = {
    "Inception": ("Sci-Fi", "Action"),
    "Avengers": ("Action", "Fantasy"),
    "Titanic": ("Romance", "Drama"),
    "Shrek": ("Animation", "Comedy"),
}
RATINGS = (
    ("U1", "Inception", 5),
    ("U1", "Avengers", 4),
    ("U2", "Inception", 4),
    ("U2", "Titanic", 5),
    ("U3", "Avengers", 3),
    ("U3", "Shrek", 5),
    ("U4", "Titanic", 4),
    ("U4", "Shrek", 4),
    ("U5", "Inception", 3),
)
SETTINGS = BuildSettings(factors=2, evaluate=False)


def five_users() -> Interactions:
    """Return the walk-through's ratings."""
    users, films = ["U1", "U2", "U3", "U4", "U5"], list(FILMS)
    return Interactions(
        user_ids=users,
        items=Items(films, films, np.zeros(4, dtype=np.int16), list(FILMS.values()), {}),
        user_rows=np.array([users.index(u) for u, _, _ in RATINGS], dtype=np.int32),
        item_rows=np.array([films.index(f) for _, f, _ in RATINGS], dtype=np.int32),
        ratings=np.array([stars for _, _, stars in RATINGS], dtype=np.float32),
        timestamps=None,
        rating_scale=(1.0, 5.0),
        source="the walk-through of five users",
    )


def built(store: Path) -> Bundle:
    """Publish the walk-through's bundle to ``store`` and open it."""
    build(five_users(), store, SETTINGS, Progress(quiet=True))
    return open_bundle(store)


def main() -> None:
    """Print what U5 is predicted to give, and what each film's content is near to."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = built(Path(folder))
        unrated = ("Avengers", "Titanic", "Shrek")
        sys.stdout.write("U5 rated Inception 3 and would give (cosine over co-rated films):\n")
        for told in predict(bundle, UserId("U5"), unrated, PredictionMethod.COSINE_KNN):
            why = "" if told.neighbor_count else "  (no similar rater: the mean of all ratings)"
            sys.stdout.write(f"  {told.item_id:<10} {told.stars:.2f}{why}\n")
        for film in FILMS:
            sys.stdout.write(f"Nearest to {film} by genre:\n")
            for near in answer(bundle, Query(ItemId(film), content_weight=1)).neighbors:
                mark = "  (unrelated)" if near.unrelated else ""
                sys.stdout.write(f"  {near.id:<10} {near.score:.4f}{mark}\n")


def run() -> int:
    """Work the example; the process's command line may ask for ``--help`` alone."""
    argparse.ArgumentParser(prog="python -m examples.walkthrough", description=__doc__).parse_args()
    main()
    return 0


if __name__ == "__main__":
    sys.exit(run_printing(run))
