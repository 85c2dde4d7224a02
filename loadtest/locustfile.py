"""Locust in front of an Ilk server: each user asks every kind of question, popular ids most.

    python -m loadtest learn --output ids.json
    ILK_IDS=ids.json python -m locust -f loadtest/locustfile.py --host 127.0.0.1:50051

A server that asks who calls is entered with ``ILK_TLS_CA`` and ``ILK_TOKEN_FILE``, and where it wants
certificates ``ILK_TLS_CERT`` and ``ILK_TLS_KEY``: names of files.

It refuses to import what needs numerics: beside Locust it wants grpcio and protobuf. A Locust user
waits for its answer before it asks again, so a server that stalls is asked less: for latencies under
a given load, use ``python -m loadtest``.
"""

import os
import random
import time
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import grpc
import grpc.experimental.gevent
from locust import User, constant_throughput, task
from locust.exception import LocustError

from ilk.client.channel import call_metadata
from ilk.client.credentials import tls_credentials, token_in
from ilk.client.wire import requests
from ilk.errors import IlkError
from ilk.types import Examples, Filter, ItemId, Profile, Query, Rating, Target, Text, UserId
from ilk.v1 import similarity_pb2 as pb
from ilk.v1.similarity_pb2_grpc import SimilarityServiceStub
from loadtest import world

# gRPC must yield to the other users of this process while it waits.
grpc.experimental.gevent.init_gevent()

IDS = Path(os.environ.get("ILK_IDS", "ids.json"))
CALLS_PER_S = float(os.environ.get("ILK_CALLS_PER_S", "10"))
TIMEOUT_S = float(os.environ.get("ILK_TIMEOUT_S", "1"))
_BATCH = 16
_MESSAGES = 10


class World:
    """Ids, drawn in proportion to one over their rank."""

    def __init__(self, path: Path) -> None:
        try:
            told = world.load(path)
        except world.NothingToAsk as error:
            raise LocustError(str(error)) from error
        self.items, self.users, self.genres = told.items, told.users, told.genres
        self.scale = told.scale or (1.0, 5.0)
        self.holds_stars = told.scale is not None
        self._weights = {
            id(ids): list(accumulate(1 / rank for rank in range(1, len(ids) + 1)))
            for ids in (self.items, self.users)
        }

    def item(self) -> str:
        """Return an item's id."""
        return self._popular(self.items, 1)[0]

    def several(self, n: int) -> tuple[str, ...]:
        """Return up to ``n`` different items' ids."""
        return tuple(dict.fromkeys(self._popular(self.items, n)))

    def user(self) -> str:
        """Return a user's id."""
        return self._popular(self.users, 1)[0]

    def _popular(self, ids: tuple[str, ...], n: int) -> list[str]:
        return random.choices(ids, cum_weights=self._weights[id(ids)], k=n)  # noqa: S311


def _file(variable: str) -> Path | None:
    name = os.environ.get(variable)
    return Path(name) if name else None


WORLD = World(IDS)
_TLS = [_file(f"ILK_TLS_{part}") for part in ("CA", "CERT", "KEY")]
_TOKEN = _file("ILK_TOKEN_FILE")
METADATA = call_metadata(token_in(_TOKEN) if _TOKEN else None, ())


class Caller(User):
    """Somebody who asks ``CALLS_PER_S`` questions a second at most."""

    wait_time = constant_throughput(CALLS_PER_S)

    def on_start(self) -> None:
        """Connect; a connection each, as separate services have."""
        options = (("grpc.use_local_subchannel_pool", 1),)
        self._channel = (
            grpc.secure_channel(self.host, tls_credentials(*_TLS), options=options)
            if any(_TLS)
            else grpc.insecure_channel(self.host, options=options)
        )
        self._stub: Any = SimilarityServiceStub(self._channel)  # type: ignore[no-untyped-call]

    def on_stop(self) -> None:
        """Disconnect."""
        self._channel.close()

    @task(30)
    def item(self) -> None:
        """Ask for items like an item."""
        self._ask("item", Query(ItemId(WORLD.item())))

    @task(11)
    def hybrid(self) -> None:
        """Ask for the same, blended with content."""
        query = Query(ItemId(WORLD.item()), content_weight=0.3, include_components=True)
        self._ask("hybrid", query)

    @task(20)
    def recommend(self) -> None:
        """Ask for items for a user."""
        if WORLD.users:
            self._ask("user", Query(UserId(WORLD.user()), filter=Filter(exclude_seen=True)))

    @task(3)
    def audience(self) -> None:
        """Ask for users for an item."""
        if WORLD.users:
            self._ask("audience", Query(ItemId(WORLD.item()), Target.USERS))

    @task(2)
    def peers(self) -> None:
        """Ask for users like a user."""
        if WORLD.users:
            self._ask("peers", Query(UserId(WORLD.user()), Target.USERS))

    @task(9)
    def profile(self) -> None:
        """Ask for items for a newcomer."""
        low, high = WORLD.scale
        ratings = tuple(
            Rating(item_id, random.uniform(low, high))  # noqa: S311
            for item_id in WORLD.several(8)
        )
        self._ask("profile", Query(Profile(ratings), filter=Filter(exclude_seen=True)))

    @task(4)
    def examples(self) -> None:
        """Ask for items like some."""
        self._ask("examples", Query(Examples(WORLD.several(3))))

    @task(3)
    def text(self) -> None:
        """Ask for items by words."""
        if WORLD.genres:
            self._ask("text", Query(Text(random.choice(WORLD.genres))))  # noqa: S311

    @task(8)
    def filtered(self) -> None:
        """Ask for items like an item, filtered."""
        kept = Filter(min_year=1990, exclude_ids=WORLD.several(20))
        self._ask("filtered", Query(ItemId(WORLD.item()), filter=kept))

    @task(2)
    def batch(self) -> None:
        """Ask many queries in one call."""
        request = requests.batch_request(Query(ItemId(WORLD.item())) for _ in range(_BATCH))
        self._call("batch", self._stub.BatchFindNeighbors, request)

    @task(3)
    def predict(self) -> None:
        """Ask for a user's stars."""
        if WORLD.users and WORLD.holds_stars:
            request = pb.PredictRatingsRequest(user_id=WORLD.user(), item_ids=WORLD.several(10))
            self._call("predict", self._stub.PredictRatings, request)

    @task(2)
    def titles(self) -> None:
        """Ask for items by what people type."""
        typed = WORLD.item().replace("-", " ")[:24]
        self._call("titles", self._stub.SearchTitles, requests.titles_request(typed, 10))

    @task(2)
    def lookup(self) -> None:
        """Ask for titles of ids."""
        self._call("items", self._stub.GetItems, requests.items_request(WORLD.several(10)))

    @task(3)
    def stream(self) -> None:
        """Ask on one stream; each message counts as a request."""
        sent: list[float] = []

        def messages() -> Iterator[pb.StreamFindNeighborsRequest]:
            for _ in range(_MESSAGES):
                sent.append(time.perf_counter())
                query = requests.query_request(Query(ItemId(WORLD.item())))
                yield pb.StreamFindNeighborsRequest(query=query)

        try:
            for at, answer in enumerate(
                self._stub.StreamFindNeighbors(
                    messages(), timeout=10 * TIMEOUT_S, metadata=METADATA
                )
            ):
                failed = IlkError(answer.error.message) if answer.HasField("error") else None
                self._tell("stream", sent[at], answer.ByteSize(), failed)
        except grpc.RpcError as error:
            self._tell("stream", sent[0] if sent else time.perf_counter(), 0, error)

    def _ask(self, kind: str, query: Query) -> None:
        self._call(kind, self._stub.FindNeighbors, requests.query_request(query))

    def _call(self, kind: str, method: Callable[..., Any], request: object) -> None:
        started_s = time.perf_counter()
        try:
            size_bytes = method(request, timeout=TIMEOUT_S, metadata=METADATA).ByteSize()
        except grpc.RpcError as error:
            self._tell(kind, started_s, 0, error)
        else:
            self._tell(kind, started_s, size_bytes, None)

    def _tell(self, kind: str, started_s: float, size_bytes: int, error: Exception | None) -> None:
        """Report one request to Locust, which takes a gRPC error by its status."""
        if isinstance(error, grpc.RpcError):
            code = getattr(error, "code", lambda: "no status")()
            error = IlkError(str(code))
        self.environment.events.request.fire(
            request_type="grpc",
            name=kind,
            response_time=1e3 * (time.perf_counter() - started_s),
            response_length=size_bytes,
            response=None,
            context={},
            exception=error,
        )
