"""Knows how interactions become the parts of a bundle: order, train, vectorise, index.

It refuses to know files on either side: readers come before it, publishing after.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from ilk.ann import Index
from ilk.baseline import fit_biases
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
from ilk.bundle.manifest import IndexRecord
from ilk.content import ContentModel
from ilk.errors import DataError
from ilk.expectation import expected_of_users
from ilk.foldin import FoldIn
from ilk.preference import Preference, age_weights
from ilk.space import SPACE_KEYS, SpaceKey
from ilk.titles import TitleNames
from ilk.types import Target
from ilk.vectors import Float32Matrix, concatenate, support, unit_rows
from ilk.vocabulary import StringColumn, Vocabulary
from indexer.content import Content, vectorize
from indexer.factors import Factors, fit
from indexer.inference import factors_from_content, factors_of_untrained
from indexer.interactions import Interactions
from indexer.order import positions
from indexer.progress import Progress
from indexer.settings import BuildSettings
from indexer.spaces import build_indices

_SECONDS_PER_DAY = 86_400
# Of so many users, the best so many recommendations, found at this effort where effort matters.
_EXPOSURE_USERS = 2_000
_EXPOSURE_DEPTH = 50
_EXPOSURE_EFFORT = 64


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything of a bundle but its manifest's words."""

    arrays: Arrays
    indices: dict[str, Index]
    records: dict[str, IndexRecord]
    rejected: dict[str, list[IndexRecord]]
    preference: Preference
    fold_in: FoldIn
    content_model: ContentModel


def assemble(
    data: Interactions, preference: Preference, settings: BuildSettings, progress: Progress
) -> Parts:
    """Return the parts of the bundle of ``data``, its rows and ratings as `indexer.order` leaves them.

    ``preference`` is what :func:`read_ratings` gives for the data, in whatever order.
    """
    starts = _starts(data.user_rows, data.n_users)
    ages = _age_weights(data, preference, starts)
    with progress.step("content"):
        content = vectorize(data.items, settings)
    # One thread does this where one thread prepares to train, or puts vectors together, so that it costs
    # hardly any time of its own.
    with ThreadPoolExecutor(1, "assemble") as beside:
        user_content = beside.submit(_user_content, data, preference, ages, starts, content)
        known = beside.submit(_known_arrays, data, starts, content)
        confidences = _confidences(data, preference, ages)
        with progress.step("train", settings.iterations) as advance:
            factors = fit(confidences, settings, advance)
        with progress.step("vectors"):
            users, items, to_factors = _sides(
                data, factors, content, user_content.result(), confidences
            )
        with progress.step("index", len(SPACE_KEYS)) as advance:
            chosen = build_indices({Target.USERS: users, Target.ITEMS: items}, settings, advance)
            indices = {name: index for name, (index, _, _) in chosen.items()}
            records = {name: record for name, (_, record, _) in chosen.items()}
            rejected = {name: others for name, (_, _, others) in chosen.items()}
            recommending = indices[SpaceKey(Target.ITEMS, by_likeness=False).name]
            exposure = _exposure(data, starts, users, recommending, settings)
    items = replace(items, popularity=exposure)
    model = ContentModel(content.fields, content.idf, content.projection, to_factors)
    arrays = flatten("users", users) | flatten("items", items) | known.result()
    arrays["users.expected"] = expected_of_users(
        confidences, np.diff(starts), users.factors, content.vectors, model
    )
    arrays |= _model_arrays(model) | {"gram": factors.fold_in.gram}
    return Parts(arrays, indices, records, rejected, preference, factors.fold_in, model)


def _known_arrays(data: Interactions, starts: npt.NDArray[np.int64], content: Content) -> Arrays:
    """Return the arrays that depend on no factors."""
    return (
        _ratings_arrays(data, starts)
        | flatten("catalogue", _catalogue(data, content))
        | flatten("title_names", TitleNames.of(data.items.titles))
        | flatten("content_groups", ContentGroups.of(content.vectors))
        | flatten("biases", _biases(data))
        | flatten("item_terms", _terms(content))
    )


def preference_of(data: Interactions, settings: BuildSettings) -> Preference:
    """Return how this data's ratings are read under these settings; errors as ``read_ratings``."""
    return read_ratings(data, settings)[0]


def read_ratings(
    data: Interactions, settings: BuildSettings
) -> tuple[Preference, npt.NDArray[np.bool_]]:
    """Return how this data's ratings are read under these settings, and which then are positives.

    Raises
    ------
    DataError
        If the settings need timestamps and there are none.
    """
    if settings.half_life_days is not None and data.timestamps is None:
        raise DataError(data.source, "has no timestamps; --half-life-days needs them")
    liked_from = settings.liked_from
    if liked_from is None:
        liked_from = Preference.usual_threshold(data.rating_scale)
    half_life = settings.half_life_days
    preference = Preference(
        scale=data.rating_scale,
        liked_from=liked_from,
        alpha=settings.alpha,
        graded=settings.graded,
        half_life_s=None if half_life is None else half_life * _SECONDS_PER_DAY,
        activity_discount=settings.activity_discount,
        normalize=settings.normalize,
    )
    liked = preference.liked(data.ratings, data.user_rows)
    activity = np.bincount(data.user_rows[liked])
    if not activity.any():
        return preference, liked
    typical = float(np.exp(np.mean(np.log(activity[activity > 0]))))
    return replace(preference, typical_activity=round(typical, 6)), liked


def _model_arrays(model: ContentModel) -> Arrays:
    arrays: Arrays = {"content.idf": model.idf, "content.to_factors": model.to_factors}
    if model.projection is not None:
        arrays["content.projection"] = model.projection
    return arrays


def _starts(rows: npt.NDArray[np.int32], n_rows: int) -> npt.NDArray[np.int64]:
    """Return where the entries of each row begin and end when they stand by row."""
    starts = np.zeros(n_rows + 1, dtype=np.int64)
    np.cumsum(np.bincount(rows, minlength=n_rows), out=starts[1:])
    return starts


def _age_weights(
    data: Interactions, preference: Preference, starts: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32] | None:
    if preference.half_life_s is None or data.timestamps is None:
        return None
    times = data.timestamps.astype(np.float64)
    newest = np.maximum.reduceat(times, starts[:-1])
    return age_weights(times, newest[data.user_rows], preference.half_life_s)


def _confidences(
    data: Interactions, preference: Preference, ages: npt.NDArray[np.float32] | None
) -> sp.csr_matrix:
    """Return the confidence of each positive, shape ``(n_users, n_items)``."""
    values = preference.confidences(data.ratings, ages, user_rows=data.user_rows)
    liked = np.flatnonzero(values)
    starts = _starts(data.user_rows[liked], data.n_users)
    return _matrix(values[liked], data.item_rows[liked], starts, data.n_items)


def _matrix(
    values: npt.NDArray[Any],
    columns: npt.NDArray[np.int32],
    starts: npt.NDArray[np.int64],
    n_columns: int,
) -> sp.csr_matrix:
    return sp.csr_matrix((values, columns, starts), shape=(len(starts) - 1, n_columns))


def _user_content(
    data: Interactions,
    preference: Preference,
    ages: npt.NDArray[np.float32] | None,
    starts: npt.NDArray[np.int64],
    content: Content,
) -> Float32Matrix:
    """Return the content of what each user rated, as far as there are enough ratings to trust it."""
    weights = _matrix(
        preference.content_weights(data.ratings, ages), data.item_rows, starts, data.n_items
    )
    vectors = unit_rows(np.asarray(weights @ content.vectors, dtype=np.float32))
    vectors *= support(np.diff(starts))[:, None]
    return vectors


def _sides(
    data: Interactions,
    factors: Factors,
    content: Content,
    user_content: Float32Matrix,
    confidences: sp.csr_matrix,
) -> tuple[Side, Side, Float32Matrix]:
    trained: npt.NDArray[np.bool_] = np.any(factors.items, axis=1)
    to_factors = factors_from_content(content.vectors, factors.items, trained)
    item_factors, inferred = factors_of_untrained(
        content.vectors, data.items.years, factors.items, trained
    )
    nobody = np.zeros(data.n_users, dtype=np.bool_)
    n_of_user = np.diff(confidences.indptr)
    n_of_item = np.bincount(confidences.indices, minlength=data.n_items)
    users = _side(data.user_ids, factors.users, user_content, data.user_rows, n_of_user, nobody)
    items = _side(
        data.items.item_ids, item_factors, content.vectors, data.item_rows, n_of_item, inferred
    )
    return users, items, to_factors


def _side(
    ids: list[str],
    factors: Float32Matrix,
    content: Float32Matrix,
    rated: npt.NDArray[np.int32],
    n_positives: npt.NDArray[np.int64],
    inferred: npt.NDArray[np.bool_],
) -> Side:
    popularity = _log_share(np.bincount(rated, minlength=len(ids)))
    directions = unit_rows(factors) * support(n_positives)[:, None]
    return Side(Vocabulary.of(ids), factors, directions, content, popularity, inferred)


def _log_share(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    logs: npt.NDArray[np.float32] = np.log1p(counts, dtype=np.float32)
    logs /= max(float(logs.max()), 1e-9)
    return logs


def _exposure(
    data: Interactions,
    starts: npt.NDArray[np.int64],
    users: Side,
    index: Index,
    settings: BuildSettings,
) -> npt.NDArray[np.float32]:
    """Return how often each item is among the best unseen recommendations of a sample of users."""
    rng = np.random.default_rng(settings.seed)
    drawn = rng.permutation(data.n_users)[:_EXPOSURE_USERS]
    weight = settings.content_weight
    queries = concatenate(
        np.float32(1 - weight) * users.factors[drawn], np.float32(weight) * users.content[drawn]
    )
    found = index.nearest(queries, min(3 * _EXPOSURE_DEPTH, data.n_items), _EXPOSURE_EFFORT)
    shown = np.zeros(data.n_items, dtype=np.int64)
    for user_row, rows in zip(drawn.tolist(), found.rows, strict=True):
        own = data.item_rows[starts[user_row] : starts[user_row + 1]]
        unseen = rows[(rows >= 0) & ~np.isin(rows, own)]
        shown[unseen[:_EXPOSURE_DEPTH]] += 1
    return _log_share(shown)


def _ratings_arrays(data: Interactions, starts: npt.NDArray[np.int64]) -> Arrays:
    times = np.empty(0, dtype=np.int64) if data.timestamps is None else data.timestamps
    by_user = Ratings(starts, data.item_rows, data.ratings, times)
    turned = _matrix(positions(len(data)), data.item_rows, starts, data.n_items).tocsc()
    by_item = Ratings(
        turned.indptr.astype(np.int64),
        turned.indices,
        data.ratings[turned.data],
        times[turned.data] if len(times) else times,
    )
    return flatten("ratings_by_user", by_user) | flatten("ratings_by_item", by_item)


def _biases(data: Interactions) -> Biases:
    n_users, n_items = data.n_users, data.n_items
    if data.rating_scale is None:
        mean, users, items = 0.0, np.zeros(n_users), np.zeros(n_items)
    else:
        mean, users, items = fit_biases(
            data.user_rows, data.item_rows, data.ratings, n_users, n_items
        )
    return Biases(np.array([mean]), users.astype(np.float32), items.astype(np.float32))


def _terms(content: Content) -> TermWeights:
    weights = content.weights.tocsr()
    return TermWeights(
        weights.indptr.astype(np.int64),
        weights.indices.astype(np.int32),
        weights.data.astype(np.float32),
    )


def _catalogue(data: Interactions, content: Content) -> Catalogue:
    codes = {genre: code for code, genre in enumerate(content.fields[0].terms)}
    per_item = [[codes[g] for g in genres] for genres in data.items.genres]
    indptr = np.zeros(data.n_items + 1, dtype=np.int64)
    np.cumsum([len(c) for c in per_item], out=indptr[1:])
    genre_codes = np.fromiter((c for row in per_item for c in row), dtype=np.uint16)
    mask = np.zeros((len(codes), data.n_items), dtype=np.bool_)
    mask[genre_codes, np.repeat(np.arange(data.n_items), np.diff(indptr))] = True
    counts = np.bincount(data.item_rows, minlength=data.n_items)
    sums = np.bincount(data.item_rows, weights=data.ratings, minlength=data.n_items)
    means = np.divide(sums, counts, out=np.full(data.n_items, np.nan), where=counts > 0)
    return Catalogue(
        titles=StringColumn.of(data.items.titles),
        years=data.items.years,
        genre_indptr=indptr,
        genre_codes=genre_codes,
        genre_bitmaps=np.packbits(mask, axis=1, bitorder="little"),
        mean_stars=means.astype(np.float32),
    )
