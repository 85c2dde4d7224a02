"""Knows how interactions become the parts of a bundle: order, train, vectorise, index.

It refuses to know files on either side: readers come before it, publishing after.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from ilk.ann import Index
from ilk.bundle.contents import Arrays, Side, flatten
from ilk.bundle.manifest import IndexRecord
from ilk.content import ContentModel
from ilk.foldin import FoldIn
from ilk.preference import Preference, age_weights
from ilk.query.expectation import expected_of_users
from ilk.space import SPACE_KEYS, SpaceKey
from ilk.types import Target
from ilk.vectors import Float32Matrix, concatenate, support, unit_rows
from ilk.vocabulary import Vocabulary
from indexer.indexing.spaces import build_indices
from indexer.interactions import Interactions, Items
from indexer.progress import Progress
from indexer.settings import BuildSettings
from indexer.training.content import Content, vectorize
from indexer.training.factors import Factors, fit
from indexer.training.facts import known_arrays, matrix_of, starts_of
from indexer.training.inference import factors_from_content, factors_of_untrained

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
    """Return the parts of the bundle of ``data``, its rows and ratings as `order` leaves them.

    ``preference`` is what `preference.read_ratings` gives for the data, in whatever order.
    """
    starts = starts_of(data.user_rows, data.n_users)
    ages = _age_weights(data, preference, starts)
    with progress.step("content"):
        content = vectorize(data.items, settings)
        if data.items.texts:
            progress.say(_told_content(content, data.items))
    # One thread does this where one thread prepares to train, or puts vectors together, so that it costs
    # hardly any time of its own.
    with ThreadPoolExecutor(1, "assemble") as beside:
        user_content = beside.submit(_user_content, data, preference, ages, starts, content)
        known = beside.submit(known_arrays, data, starts, content)
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
    if factors.fold_in.common is not None:
        arrays["common_taste"] = factors.fold_in.common
    return Parts(arrays, indices, records, rejected, preference, factors.fold_in, model)


def _told_content(content: Content, items: Items) -> str:
    """Say which texts are part of the content, and which are not: too few items have them."""
    of = {field.name: f"{field.name} ({len(field.terms):,})" for field in content.fields}
    left_out = [name for name in items.texts if name not in of]
    told = f"content is of {', '.join(of.values())}"
    return told + (f"; left out: {', '.join(left_out)}" if left_out else "")


def _model_arrays(model: ContentModel) -> Arrays:
    arrays: Arrays = {"content.idf": model.idf, "content.to_factors": model.to_factors}
    if model.projection is not None:
        arrays["content.projection"] = model.projection
    return arrays


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
    starts = starts_of(data.user_rows[liked], data.n_users)
    return matrix_of(values[liked], data.item_rows[liked], starts, data.n_items)


def _user_content(
    data: Interactions,
    preference: Preference,
    ages: npt.NDArray[np.float32] | None,
    starts: npt.NDArray[np.int64],
    content: Content,
) -> Float32Matrix:
    """Return the content of what each user rated, as far as there are enough ratings to trust it."""
    values = preference.content_weights(data.ratings, ages, user_rows=data.user_rows)
    weights = matrix_of(values, data.item_rows, starts, data.n_items)
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
    # Not in their directions: users are not alike because of what all have in common.
    users = replace(users, factors=factors.users + factors.fold_in.in_common(n_of_user))
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
