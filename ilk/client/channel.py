"""Knows how a server is reached: what a channel is told, which calls are repeated, what goes with each.

It refuses to know what is asked.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from ilk.client.throttle import Throttle, Turn
from ilk.errors import ServiceError, SettingsError

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

# gRPC takes a deadline that is further away for one that has passed.
_LONGEST_S = 1e9
_LOOPBACK = re.compile(
    r"(?:dns:(?://[^/]*)?/?|ipv[46]:)?(?:localhost|127(?:\.\d+){3}|\[::1\])(?::\d+)?"
)


def past_proxies(target: str) -> tuple[tuple[str, Any], ...]:
    """Return the options with which a channel to this machine goes past the proxies of the environment.

    gRPC goes by the one that ``http_proxy``, ``https_proxy`` or ``grpc_proxy`` names, even to this
    machine's own servers, which no proxy can reach.
    """
    return (("grpc.enable_http_proxy", 0),) if _LOOPBACK.fullmatch(target) else ()


Metadata: TypeAlias = tuple[tuple[str, str | bytes], ...]
GivenMetadata: TypeAlias = Mapping[str, str | bytes] | Sequence[tuple[str, str | bytes]]
_METADATA_KEY = re.compile(r"[a-z0-9_.-]+")


def check_settings(timeout_s: float, channel: object, credentials: object) -> None:
    """Refuse a client's settings that are out of range or contradict each other."""
    check_timeout(timeout_s)
    if channel is not None and credentials is not None:
        raise SettingsError("credentials belong to the channel: give one or the other, not both")


def check_timeout(timeout_s: float) -> None:
    """Refuse a deadline that is over, or that gRPC would take for one that is."""
    if not 0 < timeout_s <= _LONGEST_S:
        raise SettingsError(
            f"timeout_s must be a positive number of seconds, at most {_LONGEST_S:g}, got {timeout_s}"
        )


def begin_call(throttle: Throttle, *, is_stream: bool, closed: bool) -> Turn:
    """Return the turn of a call; of a client that is closed there is none, but a ServiceError."""
    if closed:
        raise ServiceError("this client is closed; make another")
    return throttle.begin(is_stream=is_stream)


def call_metadata(token: str | None, metadata: GivenMetadata) -> Metadata:
    """Return the pairs to be sent with each call; refuse those that gRPC cannot send."""
    if token is not None and (not isinstance(token, str) or not token):
        raise SettingsError("token must be text, and not empty; without one, leave it out")
    bearer = () if token is None else (("authorization", f"Bearer {token}"),)
    pairs = (*bearer, *(metadata.items() if isinstance(metadata, Mapping) else metadata))
    for key, value in pairs:
        if not (isinstance(key, str) and isinstance(value, str | bytes)):
            raise SettingsError(
                f"metadata must be pairs of texts, or of a text and bytes, not {key!r}"
            )
        if not _METADATA_KEY.fullmatch(key):
            raise SettingsError(
                f"metadata key {key!r}: must be lower-case letters, digits, '-', '_' and '.'"
            )
        if key.endswith("-bin") is not isinstance(value, bytes):
            raise SettingsError(f"what is sent as {key!r}: bytes go with keys that end in -bin")
        if isinstance(value, str) and not (value.isascii() and value.isprintable()):
            raise SettingsError(
                f"what is sent as {key!r} must be printable ASCII; is there a line end in it?"
            )
    return pairs
