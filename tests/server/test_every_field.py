"""Any value of any field of any rpc: answered or refused as the contract says, never a fault."""

from typing import TYPE_CHECKING

import pytest
from google.protobuf import message_factory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.faults.contract import codes_of
from benchmarks.faults.fields import Words, requests
from benchmarks.faults.laws import Laws
from ilk.bundle import Bundle
from server.calls.service import SERVICE

if TYPE_CHECKING:
    from tests.server.conftest import Ask, Stream

RPCS = [method.name for method in SERVICE.methods]
FAULTS = {"INTERNAL", "UNAVAILABLE", "CANCELLED", "DEADLINE_EXCEEDED", "UNIMPLEMENTED"}


@pytest.mark.parametrize("rpc", RPCS)
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
def test_whatever_a_field_holds_the_answer_is_one(
    ask: "Ask", stream: "Stream", bundle: Bundle, rpc: str, data: st.DataObject
) -> None:
    method = SERVICE.methods_by_name[rpc]
    request = data.draw(requests(method.input_type, Words(bundle)))
    body = request.SerializeToString()
    (answer,) = stream([body]) if method.client_streaming else [ask(rpc, body)]
    assert answer.code in codes_of(rpc) - FAULTS, answer.message
    if answer.code == "OK":
        response = message_factory.GetMessageClass(method.output_type).FromString(answer.body)
        assert list(Laws(bundle).problems(request, response)) == []
