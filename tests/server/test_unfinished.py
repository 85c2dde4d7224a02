"""Requests that are not sent to their end hold neither memory nor a place for long."""

import socket
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hyperframe.frame import DataFrame

from benchmarks.faults.breakings import GOOD
from benchmarks.faults.frames import call, greet, headers, opened, replies, send
from server.access.callers import Caller, Callers, Scope, new_token, to_bytes
from server.settings import ServerSettings
from server.wire import unfinished
from server.wire.unfinished import Unfinished
from tests.server.conftest import Serve

EXHAUSTED, UNAUTHENTICATED, DENIED = "8", "16", "7"
# Answers come in milliseconds; what the server waits for never does.
SILENCE_S = 1.0


@dataclass(eq=False)
class Asking:
    """A call that waits for its message."""

    awaits_message: bool = True
    told: list[str] = field(default_factory=list)

    def let_go(self, why: str) -> None:
        self.told.append(why)


def connect(target: str) -> socket.socket:
    host, _, port = target.rpartition(":")
    peer = socket.create_connection((host.strip("[]"), int(port)))
    greet(peer)
    return peer


def statuses(peer: socket.socket, wait_s: float = SILENCE_S) -> list[str]:
    return [told["grpc-status"] for told in replies(peer, wait_s) if "grpc-status" in told]


def test_a_message_may_take_ten_looks() -> None:
    slow, quick = Asking(), Asking()
    calls = [slow, quick]
    watched = Unfinished(calls)
    for _ in range(10):
        watched.look()
    quick.awaits_message = False
    assert (slow.told, quick.told) == ([], [])
    watched.look()
    assert len(slow.told) == 1
    assert quick.told == []


def test_of_many_that_are_slow_the_slowest_go() -> None:
    first, later = [Asking() for _ in range(50)], [Asking() for _ in range(50)]
    calls = list(first)
    watched = Unfinished(calls)
    watched.look()
    calls[:0] = later
    watched.look()
    assert not any(call.told for call in calls)
    watched.look()
    assert [len(call.told) for call in first] == [1] * 36 + [0] * 14
    assert not any(call.told for call in later)


def test_many_that_have_just_come_are_left_alone() -> None:
    calls = [Asking() for _ in range(1000)]
    Unfinished(calls).look()
    assert not any(call.told for call in calls)


def test_a_call_without_a_message_is_let_go(
    serve: Serve,
    sample_store: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("server.wire.transport.LOOK_S", 0.05)
    monkeypatch.setattr(unfinished, "_MOST_LOOKS", 3)
    with serve(ServerSettings(sample_store, port=0)) as target, connect(target) as peer:
        send(peer, opened(1, headers()), DataFrame(1, data=GOOD[:-1]), *call(3, GOOD))
        assert statuses(peer) == ["0", EXHAUSTED]
        assert "were let go: 1" in caplog.text


@pytest.mark.parametrize(
    ("scope", "sends_token", "status"),
    [
        (Scope.QUERY, False, UNAUTHENTICATED),
        (Scope.ADMIN, True, DENIED),
    ],
)
def test_who_may_not_call_is_told_so_before_the_message_comes(
    serve: Serve,
    sample_store: Path,
    tmp_path: Path,
    scope: Scope,
    sends_token: bool,
    status: str,
) -> None:
    token, digest = new_token()
    callers = tmp_path / "callers"
    callers.write_bytes(to_bytes(Callers([Caller("it", frozenset({scope}), digest)])))
    told = [("authorization", f"Bearer {token}")] if sends_token else []
    with (
        serve(ServerSettings(sample_store, port=0, callers=callers)) as target,
        connect(target) as peer,
    ):
        send(peer, opened(1, [*headers(), *told]))
        assert statuses(peer) == [status]


def test_who_is_over_its_rate_is_told_so_before_the_message_comes(
    serve: Serve, sample_store: Path
) -> None:
    settings = ServerSettings(sample_store, port=0, rate_limit=1.0, burst_s=1.0)
    with serve(settings) as target:
        with connect(target) as peer:
            send(peer, *call(1, GOOD))
            assert statuses(peer) == ["0"]
        with connect(target) as peer:
            send(peer, opened(1, headers()))
            assert statuses(peer) == [EXHAUSTED]
