"""What a calling service imports: the client, and what a channel of its own is to be told.

It needs no numerics: grpcio, protobuf and the standard library are enough.
"""

from ilk.client.channel import CHANNEL_OPTIONS, DEFAULT_TARGET, DEFAULT_TIMEOUT_S, SERVICE_CONFIG
from ilk.client.sync import SimilarityClient

__all__ = [
    "CHANNEL_OPTIONS",
    "DEFAULT_TARGET",
    "DEFAULT_TIMEOUT_S",
    "SERVICE_CONFIG",
    "SimilarityClient",
]
