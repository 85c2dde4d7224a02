"""Every limit that the contract's comments name is one: what is at it is taken, what is over it is not.

The comments are read from the contract itself: a limit that is named there and not tried here fails.
"""

import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

from benchmarks.faults.bodies import varint
from benchmarks.faults.contract import kinds_asked_with
from ilk.v1 import similarity_pb2 as pb
from server.calls.service import SERVICE
from server.settings import ServerSettings
from tests.server.conftest import ended
from tests.server.limits import ID, LIMITS, LONG_ID, MATRIX, Limit, batch, query

if TYPE_CHECKING:
    from tests.server.conftest import Ask, Serve, Stream

ROOT = Path(__file__).parents[2]
MIB = 1 << 20
# How comments name limits.
NAMED = re.compile(
    r"in \[[^]]+\]|\d[\d,]* to [\d,]*\d(?: bytes| characters)?|up to \d[\d,]*(?: ids| bytes)?"
    r"|at least one|not empty|not all of them blank|above 0|more than [\d,]*\d|over \d+ [KM]iB"
    r"|on the bundle's scale",
    re.IGNORECASE,
)


# Tried below, for they end otherwise.
ELSEWHERE = {
    ("SimilarityService", "over 4 mib"),
    ("SimilarityService", "over 8 kib"),
    ("SimilarityService", "over 16 kib"),
    ("StreamFindNeighborsRequest.request_id", "up to 256 bytes"),
}


def comments() -> Iterator[tuple[str, str]]:
    """Yield what is said of the service, its rpcs, and the messages and fields that are asked with."""
    target = ROOT / ".cache" / "similarity.desc"
    target.parent.mkdir(exist_ok=True)
    folders = (ROOT / "proto", resources.files("grpc_tools") / "_proto")
    options = ("--include_source_info", f"--descriptor_set_out={target}")
    proto = "ilk/v1/similarity.proto"
    assert protoc.main(["", *(f"-I{folder}" for folder in folders), *options, proto]) == 0
    (file,) = FileDescriptorSet.FromString(target.read_bytes()).file
    asked = {kind.name for kind in kinds_asked_with()}
    for told in file.source_code_info.location:
        path, text = list(told.path), " ".join(told.leading_comments.split())
        if path[:1] == [6] and len(path) == 2:
            yield file.service[path[1]].name, text
        elif path[:1] == [6] and path[2] == 2 and len(path) == 4:
            yield file.service[path[1]].method[path[3]].name, text
        elif path[:1] == [4] and file.message_type[path[1]].name in asked:
            message = file.message_type[path[1]]
            fields = [message.field[path[3]].name] if len(path) == 4 and path[2] == 2 else []
            yield ".".join([message.name, *fields]), text


def test_every_limit_that_a_comment_names_is_tried() -> None:
    named = {
        (where, words[0].lower()) for where, text in comments() for words in NAMED.finditer(text)
    }
    tried = {(limit.where, limit.words.lower()) for limit in LIMITS} | ELSEWHERE
    # Words that share a comment with others of their kind.
    assert named - tried == set()
    assert tried - named == {("Filter", "100 genres")}


def names(limit: Limit) -> str:
    return f"{limit.where} {limit.words} ({limit.field})"


@pytest.mark.parametrize("limit", LIMITS, ids=names)
def test_what_is_at_a_limit_is_taken(ask: "Ask", limit: Limit) -> None:
    for request in limit.at:
        answer = ask(limit.rpc, request.SerializeToString())
        assert answer.code == limit.taken, answer.message


@pytest.mark.parametrize("limit", LIMITS, ids=names)
def test_what_is_over_a_limit_is_refused_and_its_field_named(ask: "Ask", limit: Limit) -> None:
    for request in limit.over:
        answer = ask(limit.rpc, request.SerializeToString())
        assert (answer.code, answer.field) == ("INVALID_ARGUMENT", limit.field), answer.message


def test_a_request_id_of_a_stream_has_up_to_256_bytes(stream: "Stream") -> None:
    sent = [pb.StreamFindNeighborsRequest(request_id=name, query=query()) for name in (ID, LONG_ID)]
    answers = stream([message.SerializeToString() for message in sent])
    taken, refused = (pb.StreamFindNeighborsResponse.FromString(a.body) for a in answers)
    assert (taken.request_id, taken.HasField("response")) == (ID, True)
    assert (refused.error.code, refused.error.field) == (3, "request_id")


@pytest.mark.parametrize(("known", "code"), [([MATRIX], "OK"), ([], "NOT_FOUND")])
def test_of_ids_that_may_be_unknown_at_least_one_is_known(
    ask: "Ask", known: list[str], code: str
) -> None:
    liked = pb.Profile(liked_item_ids=["no-such-film", *known])
    asked = query(profile=liked, ignore_unknown_ids=True)
    assert ask("FindNeighbors", asked.SerializeToString()).code == code


def test_a_message_has_up_to_4_mib(ask: "Ask") -> None:
    # A field that nobody knows: its tag, four bytes of length, and the rest.
    for size, code in ((4 * MIB, "OK"), (4 * MIB + 1, "RESOURCE_EXHAUSTED")):
        data = b"\xa2\x06" + varint(size - 6) + bytes(size - 6)
        assert len(data) == size
        assert ask("GetBundle", data).code == code


@pytest.mark.parametrize(("kib", "code"), [(7, "OK"), (17, "RESOURCE_EXHAUSTED")])
def test_metadata_has_up_to_8_kib_and_never_more_than_16(
    channel: grpc.Channel, kib: int, code: str
) -> None:
    call: Any = channel.unary_unary(f"/{SERVICE.full_name}/GetBundle")
    try:
        call(b"", metadata=[("x-much", "v" * (kib << 10))], timeout=30)
        told = "OK"
    except grpc.RpcError as error:
        told = ended(error).code
    assert told == code


def test_work_that_is_more_than_a_request_may_ask_for_is_refused(
    serve: "Serve", sample_store: Path
) -> None:
    settings = ServerSettings(sample_store, port=0, max_cost=1e6, grace_s=0.5)
    with serve(settings) as address, grpc.insecure_channel(address) as channel:
        for rpc, request, field in (
            ("FindNeighbors", query(neighbor_count=1000), "neighbor_count"),
            ("BatchFindNeighbors", batch(50), "queries"),
        ):
            call: Any = channel.unary_unary(f"/{SERVICE.full_name}/{rpc}")
            with pytest.raises(grpc.RpcError) as refused:
                call(request.SerializeToString(), timeout=30)
            told = ended(refused.value)
            assert (told.code, told.field) == ("INVALID_ARGUMENT", field)
