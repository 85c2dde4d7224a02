"""Knows what a split is: what is learned from, what is shown and what is to be predicted.

It refuses to know how a split is drawn (`protocols` does), models and figures. Parts are boolean
masks over the entries of the original interactions, so rows mean the same before and after a split.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse

from indexer.interactions import Interactions

Mask: TypeAlias = npt.NDArray[np.bool_]
Rows: TypeAlias = npt.NDArray[np.int64]
CsrMatrix: TypeAlias = "sparse.csr_matrix[np.float32]"
SplitProtocol: TypeAlias = Literal["strong", "weak", "temporal", "latest", "cold_items"]


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """What a model may learn, what it is shown of each test user, and what it must predict.

    Attributes
    ----------
    protocol
        Which function of `protocols` made it.
    interactions
        The original; every mask is over its ``n`` entries.
    positive
        Shape ``(n,)``: entries that count as liked.
    train, fold_in, held_out
        Shape ``(n,)``: entries to learn from, entries of test users visible at query time, and
        positive entries of test users to be predicted. An entry may be in none of them.
    test_user_rows
        Shape ``(n_test_users,)``, int64, rising; each has a positive folded in and one held out.
    n_dropped_entries
        Positives of users to be tested, removed because training has no positive of their item
        (``strong`` only).
    n_dropped_users
        Users who were to be tested and lacked a positive to show or one to predict.
    cutoff_s
        Unix seconds that part before from after, for ``temporal``.
    candidates
        Item rows, rising, of what alone may be recommended, of which training has nothing
        (``cold_items``); None: whatever is not folded in.
    favorites
        Genres that each test user names beside what is folded in; None: nobody names any.
    """

    protocol: SplitProtocol
    interactions: Interactions
    positive: Mask
    train: Mask
    fold_in: Mask
    held_out: Mask
    test_user_rows: Rows
    n_dropped_entries: int = 0
    n_dropped_users: int = 0
    cutoff_s: int | None = None
    candidates: Rows | None = None
    favorites: Sequence[tuple[str, ...]] | None = None

    @property
    def n_cold_held_out(self) -> int:
        """Held-out entries on items that training has no entry of."""
        return len(self._cold_rows())

    def _cold_rows(self) -> npt.NDArray[np.int32]:
        item_rows = self.interactions.item_rows
        held_out = item_rows[self.held_out]
        return held_out[~np.isin(held_out, item_rows[self.train])]

    def counts(self) -> dict[str, int]:
        """Return how much there is of each part, and of what could not be used."""
        cold = self._cold_rows()
        return {
            "test users": len(self.test_user_rows),
            "entries to learn from": int(self.train.sum()),
            "entries to predict": int(self.held_out.sum()),
            "users with nothing to show or predict": self.n_dropped_users,
            "entries left out": self.n_dropped_entries,
            "entries to predict on items unknown to training": len(cold),
            "such items": len(np.unique(cold)),
        }

    def train_interactions(self) -> Interactions:
        """Return the entries to learn from; users, items and their rows stay as they were.

        Of a temporal split, lines of texts (tags) from the date on are gone, if they tell their times.
        """
        items = self.interactions.items
        if self.cutoff_s is not None:
            items = items.before(self.cutoff_s)
        return replace(self.interactions.only(self.train), items=items)

    def entries_by_test_user(self, part: Mask) -> list[Rows]:
        """Return the positions of a part's entries (``fold_in`` or ``held_out``) per test user.

        The list runs like ``test_user_rows``; positions rise.
        """
        entries = np.flatnonzero(part)
        users = self.interactions.user_rows[entries]
        entries = entries[np.argsort(users, kind="stable")]
        users = np.sort(users)
        starts = np.searchsorted(users, self.test_user_rows, side="left")
        ends = np.searchsorted(users, self.test_user_rows, side="right")
        return [entries[start:end] for start, end in zip(starts, ends, strict=True)]

    def train_matrix(self) -> CsrMatrix:
        """Return training positives as ones, shape ``(n_users, n_items)``."""
        return self._matrix(self.train & self.positive, np.arange(self.interactions.n_users))

    def fold_in_matrix(self) -> CsrMatrix:
        """Return folded-in positives as ones, shape ``(n_test_users, n_items)``."""
        return self._matrix(self.fold_in & self.positive, self.test_user_rows)

    def seen_matrix(self) -> CsrMatrix:
        """Return all that is folded in, liked or not, as ones: what is not to be recommended."""
        return self._matrix(self.fold_in, self.test_user_rows)

    def held_out_matrix(self) -> CsrMatrix:
        """Return what is to be predicted as ones, shape ``(n_test_users, n_items)``."""
        return self._matrix(self.held_out, self.test_user_rows)

    def _matrix(self, part: Mask, user_rows: Rows) -> CsrMatrix:
        rows = np.searchsorted(user_rows, self.interactions.user_rows[part])
        columns = self.interactions.item_rows[part]
        ones = np.ones(len(rows), dtype=np.float32)
        shape = (len(user_rows), self.interactions.n_items)
        return sparse.csr_matrix((ones, (rows, columns)), shape=shape)
