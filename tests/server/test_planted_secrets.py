"""Secrets are planted at every layer; none comes back in a reply, and none goes to a log or a metric."""

import contextlib
import inspect
import io
import logging
import re
import shutil
import signal
import socket
import sys
import threading
import types
import urllib.request
import warnings
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from hyperframe.frame import GoAwayFrame

from benchmarks.faults import frames
from benchmarks.faults.sound import ITEM, sound_requests
from benchmarks.processes import free_port
from ilk import SimilarityClient
from ilk.bundle import Store
from ilk.v1 import similarity_pb2 as pb
from server.calls.service import SERVICE
from server.observability import logs
from server.processes.app import serving
from server.settings import ServerSettings

if TYPE_CHECKING:
    from tests.server.conftest import Start

SECRET = "planted-4f1c9a"
TIMEOUT_S = 30.0
# Code of the server's process that a caller's process runs as well, or that does not serve calls.
NOT_SERVING = ("ilk.v1", "ilk.client", "ilk.terminal")
# The last doors themselves, and what they are made of: behind them is nobody to keep a secret.
DOORS = {
    "server.calls.service._Handlers.service",
    "server.calls.guard.fail",
    "server.calls.guard.failing",
    "server.calls.call.made_up_id",
    "server.calls.call.log_failure",
    "server.status.internal",
}


def raise_secret(*_: Any, **__: Any) -> Any:
    # Put together here: a traceback shows the line, and may.
    secret = "-".join(("planted", "4f1c9a"))
    raise ValueError(secret, {secret: secret.encode()})


def functions(ran: Collection[types.CodeType]) -> dict[str, types.FunctionType]:
    """Return those functions and methods of the kernel and the server that ``ran``, by name."""
    found: dict[str, types.FunctionType] = {}
    for name, module in sorted(sys.modules.items()):
        if name.split(".")[0] in ("ilk", "server") and not name.startswith(NOT_SERVING):
            for part in vars(module).values():
                for holder in (module, part) if inspect.isclass(part) else (module,):
                    for value in vars(holder).values():
                        function = getattr(value, "__func__", getattr(value, "fget", value))
                        if inspect.isfunction(function) and function.__module__ == name:
                            found[f"{name}.{function.__qualname__}"] = function
    return {
        name: function
        for name, function in found.items()
        if function.__code__ in ran
        and not function.__code__.co_freevars
        and name not in DOORS
        and not name.startswith("server.observability.logs.")
    }


@contextlib.contextmanager
def failing(function: types.FunctionType) -> Iterator[None]:
    """Let a function raise a secret, whoever has got hold of it."""
    whole = function.__code__
    _replace(function, raise_secret.__code__)
    try:
        yield
    finally:
        _replace(function, whole)


def _replace(function: types.FunctionType, code: types.CodeType) -> None:
    with warnings.catch_warnings():
        # From Python 3.13 on, of a coroutine's code with a plain function's.
        warnings.simplefilter("ignore", DeprecationWarning)
        function.__code__ = code


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """Return what all loggers, at their most talkative, write in both formats."""
    written = io.StringIO()
    handlers = [logging.StreamHandler(written), logging.StreamHandler(written)]
    handlers[0].setFormatter(logs.JsonFormatter())
    handlers[1].setFormatter(logs.TextFormatter())
    root = logging.getLogger()
    before = root.level
    root.setLevel(1)
    for handler in handlers:
        root.addHandler(handler)
    yield written
    for handler in handlers:
        root.removeHandler(handler)
    root.setLevel(before)


async def told(channel: grpc.aio.Channel, rpc: str, body: bytes) -> tuple[str, str]:
    """Return the code of a call, and all that came with it: body, text, metadata before and after."""
    path = f"/{SERVICE.full_name}/{rpc}"
    if SERVICE.methods_by_name[rpc].client_streaming:
        converse: Any = channel.stream_stream(path)
        call = converse(iter([body]), timeout=TIMEOUT_S)
    else:
        ask: Any = channel.unary_stream(path)
        call = ask(body, timeout=TIMEOUT_S)
    came: list[object] = []
    with contextlib.suppress(grpc.RpcError):
        came += [reply async for reply in call]
    came += [await call.details(), await call.initial_metadata(), await call.trailing_metadata()]
    return (await call.code()).name, repr(came)


@contextlib.contextmanager
def called() -> Iterator[set[types.CodeType]]:
    """Take note of what runs, here and in threads that are made meanwhile."""
    found: set[types.CodeType] = set()

    def note(frame: types.FrameType, event: str, _: object) -> None:
        if event == "call":
            found.add(frame.f_code)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


async def test_no_functions_last_words_reach_a_caller_or_a_log(
    sample_store: Path, user_id: str, logged: io.StringIO
) -> None:
    sound = sound_requests(user_id)
    few = {"BatchFindNeighbors": 1, "StreamFindNeighbors": 1}
    calls = [(rpc, body) for rpc, bodies in sound.items() for body in bodies[: few.get(rpc)]]
    ended: dict[str, set[str]] = {}
    # What looks for new bundles shall not come by what fails here: it would end with its thread.
    settings = ServerSettings(sample_store, port=0, grace_s=0.5, poll_interval_s=600.0)
    with called() as codes:
        async with (
            serving(settings) as running,
            grpc.aio.insecure_channel(f"127.0.0.1:{running.port}") as channel,
        ):
            for rpc, body in calls:
                assert (await told(channel, rpc, body))[0] == "OK"
            sys.setprofile(None)
            for name, function in functions(codes).items():
                with failing(function):
                    for rpc, body in calls:
                        code, came = await told(channel, rpc, body)
                        assert SECRET not in came, (name, rpc, came)
                        ended.setdefault(code, set()).add(name)
    assert ended.keys() <= {"OK", "INTERNAL"}, {c: n for c, n in ended.items() if c != "OK"}
    assert len(ended["INTERNAL"]) > 50
    assert "ValueError" in logged.getvalue()
    assert SECRET not in logged.getvalue()


def test_no_answer_has_room_for_a_vector() -> None:
    waiting = [method.output_type for method in SERVICE.methods]
    met: dict[str, Descriptor] = {}
    while waiting:
        kind = waiting.pop()
        if kind.full_name not in met:
            met[kind.full_name] = kind
            waiting += [field.message_type for field in kind.fields if field.message_type]
    assert len(met) > 10
    repeated = [f for kind in met.values() for f in kind.fields if f.is_repeated]
    texts_or_messages = {FieldDescriptor.CPPTYPE_STRING, FieldDescriptor.CPPTYPE_MESSAGE}
    assert {
        field.full_name for field in repeated if field.cpp_type not in texts_or_messages
    } == set()
    assert [f for kind in met.values() for f in kind.fields if f.type == f.TYPE_BYTES] == []


def test_nothing_that_callers_send_goes_to_the_log_or_a_metric_and_no_path_to_callers(
    start: "Start", two_versions: Path, tmp_path: Path, wait_until: "Callable[..., None]"
) -> None:
    place, sent = "planted-place", SECRET
    store = Store(shutil.copytree(two_versions, tmp_path / place))
    first, second = store.list_versions()
    store.point_current_at(first)
    metrics = free_port()
    program = start(
        *("--store", str(store.path), "--port", "0", "--metrics-port", str(metrics), "--log-calls"),
        *("--log-format", "json", "--workers", "2"),
    )
    address = program.address()
    heard = list(_told_all(address, sent))
    with (store.folder_of(second) / "gram.npy").open("ab") as file:
        file.write(b"x")
    store.point_current_at(second)
    program.process.send_signal(signal.SIGHUP)
    with SimilarityClient(address, timeout_s=TIMEOUT_S) as client:
        wait_until(lambda: bool(client.get_bundle().refused))
        heard.append(repr(client.get_bundle()))
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics") as page:
        counted = page.read().decode()
    program.process.terminate()
    code, log = program.ended()
    assert (code, "gram.npy" in log, "gram.npy" in heard[-1]) == (0, True, True)
    assert sent not in log
    assert "ilk_calls_total" in counted
    assert not {sent, place} & set(re.findall("planted-[a-z0-9]+", counted))
    assert [text for text in heard if place in text] == []


def _told_all(address: str, sent: str) -> Iterator[str]:
    """Yield what callers are told who send a secret wherever there is room for one."""
    queries = [
        pb.FindNeighborsRequest(item_id=sent),
        pb.FindNeighborsRequest(user_id=sent),
        pb.FindNeighborsRequest(text=sent),
        pb.FindNeighborsRequest(profile=pb.Profile(liked_item_ids=[sent], favorite_genres=[sent])),
        pb.FindNeighborsRequest(item_id=ITEM, filter=pb.Filter(any_genres=[sent])),
        pb.FindNeighborsRequest(item_id=ITEM, filter=pb.Filter(include_ids=[sent])),
    ]
    requests = [
        *(("FindNeighbors", query) for query in queries),
        ("BatchFindNeighbors", pb.BatchFindNeighborsRequest(queries=queries)),
        ("PredictRatings", pb.PredictRatingsRequest(user_id=sent, item_ids=[sent])),
        ("SearchTitles", pb.SearchTitlesRequest(text=sent)),
        ("GetItems", pb.GetItemsRequest(ids=[sent])),
        (sent, pb.GetBundleRequest()),
    ]
    with grpc.insecure_channel(address) as channel:
        for rpc, request in requests:
            call: Any = channel.unary_unary(f"/{SERVICE.full_name}/{rpc}")
            try:
                yield repr(call(request.SerializeToString(), metadata=[("x-planted", sent)]))
            except grpc.RpcError as error:
                yield repr(error)
    host, _, port = address.rpartition(":")
    for frame in (
        frames.opened(1, frames.headers(frames.PATH, ("grpc-timeout", sent))),
        GoAwayFrame(0, last_stream_id=0, error_code=77, additional_data=sent.encode()),
        sent.encode(),
    ):
        with socket.create_connection((host, int(port))) as peer:
            frames.greet(peer)
            frames.send(peer, frame)
            yield repr(frames.replies(peer, 0.2))
