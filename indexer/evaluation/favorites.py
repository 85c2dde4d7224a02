"""Knows which genres newcomers would name as their favorites.

It refuses to know what they are told then.
"""

import numpy as np
import numpy.typing as npt
from scipy import sparse

from indexer.evaluation.splits import CsrMatrix, Split

# What a genre must have of what somebody likes, however much more that is than of everybody's.
_LEAST_SHARE = 0.15
# A genre of which training likes less stands out no more for it.
_RAREST = 1e-4


def favorite_genres(split: Split, n: int) -> list[tuple[str, ...]]:
    """Return up to ``n`` genres of each test user: those that stand out most in what they like.

    That is by their share of the user's positives over that of training's; what is held out counts too,
    for people know what they like. Empty where no genre has 15% of the positives.
    """
    items = split.interactions.items
    names = sorted({genre for genres in items.genres for genre in genres})
    code = {name: at for at, name in enumerate(names)}
    entries = [(row, code[g]) for row, genres in enumerate(items.genres) for g in genres]
    rows, columns = np.array(entries, dtype=np.int64).reshape(-1, 2).T
    shape = (split.interactions.n_items, len(names))
    of_items = sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=shape)
    shares = _shares(split.fold_in_matrix() + split.held_out_matrix(), of_items)
    usual = _shares(sparse.csr_matrix(split.train_matrix().sum(axis=0)), of_items)
    lifts = np.where(shares >= _LEAST_SHARE, shares / np.maximum(usual, _RAREST), 0)
    ranked = np.argsort(-lifts, axis=1, kind="stable")[:, :n]
    return [
        tuple(names[at] for at in best if lift[at] > 0)
        for best, lift in zip(ranked.tolist(), lifts, strict=True)
    ]


def _shares(liked: CsrMatrix, of_items: CsrMatrix) -> npt.NDArray[np.float64]:
    """Return what share of each row's items are of each genre, shape ``(n_rows, n_genres)``."""
    return np.asarray((liked @ of_items).toarray() / liked.sum(axis=1), dtype=np.float64)
