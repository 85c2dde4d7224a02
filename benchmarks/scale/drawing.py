"""Knows what is drawn of a large world from a small fitted one: its sides, ratings, catalogue and biases.

It refuses to know how vectors are moved (`resampling` does), and indices. Wide matrices live in files
that are mapped.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from benchmarks.scale.resampling import Drawn, Ints, moved_rows
from ilk.bundle import Bundle
from ilk.bundle.contents import (
    Arrays,
    Biases,
    Catalogue,
    ContentGroups,
    Ratings,
    Side,
    TermWeights,
    flatten,
)
from ilk.query.expectation import expected_of_users
from ilk.titles import TitleNames
from ilk.types import Target
from ilk.vectors import Float32Matrix, support, unit_rows
from ilk.vocabulary import StringColumn, Vocabulary


@dataclass(frozen=True, slots=True)
class Population:
    """How many users and items a drawn world has, and how many ratings are kept of each user."""

    n_users: int
    n_items: int
    ratings_per_user: int = 8


def draw_origins(
    fitted: Bundle, population: Population, scratch: Path, rng: np.random.Generator
) -> tuple[Drawn, Drawn]:
    """Return which fitted users, and which items, the drawn ones come from."""
    starts = fitted.ratings_by_user.indptr
    user_rows = np.repeat(np.arange(len(fitted.users)), np.diff(starts))
    liked = fitted.preference.liked(fitted.ratings_by_user.stars, user_rows)
    of_user = np.add.reduceat(liked, starts[:-1], dtype=np.int64)
    of_item = np.bincount(fitted.ratings_by_user.others[liked], minlength=len(fitted.items))
    more_users = population.n_users / len(fitted.users)
    more_items = population.n_items / len(fitted.items)
    users = Drawn.draw(of_user, population.n_users, 1.0, rng)
    return users, Drawn.draw(of_item, population.n_items, more_users / more_items, rng)


def drawn_side(
    bundle: Bundle, target: Target, drawn: Drawn, files: Path, rng: np.random.Generator
) -> Side:
    """Return one side of the drawn world, its matrices mapped from new files."""
    files.mkdir()
    fitted = bundle.side(target)
    n, n_factors, dim = len(drawn), fitted.factors.shape[1], fitted.content.shape[1]
    factors, directions = (_mapped(files / f, n, n_factors) for f in ("factors", "directions"))
    content = _mapped(files / "content", n, dim)
    for rows in drawn.chunks():
        origins, known = drawn.origins[rows], support(drawn.n_positives[rows])[:, None]
        factors[rows] = moved_rows(fitted.factors, origins, rng)
        directions[rows] = unit_rows(factors[rows]) * known
        # Items of the same genres stay exactly alike; users' tastes are no two the same.
        if target is Target.ITEMS:
            content[rows] = fitted.content[origins]
        else:
            tastes = np.maximum(moved_rows(fitted.content, origins, rng), 0)
            content[rows] = unit_rows(tastes) * known
    popularity = np.log1p(drawn.n_positives).astype(np.float32)
    popularity /= max(float(popularity.max()), 1e-9)
    vocabulary = Vocabulary.of(str(row + 1) for row in range(n))
    return Side(
        vocabulary, factors, directions, content, popularity, fitted.inferred[drawn.origins]
    )


def _mapped(path: Path, n_rows: int, dim: int) -> Float32Matrix:
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n_rows, dim))


def drawn_arrays(
    fitted: Bundle,
    population: Population,
    sides: dict[Target, Side],
    items: Drawn,
    rng: np.random.Generator,
) -> Arrays:
    """Return the bundle's arrays, but for what content adds to the factors of users who rated few."""
    arrays = flatten("users", sides[Target.USERS]) | flatten("items", sides[Target.ITEMS])
    by_user = _ratings(fitted, population, rng)
    arrays |= flatten("ratings_by_user", by_user)
    arrays |= flatten("ratings_by_item", _turned(by_user, population.n_items))
    catalogue = _catalogue(fitted.catalogue, items)
    arrays |= flatten("catalogue", catalogue)
    arrays |= flatten("title_names", TitleNames.of(catalogue.titles.to_list()))
    arrays |= flatten("content_groups", ContentGroups.of(np.asarray(sides[Target.ITEMS].content)))
    arrays |= flatten("item_terms", _terms(fitted.item_terms, items))
    arrays |= flatten("biases", _biases(fitted, population, items, rng))
    arrays |= {
        "content.idf": fitted.content_model.idf,
        "content.to_factors": fitted.content_model.to_factors,
        "gram": _gram(sides[Target.ITEMS], items),
    }
    if fitted.content_model.projection is not None:
        arrays["content.projection"] = fitted.content_model.projection
    return arrays


def expected_of(
    fitted: Bundle, by_user: Ratings, users: Drawn, sides: dict[Target, Side], file: Path
) -> Float32Matrix:
    """Return what content adds to the factors of users who rated few, mapped from a new file."""
    factors, items = sides[Target.USERS].factors, sides[Target.ITEMS]
    expected = _mapped(file, *factors.shape)
    for rows in users.chunks():
        starts = by_user.indptr[rows.start : rows.stop + 1]
        here, n_rated = slice(starts[0], starts[-1]), np.diff(starts)
        user_rows = np.repeat(np.arange(len(n_rated)), n_rated)
        values = fitted.preference.confidences(by_user.stars[here], None, user_rows=user_rows)
        confidences = sp.csr_matrix(
            (values, by_user.others[here], starts - starts[0]), shape=(len(n_rated), len(items))
        )
        of_items = items.content, fitted.content_model
        added = expected_of_users(confidences, n_rated, factors[rows], *of_items)
        # None if nobody here rated few.
        if len(added):
            expected[rows] = added
    return expected


def _ratings(fitted: Bundle, population: Population, rng: np.random.Generator) -> Ratings:
    """Return a few ratings of each user, of items as popular as those that fitted users rated."""
    others: list[npt.NDArray[np.int32]] = []
    stars: list[npt.NDArray[np.float32]] = []
    indptr = np.zeros(population.n_users + 1, dtype=np.int64)
    users = Drawn(np.arange(population.n_users), np.arange(population.n_users))
    n_items, n_fitted = population.n_items, len(fitted.items)
    for rows in users.chunks():
        n_users = rows.stop - rows.start
        drawn = rng.integers(
            0, len(fitted.ratings_by_user.others), n_users * population.ratings_per_user
        )
        ranks = fitted.ratings_by_user.others[drawn] + rng.random(len(drawn))
        item_rows = (ranks * (n_items / n_fitted)).astype(np.int64)
        user_rows = np.repeat(np.arange(n_users), population.ratings_per_user)
        pairs, first = np.unique(user_rows * n_items + item_rows, return_index=True)
        others.append((pairs % n_items).astype(np.int32))
        stars.append(fitted.ratings_by_user.stars[drawn[first]])
        indptr[rows.start + 1 : rows.stop + 1] = np.bincount(pairs // n_items, minlength=n_users)
    np.cumsum(indptr, out=indptr)
    return Ratings(indptr, np.concatenate(others), np.concatenate(stars), np.empty(0, np.int64))


def _turned(by_user: Ratings, n_items: int) -> Ratings:
    shape = (len(by_user.indptr) - 1, n_items)
    by_item = sp.csr_matrix((by_user.stars, by_user.others, by_user.indptr), shape=shape).tocsc()
    return Ratings(by_item.indptr.astype(np.int64), by_item.indices, by_item.data, by_user.times_s)


def _catalogue(fitted: Catalogue, items: Drawn) -> Catalogue:
    titles = fitted.titles.to_list()
    indptr, entries = _repeated(fitted.genre_indptr, items.origins)
    codes = fitted.genre_codes[entries]
    mask = np.zeros((len(fitted.genre_bitmaps), len(items)), dtype=np.bool_)
    mask[codes, np.repeat(np.arange(len(items)), np.diff(indptr))] = True
    return Catalogue(
        titles=StringColumn.of(
            f"{titles[o]} {at + 1}" for at, o in enumerate(items.origins.tolist())
        ),
        years=fitted.years[items.origins],
        genre_indptr=indptr,
        genre_codes=codes,
        genre_bitmaps=np.packbits(mask, axis=1, bitorder="little"),
        mean_stars=fitted.mean_stars[items.origins],
    )


def _terms(fitted: TermWeights, items: Drawn) -> TermWeights:
    indptr, entries = _repeated(fitted.indptr, items.origins)
    return TermWeights(indptr, fitted.codes[entries], fitted.weights[entries])


def _repeated(indptr: Ints, rows: Ints) -> tuple[Ints, Ints]:
    """Return the bounds and the entries of compressed rows taken in the order of ``rows``."""
    sizes = np.diff(indptr)[rows]
    taken = np.zeros(len(rows) + 1, dtype=np.int64)
    np.cumsum(sizes, out=taken[1:])
    return taken, np.arange(taken[-1]) + np.repeat(indptr[rows] - taken[:-1], sizes)


def _biases(
    fitted: Bundle, population: Population, items: Drawn, rng: np.random.Generator
) -> Biases:
    users = fitted.biases.users[rng.integers(0, len(fitted.users), population.n_users)]
    return Biases(fitted.biases.mean, users, fitted.biases.items[items.origins])


def _gram(items: Side, drawn: Drawn) -> npt.NDArray[np.float64]:
    gram = np.zeros((items.factors.shape[1],) * 2)
    for rows in drawn.chunks():
        trained = items.factors[rows][~items.inferred[rows]].astype(np.float64)
        gram += trained.T @ trained
    return gram
