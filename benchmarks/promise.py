"""Whether answers keep the recall that was asked for, at any blend and through any filter.

Random queries are answered twice: at a recall, and by scores of every row computed here from the bundle's
vectors. It refuses to know how an answer is found.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ilk import ann
from ilk.bundle import Bundle, open_bundle
from ilk.query import answer
from ilk.query.filters import allowed_rows
from ilk.query.whom import seek
from ilk.space import SPACE_KEYS, SpaceKey
from ilk.types import (
    MAX_FILTER_IDS,
    Accuracy,
    Examples,
    Filter,
    ItemId,
    Profile,
    Query,
    Rating,
    Target,
    Text,
    UserId,
    Whom,
)

RECALLS = (0.9, 0.95, 0.99, 0.999)
BLENDS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
COUNTS = (1, 10, 100)
# Shares of the rows that a list of included ids lets pass; 0 is one row.
SHARES = (0.1, 0.01, 0.001, 0.0)
# Scores closer than this are a tie: sums of float32 products.
_ROUNDING = 1e-5


@dataclass(slots=True)
class Kept:
    """What came of the cases of one space.

    Attributes
    ----------
    recalls
        Promised and measured recall of each case, by blend.
    n_outside
        Neighbors that the filter forbids.
    n_short
        Answers with fewer neighbors than asked for where enough exist.
    """

    recalls: dict[float, list[tuple[float, float]]] = field(default_factory=dict)
    n_outside: int = 0
    n_short: int = 0

    @property
    def n_cases(self) -> int:
        """Cases that had anything to find."""
        return sum(map(len, self.recalls.values()))

    def worst_blend(self) -> tuple[float, float]:
        """Return the blend that keeps least of its promise, and mean recall less mean promise there."""
        margins = {
            w: float(np.diff(np.mean(pairs, axis=0))[0]) for w, pairs in self.recalls.items()
        }
        worst = min(margins, key=lambda w: margins[w])
        return worst, margins[worst]

    def mean(self) -> tuple[float, float]:
        """Return mean promised and mean measured recall."""
        promised, measured = np.mean([p for of in self.recalls.values() for p in of], axis=0)
        return float(promised), float(measured)


def measure(store: Path, n_cases: int, n_strangers: int, seed: int) -> dict[str, Kept]:
    """Return what came of random cases in each space of a store's bundle.

    Parameters
    ----------
    n_cases, n_strangers
        How many ask as users and items of the bundle, and how many by a profile, examples or a text.
    """
    ann.use_threads(1)
    bundle = open_bundle(store)
    rng = np.random.default_rng(seed)
    kept: dict[str, Kept] = {}
    for key in SPACE_KEYS:
        for name, n, draw in (
            (key.name, n_cases, _row),
            (f"{key.name} strangers", n_strangers, _stranger),
        ):
            found = Kept()
            for _ in range(n):
                _ask(bundle, _draw(bundle, key, rng, draw), found)
            if found.n_cases:
                kept[name] = found
    return kept


def _ask(bundle: Bundle, query: Query, kept: Kept) -> None:
    assert query.accuracy is not None
    assert query.content_weight is not None
    scores = _true_scores(bundle, query)
    rows = bundle.side(query.target).vocabulary.rows_of(
        [n.id for n in answer(bundle, query).neighbors]
    )
    kept.n_outside += int(np.count_nonzero(np.isneginf(scores[rows])))
    n_there = min(query.neighbor_count, int(np.count_nonzero(np.isfinite(scores))))
    kept.n_short += len(rows) < n_there
    if n_there:
        least = np.partition(scores, -n_there)[-n_there]
        n_good = int(np.count_nonzero(scores[rows] >= least - _ROUNDING))
        pair = (query.accuracy.recall, n_good / n_there)
        kept.recalls.setdefault(query.content_weight, []).append(pair)


def _true_scores(bundle: Bundle, query: Query) -> npt.NDArray[np.float64]:
    """Return the score of every row of the target; minus infinity for one that may not come back."""
    assert query.content_weight is not None
    seeker, side = seek(bundle, query), bundle.side(query.target)
    factors = side.directions if seeker.kind is query.target else side.factors
    weight = query.content_weight
    if seeker.kind is Target.USERS and query.target is Target.ITEMS:
        seeker = seeker.helped_by_content(bundle, weight)
    scores = (1 - weight) * (factors @ seeker.collaborative).astype(np.float64)
    scores += weight * (side.content @ seeker.content)
    allowed = np.full(len(side), -np.inf)
    rows = allowed_rows(bundle, seeker, query.target, query.filter).rows(len(side))
    allowed[rows] = scores[rows]
    return allowed


def _row(bundle: Bundle, rng: np.random.Generator, *, asks_items: bool) -> Whom:
    asking = bundle.items if asks_items else bundle.users
    # Half of those who ask are drawn by how well they are known, half by nothing.
    row = int(rng.integers(len(asking)) * (rng.random() if rng.random() < 0.5 else 1))
    id_ = asking.vocabulary.id_of(row)
    return ItemId(id_) if asks_items else UserId(id_)


def _stranger(bundle: Bundle, rng: np.random.Generator, *, asks_items: bool) -> Whom:
    """Return one or two genres as a text or examples of one user's, or part of what one user rated."""
    genres = bundle.content_model.fields[0].terms
    named = tuple({str(genre) for genre in rng.choice(genres, int(rng.integers(1, 3)))})
    if asks_items and rng.random() < 0.5:
        return Text(" ".join(named))
    ratings = bundle.ratings_by_user
    row = int(rng.integers(len(bundle.users)))
    rated, stars = ratings.others_of(row), ratings.stars_of(row)
    some = rng.permutation(len(rated))[: int(rng.integers(1, 21))].tolist()
    ids = [bundle.items.vocabulary.id_of(int(rated[at])) for at in some]
    if asks_items:
        return Examples(tuple(ids[:3]), tuple(ids[3:4]))
    told = tuple(Rating(id_, float(stars[at])) for id_, at in zip(ids, some, strict=True))
    return Profile(told, favorite_genres=named if rng.random() < 0.5 else ())


def _draw(
    bundle: Bundle, key: SpaceKey, rng: np.random.Generator, whom: Callable[..., Whom]
) -> Query:
    asks_items = (key.target is Target.ITEMS) == key.by_likeness
    filters = list(_filters(bundle, key, rng))
    return Query(
        whom(bundle, rng, asks_items=asks_items),
        key.target,
        float(rng.choice(BLENDS)),
        filter=filters[int(rng.integers(len(filters)))],
        neighbor_count=int(rng.choice(COUNTS)),
        accuracy=Accuracy.at_recall(float(rng.choice(RECALLS))),
    )


def _filters(bundle: Bundle, key: SpaceKey, rng: np.random.Generator) -> Iterator[Filter]:
    vocabulary, n_rows = bundle.side(key.target).vocabulary, len(bundle.side(key.target))

    def some(n: int) -> tuple[str, ...]:
        rows = rng.choice(n_rows, min(max(n, 1), n_rows, MAX_FILTER_IDS), replace=False)
        return tuple(vocabulary.id_of(int(row)) for row in rows)

    yield Filter()
    yield Filter(exclude_ids=some(int(rng.integers(1, 200))))
    yield Filter(include_ids=some(int(rng.choice(SHARES) * n_rows)))
    if not key.by_likeness:
        yield Filter(exclude_seen=True)
    if key.target is Target.ITEMS:
        genres = bundle.content_model.fields[0].terms
        yield Filter(any_genres=(str(rng.choice(genres)),))
        yield Filter(no_genres=(str(rng.choice(genres)),), exclude_seen=not key.by_likeness)
        year = int(rng.integers(1950, 2015))
        yield Filter(min_year=year, max_year=year + int(rng.choice([0, 5, 40])))
        yield Filter(all_genres=(str(rng.choice(genres)), str(rng.choice(genres))), min_year=year)


def table(kept: dict[str, Kept]) -> Iterator[str]:
    """Yield the lines that show what came of each space."""
    yield f"{'space':<25} {'cases':>6} {'promised':>9} {'recall':>7} {'worst blend':>17} outside short"
    for name, found in kept.items():
        promised, measured = found.mean()
        weight, margin = found.worst_blend()
        yield (
            f"{name:<25} {found.n_cases:6} {promised:9.4f} {measured:7.4f} "
            f"{f'{margin:+.4f} at {weight:g}':>17} {found.n_outside:7} {found.n_short:5}"
        )
