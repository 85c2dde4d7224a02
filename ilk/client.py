"""Knows how to reach an Ilk server and ask it from ordinary code; `aio` is the same for asyncio.

It refuses to know messages and statuses (`wire` does) and needs no numerics: grpcio, protobuf and
the standard library are enough.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import grpc

from ilk.errors import IlkError, ServiceError, SettingsError
from ilk.questions import Questions
from ilk.throttle import Throttle, Turn, Unthrottled
from ilk.types import (
    BundleInfo,
    Item,
    Neighbors,
    PredictionMethod,
    Profile,
    Query,
    RatingPrediction,
    TitleMatch,
    UserId,
)
from ilk.v1 import similarity_pb2 as pb
from ilk.v1.similarity_pb2_grpc import SimilarityServiceStub
from ilk.wire import requests, responses
from ilk.wire.refusals import error_from_rpc
from ilk.wire.stream import StreamOrder

if TYPE_CHECKING:
    from typing_extensions import Self

DEFAULT_TARGET = "127.0.0.1:50051"
DEFAULT_TIMEOUT_S = 5.0

SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [{"service": "ilk.v1.SimilarityService"}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.05s",
                "maxBackoff": "0.5s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED", "RESOURCE_EXHAUSTED"],
            },
        }
    ],
    "retryThrottling": {"maxTokens": 400, "tokenRatio": 0.1},
}
"""How gRPC spreads and repeats calls, as a gRPC service config.

Calls go round the addresses that the target resolves to. UNAVAILABLE, CANCELLED and RESOURCE_EXHAUSTED
are tried again, at most four times, within the call's deadline. The first two hide a worker or server
that goes away: CANCELLED is how gRPC lets go of calls that had come but not begun when a server
stopped; a call that its own caller cancels is never repeated. Repeats last just over a second, which is
what gRPC waits before it tries a failed connection again unless ``CHANNEL_OPTIONS`` tell it otherwise.
With the third a server sheds load, and says when to come back, which repeats heed. Where 200 more fail
than a tenth of those that do not, the throttle stops repeating: more than one connection is likely to
take with it, and soon reached where a server sheds for long.

``deploy/client-service-config.json`` says the same for other languages.
"""

CHANNEL_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
    # Answers to 1,000 queries can be larger than gRPC's 4 MiB.
    ("grpc.max_receive_message_length", 64 * 2**20),
    # A connection per client, not per process: several clients can reach several workers of a port.
    ("grpc.use_local_subchannel_pool", 1),
    # A connection that fails is tried again between a call's repeats, not a second later when all of them
    # have failed: who comes back at once to a port whose worker was killed can still reach the dead one.
    ("grpc.initial_reconnect_backoff_ms", 100),
    # Seconds after a server is back, not two minutes, its callers are too.
    ("grpc.max_reconnect_backoff_ms", 5_000),
    # However long it takes to connect to what does not answer, it is given up, and others are tried.
    ("grpc.min_reconnect_backoff_ms", 5_000),
    # A server that is frozen, or whose machine is gone, is found out and left: calls to it only expire.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
)

_LOOPBACK = re.compile(
    r"(?:dns:(?://[^/]*)?/?|ipv[46]:)?(?:localhost|127(?:\.\d+){3}|\[::1\])(?::\d+)?"
)


def past_proxies(target: str) -> tuple[tuple[str, Any], ...]:
    """Return the options with which a channel to this machine goes past the proxies of the environment.

    gRPC goes by the one that ``http_proxy``, ``https_proxy`` or ``grpc_proxy`` names, even to this
    machine's own servers, which no proxy can reach.
    """
    return (("grpc.enable_http_proxy", 0),) if _LOOPBACK.fullmatch(target) else ()


Metadata = tuple[tuple[str, str], ...]
_METADATA_KEY = re.compile(r"[a-z0-9_.-]+")


class SimilarityClient(Questions[Neighbors]):
    """Asks an Ilk server; safe to share between threads, and to be kept for a program's life.

    Parameters
    ----------
    target
        ``host:port``, or any other target that gRPC resolves.
    timeout_s
        Deadline of each call in seconds, repeats included. Streams have their own.
    channel
        A channel to use instead of opening one; it stays the caller's to close.
    credentials
        Makes the connection TLS; :func:`ilk.credentials.tls_credentials` reads them from files. Without
        them it is plaintext, meant for loopback.
    token
        Sent with each call as ``authorization: Bearer``. Plaintext shows it to the network.
    metadata
        Further pairs sent with each call.
    throttled
        While the server turns calls away, send no more at a time than it takes, and raise
        :class:`ilk.errors.Overloaded` for the rest at once; :mod:`ilk.throttle` says how.

    Raises
    ------
    SettingsError
        If ``timeout_s`` is not positive, both ``channel`` and ``credentials`` are given, or ``token`` or
        ``metadata`` cannot be sent.

    Notes
    -----
    Every method raises :class:`ilk.errors.InvalidRequest` or :class:`ilk.errors.NotFound` where
    the question is at fault, and a :class:`ilk.errors.ServiceError` where the call is.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        channel: grpc.Channel | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        token: str | None = None,
        metadata: Sequence[tuple[str, str]] = (),
        throttled: bool = True,
    ) -> None:
        check_settings(timeout_s, channel, credentials)
        self._metadata = call_metadata(token, metadata)
        self._opened: grpc.Channel | None = None
        if channel is None:
            options = (*CHANNEL_OPTIONS, *past_proxies(target))
            channel = self._opened = (
                grpc.insecure_channel(target, options=options)
                if credentials is None
                else grpc.secure_channel(target, credentials, options=options)
            )
        self._stub = SimilarityServiceStub(channel)  # type: ignore[no-untyped-call]
        self._timeout_s = timeout_s
        self._throttle = Throttle() if throttled else Unthrottled()
        self._closed = False

    def __enter__(self) -> "Self":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection and end the calls that still run on it."""
        if self._opened is not None:
            self._closed = True
            self._opened.close()

    def find_neighbors(self, query: Query) -> Neighbors:
        """Return what is nearest to whom, as ``query`` says."""
        request = requests.query_request(query)
        return responses.neighbors_from(self._call(self._stub.FindNeighbors, request))

    def batch_find_neighbors(self, queries: Sequence[Query]) -> list[Neighbors | IlkError]:
        """Return the outcomes of up to 1,000 queries, in their order and from one bundle.

        A query that fails leaves its error, not raised, in its place; the others are answered.
        """
        response = self._call(self._stub.BatchFindNeighbors, requests.batch_request(queries))
        return responses.outcomes_from(response, len(queries))

    def stream_find_neighbors(
        self, queries: Iterable[Query], *, timeout_s: float | None = None
    ) -> Iterator[Neighbors | IlkError]:
        """Yield the outcomes of ``queries`` in their order while they are still being asked.

        Parameters
        ----------
        queries
            Pulled in another thread, as fast as the server takes them. What it raises is raised
            here, after the answers to the queries before.
        timeout_s
            Deadline of the stream as a whole, in seconds; ``None`` lets it run.

        Notes
        -----
        The call begins with the first ``next()`` and is cancelled when the iterator is closed. It
        is not repeated once the first answer has come.
        """
        order = StreamOrder()
        try:
            with self._begin(is_stream=True) as turn:
                call = self._stub.StreamFindNeighbors(
                    _ask_in_order(queries, order), timeout=timeout_s, metadata=self._metadata
                )
                try:
                    for response in call:
                        turn.end(grpc.StatusCode.OK)
                        yield order.answer(response)
                finally:
                    call.cancel()
        except grpc.RpcError as error:
            raise error_from_rpc(error) from error
        order.finish()

    def predict_ratings(
        self,
        rater: UserId | Profile | str,
        item_ids: Iterable[str],
        method: PredictionMethod = PredictionMethod.BASELINE_KNN,
    ) -> list[RatingPrediction]:
        """Return the stars a user (by id) or a profile would give to each of up to 1,000 items."""
        request = requests.prediction_request(rater, item_ids, method)
        return responses.predictions_from(self._call(self._stub.PredictRatings, request))

    def search_titles(self, text: str, match_count: int = 10) -> list[TitleMatch]:
        """Return up to ``match_count`` items whose titles are like ``text``, best match first."""
        request = requests.titles_request(text, match_count)
        return responses.matches_from(self._call(self._stub.SearchTitles, request))

    def get_items(self, ids: Iterable[str]) -> dict[str, Item]:
        """Return what is known of up to 1,000 items, by id; unknown ids are absent, not errors."""
        request = requests.items_request(ids)
        # No id is a fault on the wire; here it is what an answer without neighbors leads to.
        return responses.items_from(self._call(self._stub.GetItems, request)) if request.ids else {}

    def get_bundle(self) -> BundleInfo:
        """Return what the server serves: version, counts, measured recall, provenance."""
        return responses.bundle_from(self._call(self._stub.GetBundle, pb.GetBundleRequest()))

    def _begin(self, *, is_stream: bool = False) -> Turn:
        return begin_call(self._throttle, is_stream=is_stream, closed=self._closed)

    def _call(self, method: Callable[..., Any], request: object) -> Any:
        try:
            with self._begin():
                return method(request, timeout=self._timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            raise error_from_rpc(error) from error


def check_settings(timeout_s: float, channel: object, credentials: object) -> None:
    """Refuse a client's settings that are out of range or contradict each other."""
    if not 0 < timeout_s < math.inf:
        raise SettingsError(f"timeout_s must be a positive number of seconds, got {timeout_s}")
    if channel is not None and credentials is not None:
        raise SettingsError("credentials belong to the channel: give one or the other, not both")


def begin_call(throttle: Throttle, *, is_stream: bool, closed: bool) -> Turn:
    """Return the turn of a call; of a client that is closed there is none, but a ServiceError."""
    if closed:
        raise ServiceError("this client is closed; make another")
    return throttle.begin(is_stream=is_stream)


def call_metadata(token: str | None, metadata: Sequence[tuple[str, str]]) -> Metadata:
    """Return the pairs to be sent with each call; refuse those that gRPC cannot send."""
    bearer = () if token is None else (("authorization", f"Bearer {token}"),)
    for key, value in (*bearer, *metadata):
        if not _METADATA_KEY.fullmatch(key):
            raise SettingsError(
                f"metadata key {key!r}: must be lower-case letters, digits, '-', '_' and '.'"
            )
        if isinstance(value, str) and not (value.isascii() and value.isprintable()):
            raise SettingsError(
                f"what is sent as {key!r} must be printable ASCII; is there a line end in it?"
            )
    return (*bearer, *metadata)


def _ask_in_order(
    queries: Iterable[Query], order: StreamOrder
) -> Iterator[pb.StreamFindNeighborsRequest]:
    try:
        for query in queries:
            yield order.ask(query)
    except Exception as failure:  # noqa: BLE001 - kept, and raised to the caller by finish()
        order.fail(failure)
