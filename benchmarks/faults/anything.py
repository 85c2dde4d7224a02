"""Any value of any field is sent to a server: Hypothesis draws it, the laws are held against the answer.

It refuses to know the fields: they come from the contract's descriptors.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from google.protobuf.message import Message
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

from benchmarks.faults.fields import Words, requests
from benchmarks.faults.laws import Laws
from benchmarks.faults.wire import Heard, calls, hear
from ilk.bundle import Bundle
from server.calls.service import SERVICE


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
    with calls(address) as call:
        for method in SERVICE.methods:
            one = partial(_ask, method.name, call, laws, heard)
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
    rpc: str, call: Callable[[str, list[bytes]], Any], laws: Laws, heard: Heard, request: Message
) -> None:
    sent = [request.SerializeToString()]
    hear(rpc, sent, call(rpc, sent), laws, heard)
