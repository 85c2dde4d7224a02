"""Knows the figures of ranked lists: accuracy, coverage, concentration, novelty and diversity.

It refuses to know how lists were ranked or entries held out, and how sure a figure is (`estimates`
does). A ranking is ``(n_users, width)`` int64 item rows, best first, ``-1`` where unfilled; held-out
items are the stored places of a CSR matrix ``(n_users, n_items)``, whatever their values.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse, stats

from ilk.errors import DataError, SettingsError
from indexer.evaluation.ranking import CsrMatrix, Ranked

Figures: TypeAlias = npt.NDArray[np.float64]
Metric: TypeAlias = Callable[[Ranked, CsrMatrix, int], Figures]

_USERS_PER_CHUNK = 4096


def metric_named(name: str) -> tuple[Metric, int]:
    """Return the accuracy figure of a name such as ``ndcg@10``, and its depth.

    Raises
    ------
    SettingsError
        If the name is not one of ``ndcg``, ``recall`` and ``mrr``, an ``@`` and a depth from 1 on.
    """
    kind, _, depth = name.partition("@")
    if kind not in _BY_KIND or not depth.isdecimal() or int(depth) < 1:
        kinds = ", ".join(f"{known}@10" for known in _BY_KIND)
        raise SettingsError(f"unknown figure {name!r}; expected one such as {kinds}")
    return _BY_KIND[kind], int(depth)


def ndcg_at(ranked: Ranked, held_out: CsrMatrix, k: int) -> Figures:
    """Return each user's normalised discounted cumulative gain of the first ``k`` places.

    Gains are 0 or 1; the ideal list holds ``min(k, n_relevant)`` hits. Järvelin & Kekäläinen,
    ACM TOIS 20(4), 2002; truncated as by Liang et al., WWW 2018.

    Returns
    -------
    Figures
        Shape ``(n_users,)``, float64, in [0, 1].

    Raises
    ------
    SettingsError
        If ``k`` is not in ``[1, width]``.
    DataError
        If shapes disagree, a row is out of range or ranked twice, or a user has nothing held out.
    """
    hits, n_relevant = _hits(ranked, held_out, k)
    discounts = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.cumsum(discounts)[np.minimum(n_relevant, k) - 1]
    return np.asarray(hits @ discounts / ideal, dtype=np.float64)


def recall_at(ranked: Ranked, held_out: CsrMatrix, k: int) -> Figures:
    """Return each user's hits in the first ``k`` places, over ``min(k, n_relevant)``.

    Shapes and errors are those of :func:`ndcg_at`; the divisor is that of Liang et al., WWW 2018.
    """
    hits, n_relevant = _hits(ranked, held_out, k)
    return np.asarray(hits.sum(axis=1) / np.minimum(n_relevant, k), dtype=np.float64)


def mrr(ranked: Ranked, held_out: CsrMatrix, k: int) -> Figures:
    """Return one over the place of each user's first hit among ``k``, or 0 without one.

    Shapes and errors are those of :func:`ndcg_at`; its mean is the MRR of Voorhees, TREC-8, 1999.
    """
    hits, _ = _hits(ranked, held_out, k)
    return np.where(hits.any(axis=1), 1.0 / (1.0 + hits.argmax(axis=1)), 0.0)


_BY_KIND: dict[str, Metric] = {"ndcg": ndcg_at, "recall": recall_at, "mrr": mrr}


def coverage_at(ranked: Ranked, n_items: int, k: int = 10) -> float:
    """Return the share of the catalogue that stands in anybody's first ``k`` places.

    Ge et al., "Beyond Accuracy", RecSys 2010. Errors are those of :func:`ndcg_at`.
    """
    return float((_exposure(ranked, n_items, k) > 0).mean())


def gini(ranked: Ranked, n_items: int, k: int = 10) -> float:
    """Return how unevenly the first ``k`` places are shared out: 0 evenly, near 1 to one item.

    Items never shown count. Fleder & Hosanagar, Management Science 55(5), 2009. Errors are those
    of :func:`ndcg_at`, and :class:`DataError` if nothing is ranked.
    """
    exposure = np.sort(_exposure(ranked, n_items, k))
    if not exposure.any():
        raise DataError("ranked", "holds no item")
    place = np.arange(1, n_items + 1)
    return float(((2 * place - n_items - 1) * exposure).sum() / (n_items * exposure.sum()))


def mean_popularity_rank(ranked: Ranked, popularity: npt.NDArray[Any], k: int = 10) -> float:
    """Return the mean over all filled places of the item's popularity rank; 1 is the most popular.

    ``popularity`` counts entries by item, shape ``(n_items,)``; equal counts share their mean
    rank. Errors are those of :func:`gini`.
    """
    ranks = stats.rankdata(-np.asarray(popularity, dtype=np.float64))
    return _mean_over_places(ranked, ranks, k)


def novelty(ranked: Ranked, popularity: npt.NDArray[Any], n_users: int, k: int = 10) -> float:
    """Return the mean self-information, in bits, of the filled places: ``-log2(count / n_users)``.

    ``popularity`` is the number of users, of ``n_users``, who rated each item; an item nobody
    rated counts as if one had. Zhou et al., PNAS 107(10), 2010. Errors are those of :func:`gini`.
    """
    counts = np.asarray(popularity, dtype=np.float64)
    if n_users < 1 or not (counts <= n_users).all():
        raise DataError("popularity", f"counts more than the {n_users} users there are")
    return _mean_over_places(ranked, -np.log2(np.maximum(counts, 1.0) / n_users), k)


def intra_list_diversity(ranked: Ranked, item_vectors: Any, k: int = 10) -> float:
    """Return 1 minus the mean cosine of the pairs in a list, averaged over the lists.

    Parameters
    ----------
    ranked
        Shape ``(n_users, width)``.
    item_vectors
        Shape ``(n_items, dim)``, dense or scipy sparse, finite, of any length; a zero vector is
        like nothing, so its cosines are 0.
    k
        Places looked at. Lists with fewer than two filled places are passed over.

    Raises
    ------
    DataError
        As :func:`ndcg_at`, or if no list has two items.

    Notes
    -----
    Ziegler et al., WWW 2005. The cosines of all pairs of unit vectors sum to
    ``(|sum of vectors|^2 - number of them) / 2``, so no pair is ever formed.
    """
    vectors = sparse.csr_matrix(item_vectors, dtype=np.float64)
    norms = np.sqrt(np.asarray(vectors.multiply(vectors).sum(axis=1)).ravel())
    if not np.isfinite(norms).all():
        raise DataError("item_vectors", "hold values that are not finite")
    is_vector = norms > 0
    units = sparse.diags(1.0 / np.where(is_vector, norms, 1.0)).tocsr() @ vectors
    top = _top(ranked, len(norms), k)
    lists = _membership(top, len(norms))
    lengths = (top >= 0).sum(axis=1)
    cosine_sums = np.empty(len(top))
    for start in range(0, len(top), _USERS_PER_CHUNK):
        chunk = lists[start : start + _USERS_PER_CHUNK]
        sums = chunk @ units
        squares = np.asarray(sums.multiply(sums).sum(axis=1)).ravel()
        cosine_sums[start : start + _USERS_PER_CHUNK] = squares - chunk @ is_vector
    paired = lengths >= 2
    if not paired.any():
        raise DataError("ranked", "has no list of two items or more")
    pairs = lengths[paired] * (lengths[paired] - 1.0)
    return float((1.0 - cosine_sums[paired] / pairs).mean())


def _hits(
    ranked: Ranked, held_out: CsrMatrix, k: int
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    n_users, n_items = held_out.shape
    top = _top(ranked, n_items, k)
    if len(top) != n_users:
        raise DataError("ranked", f"has {len(top)} users, the held-out matrix {n_users}")
    users = np.repeat(np.arange(n_users, dtype=np.int64), np.diff(held_out.indptr))
    # Sorted keys and a binary search: np.unique and np.isin hash, ten times slower on such keys.
    relevant = np.sort(users * n_items + held_out.indices)
    relevant = relevant[np.diff(relevant, prepend=-1) > 0]
    n_relevant = np.bincount(relevant // n_items, minlength=n_users)
    if not n_relevant.all():
        raise DataError("held_out", f"user {int(np.argmin(n_relevant))} has no held-out item")
    keys = np.arange(n_users, dtype=np.int64)[:, None] * n_items + top
    nearest = np.minimum(np.searchsorted(relevant, keys), len(relevant) - 1)
    return (relevant[nearest] == keys) & (top >= 0), n_relevant.astype(np.int64)


def _top(ranked: Ranked, n_items: int, k: int) -> Ranked:
    if ranked.ndim != 2 or not np.issubdtype(ranked.dtype, np.integer):
        raise DataError("ranked", f"must be a matrix of rows, got {ranked.dtype} {ranked.shape}")
    if not 1 <= k <= ranked.shape[1]:
        raise SettingsError(f"k: must be in [1, {ranked.shape[1]}], the lists' width, got {k}")
    top = ranked[:, :k]
    if ((top < -1) | (top >= n_items)).any():
        raise DataError("ranked", f"holds a row outside the {n_items} items")
    ordered = np.sort(top, axis=1)
    twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    if twice.any():
        raise DataError("ranked", f"user {int(twice.any(axis=1).argmax())} has an item twice")
    return top


def _exposure(ranked: Ranked, n_items: int, k: int) -> npt.NDArray[np.int64]:
    top = _top(ranked, n_items, k)
    return np.bincount(top[top >= 0], minlength=n_items).astype(np.int64)


def _mean_over_places(ranked: Ranked, item_figures: Figures, k: int) -> float:
    top = _top(ranked, len(item_figures), k)
    if not (top >= 0).any():
        raise DataError("ranked", "holds no item")
    return float(item_figures[top[top >= 0]].mean())


def _membership(top: Ranked, n_items: int) -> CsrMatrix:
    users, places = np.nonzero(top >= 0)
    ones = np.ones(len(users))
    return sparse.csr_matrix((ones, (users, top[users, places])), shape=(len(top), n_items))
