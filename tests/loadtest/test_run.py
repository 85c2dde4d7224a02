"""The load test as its users run it, against a real server."""

import dataclasses
import json
import socket
from pathlib import Path

import pytest
from google.protobuf import json_format

from benchmarks.processes import running
from ilk import SimilarityClient
from ilk.program.exits import DONE, FAILURE, USAGE, run
from ilk.v1 import similarity_pb2 as pb
from loadtest import world
from loadtest.__main__ import app
from loadtest.entry import Entry
from loadtest.kinds import KINDS
from loadtest.world import NothingToAsk, World
from server.access.callers import Caller, Callers, Scope, new_token, to_bytes

QUICK = ("--rates", "60", "--warmup-s", "0", "--timeout-s", "30")


def test_every_kind_is_asked_and_answered(target: str, tmp_path: Path) -> None:
    mix = ",".join(KINDS)
    flags = ("--target", target, *QUICK, "--duration-s", "2", "--processes", "2", "--mix", mix)
    assert run(app, [*flags, "--output", str(tmp_path / "new")]) == DONE
    told = json.loads((tmp_path / "new" / "figures.json").read_text())
    (step,) = told["steps"]
    assert step["by_kind"].keys() == KINDS.keys()
    assert step["total"]["errors"] == {}
    assert step["total"]["n_calls"] == sum(kind["n_calls"] for kind in step["by_kind"].values())
    latency_ms = step["total"]["latency_ms"]
    in_order = [latency_ms[name] for name in ("p50", "p95", "p99", "p99.9", "max")]
    assert in_order == sorted(in_order)
    assert in_order[0] > 0
    assert (tmp_path / "new" / "load.png").read_bytes().startswith(b"\x89PNG")


def test_goals_decide_the_exit_code(
    target: str, ids: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--target", target, "--ids", str(ids), *QUICK, "--duration-s", "0.5")
    met = ("--slo-p50-ms", "60000", "--slo-p999-ms", "60000", "--slo-error-share", "0")
    assert run(app, [*flags, *met]) == DONE
    assert run(app, [*flags, "--slo-p99-ms", "0.001"]) == FAILURE
    assert "at 60/s p99 is" in capsys.readouterr().err


@pytest.mark.parametrize(
    "goal",
    [("--slo-p99-ms", "nan"), ("--slo-p50-ms", "-1"), ("--slo-error-share", "2")],
    ids=" ".join,
)
def test_goals_that_nothing_can_miss_or_meet_are_refused(
    goal: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(app, ["--target", "127.0.0.1:1", *goal]) == USAGE
    assert goal[0] in capsys.readouterr().err


def test_the_bundle_served_is_told_not_the_one_that_ids_were_learned_from(
    target: str, known: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world.save(dataclasses.replace(known, bundle_version="older"), tmp_path / "ids")
    flags = ("--target", target, "--ids", str(tmp_path / "ids"), *QUICK, "--duration-s", "0.5")
    assert run(app, [*flags, "--output", str(tmp_path)]) == DONE
    told = json.loads((tmp_path / "figures.json").read_text())
    assert told["bundle_version"] == known.bundle_version
    notes = capsys.readouterr().err
    assert f"{target} serves {known.bundle_version}: " in notes
    assert "the ids are of older" in notes


def test_a_server_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{taken.getsockname()[1]}"
        assert run(app, ["--target", target]) == FAILURE
    assert f"nothing answers at {target}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags", [("--rates", "fast"), ("--mix", "nonsense"), ("--processes", "0")]
)
def test_flags_that_make_no_sense_are_wrong_usage(flags: tuple[str, str]) -> None:
    assert run(app, [*flags]) == USAGE


def test_all_items_are_learned_the_best_known_first(target: str, known: World) -> None:
    with SimilarityClient(target) as client:
        info = client.get_bundle()
        counts = [client.get_items([i])[i].rating_count for i in known.items[:20]]
    assert len(known.items) == info.item_count
    assert len(set(known.users)) == len(known.users) > 0.9 * info.user_count
    assert known.genres == info.genres
    assert known.scale == info.rating_scale
    assert counts == sorted(counts, reverse=True)


def test_why_no_users_are_known_is_learned_kept_and_told(
    sample_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    token, digest = new_token()
    (tmp_path / "token").write_text(token)
    callers = Callers([Caller("shop", frozenset({Scope.QUERY}), digest)])
    (tmp_path / "callers").write_bytes(to_bytes(callers))
    flags = ("--store", str(sample_store), "--workers", "1", "--callers", str(tmp_path / "callers"))
    with running("server", flags) as server:
        learned = world.learn(server.address, Entry(token=token))
        entry = ("--target", server.address, "--token-file", str(tmp_path / "token"))
        assert run(app, [*entry, *QUICK, "--duration-s", "0.5"]) == DONE
    assert learned.users == ()
    assert "query-users" in learned.users_withheld
    assert f"left out of the mix: {learned.users_withheld} (for user, " in capsys.readouterr().err
    world.save(learned, tmp_path / "ids")
    assert world.load(tmp_path / "ids") == learned


def test_ids_survive_a_file(known: World, ids: Path) -> None:
    assert world.load(ids) == known


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"items": ["a"], "scale": 3}'])
def test_a_file_without_ids_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "ids.json").write_text(text)
    with pytest.raises(NothingToAsk, match="python -m loadtest learn"):
        world.load(tmp_path / "ids.json")


@pytest.mark.parametrize("kind", ["item", "batch", "profile"])
def test_a_body_is_framed_as_grpc_frames_it(kind: str, ids: Path, tmp_path: Path) -> None:
    output = tmp_path / "body.bin"
    assert run(app, ["body", kind, "--ids", str(ids), "--output", str(output)]) == DONE
    flag, size, message = output.read_bytes()[:1], output.read_bytes()[1:5], output.read_bytes()[5:]
    assert flag == b"\0"
    assert int.from_bytes(size, "big") == len(message) > 0
    kinds = {"batch": pb.BatchFindNeighborsRequest}
    parsed = kinds.get(kind, pb.FindNeighborsRequest).FromString(message)
    assert parsed.SerializeToString(deterministic=True) == message


def test_queries_for_ghz_are_of_the_contract(ids: Path, tmp_path: Path) -> None:
    output = tmp_path / "queries.json"
    assert (
        run(app, ["queries", "--ids", str(ids), "--output", str(output), "--count", "50"]) == DONE
    )
    told = json.loads(output.read_text())
    whom = {json_format.ParseDict(q, pb.FindNeighborsRequest()).WhichOneof("whom") for q in told}
    assert len(told) == 50
    assert {"item_id", "user_id", "profile"} <= whom
