"""Knows Ilk as a service under measurement, on any vectors: items as its items, queries as its users.

It refuses to know how a service is measured (`peers.service`).
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import numpy as np

from benchmarks.peers.service import K, Matrix
from benchmarks.processes import ServerProcess, running
from ilk import SimilarityClient
from ilk.ann import IndexKind
from ilk.bundle import Bundle
from ilk.errors import IlkError
from ilk.foldin import FoldIn
from ilk.types import Accuracy, Neighbors, Query, UserId
from indexer.interactions import Interactions, Items
from indexer.progress import Progress
from indexer.publishing import assemble_and_publish
from indexer.settings import BuildSettings
from indexer.training.factors import Factors

# Every query is searched for, as the others do, though the same are asked again.
_NO_MEMORY = ("--answer-memory-mb", "0")


class OwnService:
    """One worker of ``python -m server``, asked for users' nearest items by factors alone.

    Parameters
    ----------
    recall
        What each query asks for; the bundle's measurements choose the effort.
    index
        Kind of index; None lets the indexer choose.
    bundle
        A bundle that holds the vectors already; None has one made of them.
    store
        Where that bundle is, or where the one to be made goes.
    """

    tunable = False

    def __init__(
        self, recall: float, index: IndexKind | None, bundle: Bundle | None, store: Path
    ) -> None:
        self._accuracy = Accuracy.at_recall(recall)
        self._index = index
        self._bundle = bundle
        self._store = store
        self._running = contextlib.ExitStack()
        self._server: ServerProcess | None = None

    def start(self, folder: Path) -> None:
        """Do nothing: the server wants its bundle first."""

    def load(self, items: Matrix, queries: Matrix) -> None:
        """Publish the vectors as a bundle, unless they are in one, and serve it."""
        if self._bundle is None:
            publish_vectors(items, queries, self._store, self._index)
            item_ids, user_ids = _ids("i", len(items)), _ids("u", len(queries))
        else:
            item_ids = [self._bundle.items.vocabulary.id_of(r) for r in range(len(items))]
            user_ids = [self._bundle.users.vocabulary.id_of(r) for r in range(len(queries))]
        self._rows = {item_id: row for row, item_id in enumerate(item_ids)}
        self._queries = [
            Query(UserId(u), content_weight=0.0, neighbor_count=K, accuracy=self._accuracy)
            for u in user_ids
        ]
        self._running.enter_context(mock.patch.dict(os.environ, {"ILK_SERVER_WORKERS": "1"}))
        self._server = self._running.enter_context(
            running("server", ("--store", str(self._store), *_NO_MEMORY))
        )
        self._client = self._running.enter_context(
            SimilarityClient(self._server.address, timeout_s=60)
        )

    def search(self, asked: Sequence[int], effort: int) -> Sequence[Sequence[int]]:
        """Ask for one user, or for several in a batch."""
        if len(asked) == 1:
            found = [self._client.find_neighbors(self._queries[asked[0]])]
        else:
            outcomes = self._client.batch_find_neighbors([self._queries[at] for at in asked])
            found = list(map(_answered, outcomes))
        return [[self._rows[n.id] for n in answer.neighbors] for answer in found]

    def pids(self) -> list[int]:
        """Return the server."""
        return [] if self._server is None else [self._server.pid]

    def stop(self) -> None:
        """End it."""
        self._running.close()


def _answered(outcome: Neighbors | IlkError) -> Neighbors:
    # What is refused costs little: it must not count as answered.
    if isinstance(outcome, IlkError):
        raise outcome
    return outcome


def publish_vectors(items: Matrix, users: Matrix, store: Path, index: IndexKind | None) -> str:
    """Publish a bundle whose factors are given, in rows' order, with no content; return its version.

    Every item has one rating, from users in turn, so that the indexer finds no reason to reorder.

    Raises
    ------
    ValueError
        If the number of items is no multiple of the number of users.
    """
    n_items, n_users = len(items), len(users)
    if n_items % n_users:
        raise ValueError(f"{n_items} items are no multiple of {n_users} users")
    rows = np.arange(n_items, dtype=np.int32)
    data = Interactions(
        user_ids=_ids("u", n_users),
        items=Items(
            item_ids=_ids("i", n_items),
            titles=_ids("i", n_items),
            years=np.zeros(n_items, dtype=np.int16),
            genres=[("none",)] * n_items,
            texts={},
        ),
        user_rows=rows % n_users,
        item_rows=rows,
        ratings=np.full(n_items, 5, dtype=np.float32),
        timestamps=None,
        rating_scale=(1.0, 5.0),
        source="given vectors",
        simulated=True,
    )
    settings = BuildSettings(factors=items.shape[1], index=index, evaluate=False)
    gram = items.astype(np.float64).T @ items.astype(np.float64)
    factors = Factors(users, items, FoldIn(gram, 1.0, 1.0, 0.0))
    with mock.patch("indexer.training.assemble.fit", return_value=factors):
        return assemble_and_publish(data, store, settings, {}, Progress(quiet=True))


def _ids(prefix: str, n: int) -> list[str]:
    return [f"{prefix}{row}" for row in range(n)]
