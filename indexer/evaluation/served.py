"""Knows how a split is ranked by what is served: a bundle is built and asked through `ilk.query`.

It refuses to know figures. What is measured here is what a caller would have been told.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from ilk.ann import IndexKind
from ilk.bundle import Bundle, open_bundle
from ilk.errors import IlkError
from ilk.query import answer_many
from ilk.types import UNSEEN, Neighbors, Profile, Query, Rating, UserId, Whom
from indexer.evaluation.splits import Split
from indexer.interactions import Interactions
from indexer.progress import Progress
from indexer.publishing import assemble_and_publish
from indexer.scratch import scratch_folder
from indexer.settings import BuildSettings

_BATCH = 256


@contextlib.contextmanager
def built_from(data: Interactions, settings: BuildSettings, progress: Progress) -> Iterator[Bundle]:
    """Build a bundle of ``data`` in a temporary store and yield it opened.

    It compares with everything unless the settings name an index: what indices miss is measured apart,
    as recall, and choosing one takes longer than a build.
    """
    settings = replace(settings, index=settings.index or IndexKind.FLAT)
    with scratch_folder() as store:
        assemble_and_publish(data, store, settings, {}, progress)
        yield open_bundle(store)


def rank(
    bundle: Bundle,
    split: Split,
    k: int,
    *,
    content_weight: float,
    diversity: float = 0.0,
    popularity_penalty: float = 0.0,
    half_life_s: float | None = None,
) -> npt.NDArray[np.int64]:
    """Return the ``k`` items recommended to each test user, as item rows of the split's data.

    Users whom the bundle lacks (``strong``) come as profiles of what is folded in, as far as it holds
    that; others as the users they are, or with a half-life as profiles too. Nothing folded in is
    recommended, nor what is no candidate.

    Returns
    -------
    ndarray
        Shape ``(n_test_users, k)``, int64; -1 where fewer could be recommended.
    """
    item_ids = split.interactions.items.item_ids
    row_of = {item_id: row for row, item_id in enumerate(item_ids)}
    wanted = UNSEEN
    if split.candidates is not None:
        wanted = replace(UNSEEN, include_ids=tuple(item_ids[row] for row in split.candidates))
    ranked = np.full((len(split.test_user_rows), k), -1, dtype=np.int64)
    seekers = list(_seekers(bundle, split, half_life_s))
    for start in range(0, len(seekers), _BATCH):
        asking = seekers[start : start + _BATCH]
        queries = [
            Query(
                whom=whom,
                filter=wanted,
                neighbor_count=k,
                content_weight=content_weight,
                diversity=diversity,
                popularity_penalty=popularity_penalty,
            )
            for _, whom in asking
        ]
        # As the server does. A batch is few queries per faiss call: its threads wait for each other.
        with threadpool_limits(1, "openmp"):
            outcomes = answer_many(bundle, queries)
        for (at, _), outcome in zip(asking, outcomes, strict=True):
            rows = [row_of[n.id] for n in _answered(outcome).neighbors]
            ranked[at, : len(rows)] = rows
    return ranked


def _answered(outcome: Neighbors | IlkError) -> Neighbors:
    if isinstance(outcome, IlkError):
        raise outcome
    return outcome


def _seekers(bundle: Bundle, split: Split, half_life_s: float | None) -> Iterator[tuple[int, Whom]]:
    """Yield places among the test users and who asks there; not who shows nothing the bundle holds."""
    data = split.interactions
    users = [data.user_ids[row] for row in split.test_user_rows.tolist()]
    # Items with fewer ratings than settings ask for are left out of a bundle.
    held = bundle.items.vocabulary.rows_of(data.items.item_ids)[data.item_rows] >= 0
    for at, entries in enumerate(split.entries_by_test_user(split.fold_in & held)):
        if half_life_s is None and bundle.users.vocabulary.row_of(users[at]) >= 0:
            yield at, UserId(users[at])
        else:
            favorites = () if split.favorites is None else split.favorites[at]
            if len(entries) or favorites:
                profile = profile_of(data, entries, favorites)
                yield at, replace(profile, half_life_s=half_life_s)


def profile_of(
    data: Interactions, entries: npt.NDArray[np.int64], favorites: tuple[str, ...] = ()
) -> Profile:
    """Return the profile that says what these entries of one user say, and which genres they favor."""
    times = None if data.timestamps is None else data.timestamps[entries].tolist()
    item_ids = data.items.item_ids
    return Profile(
        ratings=tuple(
            Rating(item_ids[item], stars, None if times is None else times[at])
            for at, (item, stars) in enumerate(
                zip(data.item_rows[entries].tolist(), data.ratings[entries].tolist(), strict=True)
            )
        ),
        favorite_genres=favorites,
    )
