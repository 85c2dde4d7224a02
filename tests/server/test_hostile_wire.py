"""Bent bodies and broken connections: small runs of the bars over the wire in ``benchmarks/faults``."""

import math
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import message_factory
from google.protobuf.message import Message

from benchmarks.faults import bodies, breakings, frames, wire
from benchmarks.faults.anything import ask_anything
from benchmarks.faults.contract import codes_of, kinds_asked_with
from benchmarks.faults.laws import Laws
from benchmarks.faults.odd_world import built
from benchmarks.faults.sound import ITEM, sound_requests
from benchmarks.faults.watched import Watched, watched
from ilk.bundle import Bundle
from ilk.types import ItemId, Query
from server.calls.service import SERVICE

SEED = 7


@pytest.fixture(scope="module")
def seen(sample_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Yield a server with two workers and a supervisor."""
    query = Query(ItemId(ITEM), neighbor_count=3)
    with watched(sample_store, query, tmp_path_factory.mktemp("watched")) as running:
        yield running


def test_every_rpc_is_told_with_which_codes_it_may_end() -> None:
    for method in SERVICE.methods:
        assert "OK" in codes_of(method.name)
        assert {"INTERNAL", "UNAVAILABLE", "RESOURCE_EXHAUSTED"} < codes_of(method.name)


def test_there_are_sound_requests_of_every_rpc(seen: Watched, bundle: Bundle, user_id: str) -> None:
    sound = sound_requests(user_id)
    assert set(sound) == {method.name for method in SERVICE.methods}
    heard = wire.Heard()
    with wire.calls(seen.address) as call:
        for rpc, requests in sound.items():
            for body in requests:
                wire.hear(rpc, [body], call(rpc, [body]), Laws(bundle), heard)
    assert (set(heard.codes), heard.violations) == ({"OK"}, [])


def test_sound_requests_together_use_every_field(user_id: str) -> None:
    used: set[str] = set()
    for rpc, requests in sound_requests(user_id).items():
        kind = message_factory.GetMessageClass(SERVICE.methods_by_name[rpc].input_type)
        waiting: list[Message] = [kind.FromString(body) for body in requests]
        while waiting:
            for field, value in waiting.pop().ListFields():
                used.add(field.full_name)
                if field.message_type is not None:
                    waiting += value if field.is_repeated else [value]
    known = {field.full_name for kind in kinds_asked_with() for field in kind.fields}
    assert known - used == set()


def test_fields_that_are_split_are_joined_to_the_same_bytes(user_id: str) -> None:
    for requests in sound_requests(user_id).values():
        for body in requests:
            fields = bodies.split(body)
            assert fields is not None
            assert bodies.joined(fields) == body


def test_the_same_seed_bends_bodies_alike(user_id: str) -> None:
    (body, *_) = sound_requests(user_id)["FindNeighbors"]
    once, again = (
        [bodies.mutate(body, rng) for _ in range(50)]
        for rng in (np.random.default_rng(SEED), np.random.default_rng(SEED))
    )
    assert once == again
    assert len(set(once)) > 40


def test_bent_requests_end_with_documented_codes_and_no_words_of_exceptions(
    seen: Watched, bundle: Bundle, user_id: str
) -> None:
    sound, laws = sound_requests(user_id), Laws(bundle)
    wire.bend(seen.address, sound, laws, 100, SEED + 1)
    seen.settle()
    heard = wire.bend(seen.address, sound, laws, 600, SEED)
    assert heard.violations == []
    assert heard.codes.keys() >= {"OK", "INVALID_ARGUMENT", "NOT_FOUND"}
    assert seen.problems() == []


def test_broken_connections_leave_the_server_as_it_was(seen: Watched) -> None:
    seen.settle()
    heard, by_kind = wire.break_connections(seen, 3 * len(breakings.BREAKINGS), SEED)
    assert heard.violations == []
    assert len(by_kind) > 8
    assert seen.recovery_s() < math.inf
    assert seen.problems() == []


@pytest.mark.parametrize("kind", breakings.BREAKINGS)
def test_a_way_of_breaking_a_connection_is_no_sound_one(seen: Watched, kind: str) -> None:
    host, _, port = seen.address.rpartition(":")
    sent = b""

    class Kept(socket.socket):
        def sendall(self, data: bytes, *_: int) -> None:  # type: ignore[override]
            nonlocal sent
            sent += data

    with Kept() as peer:
        peer.connect((host, int(port)))
        breakings.BREAKINGS[kind](peer, np.random.default_rng(SEED))
    sound = frames.PREFACE + b"".join(f.serialize() for f in frames.call(1, breakings.GOOD))
    assert sent != sound


def test_a_sound_call_of_frames_is_answered(seen: Watched) -> None:
    host, _, port = seen.address.rpartition(":")
    with socket.create_connection((host, int(port))) as peer:
        frames.greet(peer)
        frames.send(peer, *frames.call(1, breakings.GOOD))
        told = frames.replies(peer, 2.0)
    assert [block["grpc-status"] for block in told if "grpc-status" in block] == ["0"]


def test_a_world_of_odd_cases_is_answered_soundly(tmp_path: Path) -> None:
    bundle = built(tmp_path / "store")
    query = Query(ItemId(bundle.items.vocabulary.id_of(0)), neighbor_count=3)
    with watched(tmp_path / "store", query, tmp_path) as running:
        heard = ask_anything(running.address, bundle, 25, SEED)
    assert heard.violations == []
    assert heard.codes["OK"] > 20
