"""Knows what a split promises not to let a model see, and checks that it does not.

It refuses to know how splits are made.
"""

import numpy as np
import numpy.typing as npt

from ilk.errors import DataError
from indexer.evaluation.splits import Split
from indexer.interactions import Interactions, found_in


def check_no_leak(split: Split) -> None:
    """Raise if anything to be predicted, or that the protocol forbids, could have been learned.

    Pairs are compared, not entries, so a pair that stands in the data twice is found too.

    Raises
    ------
    DataError
        If a held-out (user, item) pair is in training or fold-in; if training knows a test user
        (strong), an entry not before the cutoff (temporal) or not before those held out of the same user
        (latest), or a held-out item (cold items).
    """
    data = split.interactions
    name = f"{split.protocol} split"
    pairs = data.pairs()
    held = np.flatnonzero(split.held_out)
    for part, mask in (("training", split.train), ("fold-in", split.fold_in)):
        leaked = held[found_in(pairs[mask], pairs[held])]
        _refuse(name, data, leaked, f"held-out entries are in {part} too")
    visible = np.flatnonzero(split.train | split.fold_in)
    if split.protocol == "strong":
        learned = np.flatnonzero(split.train)
        leaked = learned[np.isin(data.user_rows[learned], split.test_user_rows)]
        _refuse(name, data, leaked, "training entries are of test users")
    if split.protocol == "cold_items":
        leaked = visible[np.isin(data.item_rows[visible], data.item_rows[held])]
        _refuse(name, data, leaked, "training or fold-in entries are on held-out items")
    if split.cutoff_s is not None and data.timestamps is not None:
        leaked = visible[data.timestamps[visible] >= split.cutoff_s]
        _refuse(name, data, leaked, f"training or fold-in entries are not before {split.cutoff_s}")
    if split.protocol == "latest" and data.timestamps is not None:
        first_s = np.full(data.n_users, np.iinfo(np.int64).max)
        np.minimum.at(first_s, data.user_rows[held], data.timestamps[held])
        leaked = visible[data.timestamps[visible] >= first_s[data.user_rows[visible]]]
        _refuse(name, data, leaked, "entries are not before what is to be predicted of their user")


def _refuse(name: str, data: Interactions, leaked: npt.NDArray[np.int64], problem: str) -> None:
    if len(leaked):
        user_id = data.user_ids[data.user_rows[leaked[0]]]
        item_id = data.items.item_ids[data.item_rows[leaked[0]]]
        raise DataError(
            name, f"leaks: {len(leaked)} {problem}, the first of user {user_id!r}, item {item_id!r}"
        )
