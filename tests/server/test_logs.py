"""What is logged: enough to find a fault by its request id, and nothing that a caller sent."""

import asyncio
import contextlib
import gc
import json
import logging
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import hpack
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from ilk import SimilarityClient
from ilk.errors import BundleCorrupt, NotFound
from ilk.types import ItemId, Query, Text
from ilk.v1 import similarity_pb2 as pb
from ilk.v1.similarity_pb2_grpc import SimilarityServiceStub
from server.calls import tracing
from server.calls.call import ByKind, Call
from server.calls.guard import Guard
from server.load.traffic import Traffic
from server.observability.logs import (
    JsonFormatter,
    TextFormatter,
    cause_of,
    is_not_of_a_lost_call,
    watch_loop,
)
from server.observability.metrics import Counts
from tests.server.conftest import SERVICE

if TYPE_CHECKING:
    from tests.server.conftest import Start

SECRET = "a-secret-of-the-callers"
TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Context:
    """As much of gRPC's context as a call reads."""

    def __init__(self, *metadata: tuple[str, str | bytes]) -> None:
        self._metadata = metadata

    def time_remaining(self) -> None:
        return None

    def invocation_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        return self._metadata


def a_call(*metadata: tuple[str, str | bytes]) -> Call:
    context: Any = Context(*metadata)
    return Call(context, ByKind(Counts(), "FindNeighbors"))


def a_record(**fields: object) -> logging.LogRecord:
    record = logging.LogRecord("ilk.server", logging.ERROR, __file__, 1, "%s", ("told",), None)
    vars(record).update(fields)
    return record


def test_a_json_line_has_time_level_message_worker_and_the_fields_given() -> None:
    told = json.loads(JsonFormatter(worker=3).format(a_record(request_id="7", path=Path("x"))))
    assert told.pop("time").endswith("Z")
    fields = {"level": "ERROR", "message": "told", "worker": 3, "request_id": "7", "path": "x"}
    assert told == fields


def test_a_line_for_people_names_the_worker_if_there_are_several() -> None:
    assert TextFormatter(worker=3).format(a_record()).endswith("ERROR [worker 3] told")
    assert TextFormatter().format(a_record()).endswith("ERROR told")


def test_causes_are_told_without_the_texts_of_foreign_errors() -> None:
    try:
        try:
            int(SECRET)
        except ValueError as error:
            raise BundleCorrupt("gram.npy is cut short") from error
    except BundleCorrupt as error:
        told = cause_of(error)
    assert "BundleCorrupt: gram.npy is cut short" in told
    assert "caused by ValueError" in told
    assert "in test_causes_are_told" in told
    assert SECRET not in told.replace("int(SECRET)", "")


def test_ids_that_callers_sent_are_not_told_as_causes() -> None:
    error = RuntimeError()
    error.__cause__ = NotFound("user", "alice")
    assert "NotFound" in cause_of(error)
    assert "alice" not in cause_of(error)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("order-66", "order-66"),
        ("x" * 200, "x" * 128),
        ("", None),
        ("two\nlines", None),
        ("é", None),
        (b"bytes", None),
    ],
)
def test_the_callers_request_id_is_kept_where_it_is_fit_for_a_log(
    given: str | bytes, kept: str | None
) -> None:
    call = a_call(("x-request-id", given))
    assert call.request_id == call.request_id
    if kept is None:
        assert len(call.request_id) == 16
        assert call.request_id.isalnum()
    else:
        assert call.request_id == kept


async def test_a_fault_is_logged_under_the_callers_request_id_and_echoes_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken(data: bytes, call: Call) -> bytes:
        raise RuntimeError(SECRET)

    class Aborting(Context):
        async def abort(self, code: grpc.StatusCode, text: str, metadata: object) -> None:
            self.told = (code, text, metadata)
            raise grpc.aio.AbortError

    context: Any = Aborting(("x-request-id", "order-66"))
    with pytest.raises(grpc.aio.AbortError):
        await Guard(Traffic(1), Counts()).unary("GetItems", broken)(b"", context)
    code, text, metadata = context.told
    assert code is grpc.StatusCode.INTERNAL
    assert text.endswith("request order-66")
    assert metadata == (("x-request-id", "order-66"),)
    assert "request order-66 failed" in caplog.text
    assert SECRET not in caplog.text


def test_every_line_of_a_servers_log_is_json_and_tells_nothing_that_callers_sent(
    start: "Start", sample_store: Path
) -> None:
    program = start(
        *("--store", str(sample_store), "--port", "0", "--log-format", "json", "--log-calls")
    )
    address = program.address()
    with SimilarityClient(address, metadata=(("x-request-id", "order-66"),)) as client:
        client.search_titles(SECRET)
        client.batch_find_neighbors([Query(ItemId(SECRET)), Query(Text("comedy"))])
        list(client.stream_find_neighbors([Query(ItemId(SECRET))]))
        with pytest.raises(NotFound):
            client.find_neighbors(Query(ItemId(SECRET)))
    program.process.terminate()
    code, log = program.ended()
    assert code == 0
    lines = [json.loads(line) for line in log.splitlines()]
    assert SECRET not in log
    calls = {line["method"]: line for line in lines if line.get("request_id") == "order-66"}
    assert calls["FindNeighbors"]["code"] == "NOT_FOUND"
    assert calls["FindNeighbors"]["kind"] == "item"
    assert calls["SearchTitles"]["code"] == calls["StreamFindNeighbors"]["code"] == "OK"
    assert all(line["took_ms"] > 0 for line in calls.values())


@pytest.fixture
def spans() -> Iterator[tuple[TracerProvider, InMemorySpanExporter]]:
    provider, exporter = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider, exporter
    provider.shutdown()


def test_a_call_becomes_a_span_of_its_callers_trace(
    spans: tuple[TracerProvider, InMemorySpanExporter],
) -> None:
    provider, exporter = spans
    call = a_call(("traceparent", f"00-{TRACE_ID}-{PARENT_ID}-01"), ("x-request-id", "order-66"))
    call.kind, call.search_s, call.requested, call.returned = "item", 0.002, 10, 9
    tracing.observer(provider)("FindNeighbors", call, 0.003)
    (span,) = exporter.get_finished_spans()
    assert span.name == "ilk.v1.SimilarityService/FindNeighbors"
    assert span.kind is SpanKind.SERVER
    assert span.parent is not None
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE_ID, PARENT_ID)
    assert span.start_time is not None
    assert span.end_time is not None
    assert span.end_time - span.start_time == 3_000_000
    attributes = dict(span.attributes or {})
    assert attributes["ilk.request_id"] == "order-66"
    assert attributes["ilk.neighbors.returned"] == 9
    assert attributes["rpc.grpc.status_code"] == 0
    assert span.status.is_unset


@pytest.mark.parametrize(("code", "is_fault"), [("INTERNAL", True), ("NOT_FOUND", False)])
def test_only_a_fault_of_the_server_is_an_error_of_its_span(
    spans: tuple[TracerProvider, InMemorySpanExporter], code: str, is_fault: bool
) -> None:
    provider, exporter = spans
    call = a_call()
    call.code = code
    tracing.observer(provider)("FindNeighbors", call, 0.003)
    (span,) = exporter.get_finished_spans()
    assert span.parent is None
    assert span.status.is_ok is (not is_fault)


def test_a_streams_span_and_a_batchs_are_made_of_real_calls(
    start: "Start", sample_store: Path
) -> None:
    program = start(
        *("--store", str(sample_store), "--port", "0", "--tracing", "--workers", "1"),
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1",
        OTEL_EXPORTER_OTLP_TIMEOUT="1",
    )
    with grpc.insecure_channel(program.address()) as channel:
        stub: Any = SimilarityServiceStub(channel)  # type: ignore[no-untyped-call]
        query = pb.FindNeighborsRequest(item_id="the-matrix-1999")
        assert stub.FindNeighbors(query, timeout=30).neighbors
        (told,) = stub.StreamFindNeighbors(
            iter([pb.StreamFindNeighborsRequest(query=query)]), timeout=30
        )
        assert told.response.neighbors
    program.process.terminate()
    code, log = program.ended()
    assert code == 0, log


class Quoting(ValueError):
    """An error whose text is what somebody sent."""


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """Return what is written to the server's log from now on."""
    written: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(JsonFormatter().format(record))
            written.append(TextFormatter().format(record))

    handler = Kept()
    logging.getLogger().addHandler(handler)
    yield written
    logging.getLogger().removeHandler(handler)


def test_the_trace_of_a_foreign_error_is_logged_without_its_text(lines: list[str]) -> None:
    try:
        raise Quoting(SECRET)
    except Quoting:
        logging.getLogger("some.library").exception("it failed")
    assert all("Quoting" in line and SECRET not in line for line in lines)
    assert len(lines) == 2


async def test_what_an_event_loop_says_of_a_lost_error_holds_no_text_of_it(
    lines: list[str],
) -> None:
    loop = asyncio.get_running_loop()
    watch_loop(loop)

    async def lost() -> None:
        raise Quoting(SECRET)

    task = asyncio.ensure_future(lost())
    await asyncio.sleep(0)
    del task
    gc.collect()
    assert any("never retrieved" in line for line in lines)
    assert all(SECRET not in line for line in lines)


def test_a_call_that_its_caller_let_go_is_no_error_of_the_servers() -> None:
    class ExecuteBatchError(Exception):
        pass

    record = a_record()
    assert is_not_of_a_lost_call(record)
    try:
        raise ExecuteBatchError
    except ExecuteBatchError:
        record.exc_info = sys.exc_info()
    assert not is_not_of_a_lost_call(record)


def test_metadata_that_is_no_text_is_in_no_log(start: "Start", sample_store: Path) -> None:
    program = start("--store", str(sample_store), "--port", "0", "--workers", "1")
    host, _, port = program.address().rpartition(":")
    head = hpack.Encoder().encode(
        [
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", f"/{SERVICE}/GetBundle".encode()),
            (b":authority", b"x"),
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
            (b"authorization", b"Bearer planted-secret\xff"),
        ]
    )
    with socket.create_connection((host, int(port)), timeout=2) as peer:
        peer.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04" + b"\0" * 5)
        peer.sendall(len(head).to_bytes(3, "big") + b"\x01\x04" + b"\0\0\0\x01" + head)
        peer.sendall(b"\0\0\x05\0\x01" + b"\0\0\0\x01" + b"\0" * 5)
        with contextlib.suppress(TimeoutError):
            while peer.recv(4096):
                pass
    program.process.terminate()
    code, log = program.ended()
    assert code == 0
    assert "planted-secret" not in log
