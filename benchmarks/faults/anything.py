"""Any value of any field is sent to a server: Hypothesis draws it, the laws are held against the answer.

It refuses to know the fields: they come from the contract's descriptors.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import Message
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

from benchmarks.faults.fields import Words, requests
from benchmarks.faults.laws import Laws
from benchmarks.faults.wire import Heard, hear
from ilk.bundle import Bundle
from server.service import SERVICE

_TIMEOUT_S = 60.0


def ask_anything(address: str, bundle: Bundle, n_requests: int, seed: int) -> Heard:
    """Send ``n_requests`` requests of each rpc, drawn by ``seed``; return what was heard."""
    heard, laws, words = Heard(), Laws(bundle), Words(bundle)
    few = settings(
        max_examples=n_requests,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    with grpc.insecure_channel(address, [("grpc.max_receive_message_length", -1)]) as channel:
        for method in SERVICE.methods:
            one = partial(_ask, method.name, _sender(channel, method), laws, heard)
            drawn = given(st.data())(_drawing(requests(method.input_type, words), one))
            seeded(seed)(few(drawn))()
    return heard


def _drawing(
    drawn: st.SearchStrategy[Message], ask: Callable[[Message], None]
) -> Callable[[st.DataObject], None]:
    def one(data: st.DataObject) -> None:
        ask(data.draw(drawn))

    return one


def _ask(
    rpc: str, send: Callable[[bytes], Any], laws: Laws, heard: Heard, request: Message
) -> None:
    body = request.SerializeToString()
    hear(rpc, [body], send(body), laws, heard)


def _sender(channel: grpc.Channel, method: Any) -> Callable[[bytes], Any]:
    path = f"/{SERVICE.full_name}/{method.name}"
    if method.client_streaming:
        converse: Any = channel.stream_stream(path)
        return lambda body: converse(iter([body]), timeout=_TIMEOUT_S)
    ask: Any = channel.unary_unary(path)
    return lambda body: ask.future(body, timeout=_TIMEOUT_S)
