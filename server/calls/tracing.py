"""Knows how a call becomes a span of OpenTelemetry, part of its caller's trace.

It refuses to cost anything while it is off, and to hold up a call: a span is made when its call has
ended. What callers ask stays out of it.
"""

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from google.rpc import code_pb2

from ilk.errors import SettingsError
from server.calls.call import Call, Observer

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

_SERVICE: Final = "ilk.v1.SimilarityService"
# Statuses that are the server's fault; others are the caller's, and no error of this span.
_FAULTS: Final = {"INTERNAL", "UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "UNKNOWN"}


@contextlib.contextmanager
def tracing() -> Iterator[Observer]:
    """Yield what makes a span of each call, and send what is left of them at the end.

    Where they are sent, and which, OpenTelemetry reads from variables of the environment:
    ``OTEL_EXPORTER_OTLP_ENDPOINT``, ``OTEL_TRACES_SAMPLER``, ``OTEL_SERVICE_NAME``.

    Raises
    ------
    SettingsError
        If OpenTelemetry is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider as Provider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise SettingsError("--tracing needs OpenTelemetry; install the extra: otel") from error
    named = Resource({SERVICE_NAME: "ilk"}).merge(Resource.create())
    provider = Provider(resource=named)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    try:
        yield observer(provider)
    finally:
        provider.shutdown()


def observer(provider: "TracerProvider") -> Observer:
    """Return what makes a span of each call with the tracers of ``provider``."""
    from opentelemetry.trace import SpanKind, StatusCode
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    tracer = provider.get_tracer("ilk.server")
    propagator = TraceContextTextMapPropagator()

    def observe(method: str, call: Call, took_s: float) -> None:
        end_ns = time.time_ns()
        span = tracer.start_span(
            f"{_SERVICE}/{method}",
            context=propagator.extract(call.metadata),
            kind=SpanKind.SERVER,
            start_time=end_ns - round(1e9 * took_s),
            attributes={
                "rpc.system": "grpc",
                "rpc.service": _SERVICE,
                "rpc.method": method,
                "rpc.grpc.status_code": code_pb2.Code.Value(call.code),
                "ilk.request_id": call.request_id,
                "ilk.query.kind": call.kind,
                "ilk.query.search.duration_ms": 1e3 * call.search_s,
                "ilk.neighbors.requested": call.requested,
                "ilk.neighbors.returned": call.returned,
            },
        )
        if call.code in _FAULTS:
            span.set_status(StatusCode.ERROR)
        span.end(end_ns)

    return observe
