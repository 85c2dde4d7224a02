"""Who is let in: every rpc, with every kind of token, and what a changed file of callers does."""

import contextlib
import json
import logging
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from ilk import SimilarityClient
from ilk.errors import PermissionDenied, SettingsError, Unauthenticated
from ilk.types import Filter, ItemId, Query, Target, UserId
from ilk.v1 import similarity_pb2 as pb
from server.access.callers import Caller, Callers, Scope, new_token, parse_callers, to_bytes
from server.access.control import SCOPES_OF, Access
from server.access.limits import open_ledger
from server.callers import app
from server.calls.service import SERVICE
from server.observability.metrics import Counts
from server.settings import ServerSettings
from tests.server.conftest import REPOSITORY, TIMEOUT_S, Answer, Serve, Start, ended

RPCS = {method.name: method for method in SERVICE.methods}
CODES = {"no": "UNAUTHENTICATED", "bad": "UNAUTHENTICATED", "expired": "UNAUTHENTICATED"}


@dataclass(frozen=True)
class Entered:
    """A server that knows its callers, their tokens by name, and the file."""

    target: str
    tokens: dict[str, str]
    file: Path

    def client(self, name: str) -> SimilarityClient:
        return SimilarityClient(self.target, token=self.tokens[name], timeout_s=TIMEOUT_S)


def write(path: Path, *callers: Caller) -> None:
    path.write_bytes(to_bytes(Callers(callers)))


def known(name: str, *scopes: Scope, expires_at_s: float | None = None) -> tuple[Caller, str]:
    token, digest = new_token()
    return Caller(name, frozenset(scopes), digest, expires_at_s=expires_at_s), token


@pytest.fixture(scope="module")
def entered(
    serve: Serve, sample_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Entered]:
    path = tmp_path_factory.mktemp("callers") / "callers.json"
    callers = [
        known("items", Scope.QUERY),
        known("users", Scope.QUERY_USERS),
        known("both", Scope.QUERY, Scope.QUERY_USERS),
        known("operator", Scope.ADMIN),
        known("expired", *Scope, expires_at_s=time.time() - 1),
        known("nothing"),
    ]
    write(path, *(caller for caller, _ in callers))
    tokens = {caller.name: token for caller, token in callers} | {"bad": new_token()[0]}
    settings = ServerSettings(
        sample_store, port=0, reflection=True, callers=path, poll_interval_s=0.05, grace_s=0.5
    )
    with serve(settings) as target:
        yield Entered(target, tokens, path)


def body(rpc: str, bundle_item: str, target: pb.Target = pb.TARGET_ITEMS) -> bytes:
    """Return a request that would be answered; a new rpc needs one here."""
    query = pb.FindNeighborsRequest(item_id=bundle_item, target=target)
    return {
        "FindNeighbors": query,
        "BatchFindNeighbors": pb.BatchFindNeighborsRequest(queries=[query]),
        "StreamFindNeighbors": pb.StreamFindNeighborsRequest(query=query),
        "PredictRatings": pb.PredictRatingsRequest(
            profile=pb.Profile(liked_item_ids=[bundle_item]), item_ids=[bundle_item]
        ),
        "SearchTitles": pb.SearchTitlesRequest(text="a"),
        "GetItems": pb.GetItemsRequest(ids=[bundle_item]),
        "GetBundle": pb.GetBundleRequest(),
    }[rpc].SerializeToString()


def ask(target: str, rpc: str, data: bytes, *metadata: tuple[str, str]) -> Answer:
    """Call any rpc of the service as its descriptor says."""
    method = f"/{SERVICE.full_name}/{rpc}"
    with grpc.insecure_channel(target) as channel:
        try:
            if RPCS[rpc].client_streaming:
                opened: Any = channel.stream_stream(method)
                (answer,) = opened(iter([data]), timeout=TIMEOUT_S, metadata=metadata)
            else:
                call: Any = channel.unary_unary(method)
                answer = call(data, timeout=TIMEOUT_S, metadata=metadata)
        except grpc.RpcError as error:
            return ended(error)
    return Answer("OK", answer)


def bearer(token: str) -> tuple[str, str]:
    return ("authorization", f"Bearer {token}")


def test_every_rpc_of_the_contract_has_a_scope() -> None:
    assert SCOPES_OF.keys() == RPCS.keys()
    assert all(SCOPES_OF.values())


@pytest.mark.parametrize("rpc", RPCS)
@pytest.mark.parametrize("token", ["no", "bad", "expired", "nothing", "operator", "items"])
def test_every_rpc_asks_who_calls(rpc: str, token: str, entered: Entered, item_id: str) -> None:
    metadata = () if token == "no" else (bearer(entered.tokens[token]),)
    allowed = {"items": Scope.QUERY, "operator": Scope.ADMIN}.get(token)
    expected = CODES.get(token) or ("OK" if allowed in SCOPES_OF[rpc] else "PERMISSION_DENIED")
    answer = ask(entered.target, rpc, body(rpc, item_id), *metadata)
    assert answer.code == expected, answer.message
    for value in entered.tokens.values():
        assert value not in answer.message


@pytest.mark.parametrize("sent", ["Basic abc", "Bearer", "bearer  ", "", "Bearer " + "x" * 5000])
def test_what_is_no_token_lets_nobody_in(sent: str, entered: Entered) -> None:
    answer = ask(entered.target, "GetBundle", b"", ("authorization", sent))
    assert answer.code == "UNAUTHENTICATED"


@pytest.mark.parametrize("rpc", ["FindNeighbors", "BatchFindNeighbors", "StreamFindNeighbors"])
@pytest.mark.parametrize("scope", ["items", "users", "both"])
@pytest.mark.parametrize("target", ["items", "users"])
def test_users_need_a_scope_of_their_own(
    rpc: str, scope: str, target: str, entered: Entered, item_id: str
) -> None:
    wanted = pb.TARGET_USERS if target == "users" else pb.TARGET_ITEMS
    data = body(rpc, item_id, wanted)
    answer = ask(entered.target, rpc, data, bearer(entered.tokens[scope]))
    assert code_of(rpc, answer) == ("OK" if scope in (target, "both") else "PERMISSION_DENIED")


def code_of(rpc: str, answer: Answer) -> str:
    """Return how the one query ended."""
    if rpc == "BatchFindNeighbors" and answer.code == "OK":
        (outcome,) = pb.BatchFindNeighborsResponse.FromString(answer.body).outcomes
    elif rpc == "StreamFindNeighbors" and answer.code == "OK":
        outcome = pb.StreamFindNeighborsResponse.FromString(answer.body)  # type: ignore[assignment]
    else:
        return answer.code
    codes = {status.value[0]: status.name for status in grpc.StatusCode}
    return codes[outcome.error.code] if outcome.HasField("error") else "OK"


def test_one_query_for_users_fails_alone(entered: Entered, item_id: str) -> None:
    with entered.client("items") as client:
        found, refused = client.batch_find_neighbors(
            [Query(ItemId(item_id)), Query(ItemId(item_id), Target.USERS)]
        )
    assert not isinstance(found, Exception)
    assert isinstance(refused, PermissionDenied)
    assert "query-users" in str(refused)


def test_who_may_ask_for_users_alone_is_not_told_what_they_have_rated(
    entered: Entered, item_id: str
) -> None:
    seen = Query(ItemId(item_id), Target.USERS, filter=Filter(exclude_seen=True))
    with entered.client("users") as client:
        with pytest.raises(PermissionDenied, match="exclude_seen"):
            client.find_neighbors(seen)
        (told,) = client.batch_find_neighbors([seen])
        assert isinstance(told, PermissionDenied)
    with entered.client("both") as client:
        assert client.find_neighbors(seen).neighbors


def test_what_may_not_be_asked_tells_no_cost(entered: Entered) -> None:
    """Of how much it would be depends on how much who is named has rated."""
    dear = Query(UserId("anybody"), neighbor_count=1000, include_explanation=True)
    with entered.client("users") as client:
        told = client.batch_find_neighbors([dear] * 1000)
    assert {type(one) for one in told} == {PermissionDenied}


def test_clients_tell_the_unknown_from_the_forbidden(entered: Entered) -> None:
    with entered.client("bad") as client, pytest.raises(Unauthenticated, match="unknown"):
        client.get_bundle()
    with entered.client("operator") as client, pytest.raises(PermissionDenied) as told:
        client.get_items(["1"])
    assert type(told.value) is PermissionDenied


def test_health_asks_nobody_who_they_are(entered: Entered) -> None:
    with grpc.insecure_channel(entered.target) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        told = stub.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
    assert told.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize(
    ("token", "code"),
    [("operator", "OK"), ("both", "PERMISSION_DENIED"), ("bad", "UNAUTHENTICATED")],
)
def test_reflection_is_for_administrators(token: str, code: str, entered: Entered) -> None:
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    with grpc.insecure_channel(entered.target) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        call = stub.ServerReflectionInfo(
            iter([request]), timeout=TIMEOUT_S, metadata=[bearer(entered.tokens[token])]
        )
        try:
            (told,) = call
            assert SERVICE.full_name in {s.name for s in told.list_services_response.service}
            found = "OK"
        except grpc.RpcError as error:
            found = error.code().name
    assert found == code


def test_reflection_is_off_unless_asked_for(serve: Serve, sample_store: Path) -> None:
    settings = ServerSettings(sample_store, port=0, grace_s=0.5)
    with serve(settings) as target, grpc.insecure_channel(target) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        with pytest.raises(grpc.RpcError) as told:
            list(stub.ServerReflectionInfo(iter([]), timeout=TIMEOUT_S))
    assert told.value.code() is grpc.StatusCode.UNIMPLEMENTED


@contextlib.contextmanager
def changed(path: Path, data: bytes) -> Iterator[None]:
    before = path.read_bytes()
    path.write_bytes(data)
    try:
        yield
    finally:
        path.write_bytes(before)


def test_callers_come_and_go_without_a_restart(
    entered: Entered, wait_until: Callable[[Callable[[], bool]], None], item_id: str
) -> None:
    caller, token = known("late", Scope.QUERY)

    def code(of: str) -> str:
        return ask(entered.target, "GetBundle", b"", bearer(of)).code

    assert code(token) == "UNAUTHENTICATED"
    with changed(entered.file, to_bytes(Callers([caller]))):
        wait_until(lambda: code(token) == "OK")
        assert code(entered.tokens["items"]) == "UNAUTHENTICATED"
        for spoilt in (b'{"callers": [', b'{"callers": [{"name": "x", "certificate": ["y"]}]}'):
            entered.file.write_bytes(spoilt)
            time.sleep(0.3)
            assert code(token) == "OK"
    wait_until(lambda: code(entered.tokens["items"]) == "OK")
    assert code(token) == "UNAUTHENTICATED"


def test_a_stream_ends_when_its_caller_is_removed(
    entered: Entered, wait_until: Callable[[Callable[[], bool]], None], item_id: str
) -> None:
    others = [c for c in parse_callers(entered.file.read_bytes()).all if c.name != "both"]

    def asked() -> Iterator[Query]:
        yield Query(ItemId(item_id))
        with changed(entered.file, to_bytes(Callers(others))):
            gone = (bearer(entered.tokens["both"]),)
            wait_until(lambda: ask(entered.target, "GetBundle", b"", *gone).code != "OK")
            yield Query(ItemId(item_id))
            time.sleep(0.3)

    with entered.client("both") as client, pytest.raises(Unauthenticated, match="ended"):
        list(client.stream_find_neighbors(asked(), timeout_s=TIMEOUT_S))


def test_the_log_knows_callers_by_name_and_no_token(
    serve: Serve, sample_store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caller, token = known("shop", Scope.QUERY)
    write(tmp_path / "callers", caller)
    settings = ServerSettings(
        sample_store, port=0, grace_s=0.5, callers=tmp_path / "callers", log_calls=True
    )
    sent = (token, "planted-secret", "Bearer planted-too")
    with caplog.at_level(logging.INFO), serve(settings) as target:
        answers = [
            ask(target, "GetBundle", b"", bearer(sent[0])),
            ask(target, "GetBundle", b"", bearer(sent[1])),
            ask(target, "GetBundle", b"", ("authorization", sent[2])),
        ]
    assert [answer.code for answer in answers] == ["OK", "UNAUTHENTICATED", "UNAUTHENTICATED"]
    calls = [record for record in caplog.records if hasattr(record, "took_ms")]
    assert [getattr(record, "caller", None) for record in calls] == ["shop", None, None]
    logged = "\n".join(str(vars(record)) for record in caplog.records)
    told = logged + "".join(answer.message for answer in answers)
    for secret in (token, "planted-secret", "planted-too"):
        assert secret not in told


def test_callers_are_not_lost_where_several_are_added_at_once(tmp_path: Path) -> None:
    file, names = tmp_path / "callers.json", [f"caller-{n}" for n in range(6)]
    adding = [
        subprocess.Popen(
            [
                sys.executable,
                *f"-m server.callers add {name} --scope query --file".split(),
                str(file),
            ],
            cwd=REPOSITORY,
            stdout=subprocess.DEVNULL,
        )
        for name in names
    ]
    assert [process.wait(TIMEOUT_S) for process in adding] == [0] * len(names)
    assert sorted(caller.name for caller in parse_callers(file.read_bytes()).all) == names


def test_a_token_is_one_callers_however_its_hash_is_written() -> None:
    digest = new_token()[1]
    with pytest.raises(SettingsError, match="two callers have the token_sha256"):
        Callers(
            Caller(name, frozenset({Scope.QUERY}), told)
            for name, told in (("a", digest.lower()), ("b", digest.upper()))
        )


def test_sighup_lets_workers_look_at_the_callers(
    start: Start,
    sample_store: Path,
    tmp_path: Path,
    wait_until: Callable[[Callable[[], bool]], None],
) -> None:
    (early, _), (late, token) = known("early"), known("late", Scope.QUERY)
    write(tmp_path / "callers", early)
    program = start(
        *("--store", str(sample_store), "--port", "0", "--workers", "2", "--grace-s", "0.5"),
        *("--callers", str(tmp_path / "callers"), "--poll-interval-s", "3600"),
    )
    target = program.address()
    write(tmp_path / "callers", late)
    program.process.send_signal(signal.SIGHUP)
    wait_until(
        lambda: all(ask(target, "GetBundle", b"", bearer(token)).code == "OK" for _ in range(8))
    )


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ("nonsense", "no JSON"),
        ("[]", "callers"),
        ('{"callers": [{"scopes": []}]}', "name"),
        ('{"callers": [{"name": "a", "scopes": ["root"]}]}', "query-users"),
        ('{"callers": [{"name": "a", "token_sha256": "abc"}]}', "64 hexadecimal"),
        ('{"callers": [{"name": "a", "tokn": "abc"}]}', "tokn"),
        ('{"callers": [{"name": "a", "expires_at": "soon"}]}', "soon"),
        ('{"callers": [{"name": "a", "cost_per_s": 0}]}', "1 or more"),
        ('{"callers": [{"name": "a", "cost_per_s": 1e-310}]}', "1 or more"),
        ('{"callers": [{"name": "a", "expires_at": "9999-12-31T23:59:59-12:00"}]}', "1 to 9999"),
        ('{"callers": [{"name": "a", "cost_per_s": 1%s}]}' % ("0" * 400), "too large"),
        ('{"callers": [{"name": "a", "certificate": ["b.example.com"]}]}', "must be a name"),
        ('{"callers": [{"name": "a"}]}', "to be known by"),
        (
            '{"callers": [{"name": "a", "certificate": "b"}, {"name": "a", "certificate": "c"}]}',
            "two callers",
        ),
    ],
)
def test_a_file_that_makes_no_sense_is_refused(told: str, why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        parse_callers(told.encode())


def test_a_server_does_not_start_with_such_a_file(
    serve: Serve, sample_store: Path, tmp_path: Path
) -> None:
    path = tmp_path / "callers.json"
    settings = ServerSettings(sample_store, port=0, callers=path)
    with pytest.raises(SettingsError, match="--callers"), serve(settings):
        pass
    path.write_text("{}")
    with pytest.raises(SettingsError, match="--callers"), serve(settings):
        pass


def test_the_file_holds_no_token() -> None:
    caller, token = known("a", Scope.QUERY)
    assert token not in to_bytes(Callers([caller])).decode()
    assert Callers([caller]).of_token(token) is caller


def test_callers_are_read_back_as_they_were_written() -> None:
    callers = [
        known("a", Scope.QUERY, Scope.ADMIN, expires_at_s=2e9)[0],
        Caller("b", frozenset(), certificate="b.example.com", cost_per_s=1e6),
    ]
    assert parse_callers(to_bytes(Callers(callers))).all == tuple(callers)


def test_the_command_makes_renews_and_removes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "callers.json"

    def run(*arguments: str) -> str:
        app([*arguments, "--file", str(path)], result_action="return_value", exit_on_error=False)
        return capsys.readouterr().out.strip()

    token = run("add", "shop", "--scope", "query", "--days", "1", "--cost-per-s", "1e8")
    (caller,) = parse_callers(path.read_bytes()).all
    assert Callers([caller]).of_token(token) is caller
    assert caller.scopes == {Scope.QUERY}
    assert caller.cost_per_s == 1e8
    assert 0 < (caller.expires_at_s or 0) - time.time() <= 86_400
    assert run("add", "ops", "--scope", "admin", "--certificate", "ops.example.com") == ""
    renewed = run("renew", "shop")
    callers = parse_callers(path.read_bytes())
    assert callers.of_token(token) is None
    assert callers.of_token(renewed) == replace(caller, token_sha256=callers.all[0].token_sha256)
    assert "shop\ttoken\tquery\tuntil" in run("list")
    assert "ops\tcertificate ops.example.com\tadmin\tfor ever" in run("list")
    with pytest.raises(SettingsError, match="'ops' is known by a certificate: there is no token"):
        run("renew", "ops")
    assert run("renew", "ops", "--days", "1") == ""
    (ops,) = (c for c in parse_callers(path.read_bytes()).all if c.name == "ops")
    assert (ops.token_sha256, ops.expires_at_s is None) == (None, False)
    run("remove", "shop")
    assert [c.name for c in parse_callers(path.read_bytes()).all] == ["ops"]
    with pytest.raises(SettingsError, match="there is ops"):
        run("remove", "shop")
    assert json.loads(path.read_text()).keys() == {"callers"}


def test_a_token_is_renewed_for_longer_and_not_for_a_time_that_is_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "callers.json"

    def run(*arguments: str) -> str:
        app([*arguments, "--file", str(path)], result_action="return_value", exit_on_error=False)
        return capsys.readouterr().out.strip()

    run("add", "shop", "--scope", "query", "--days", "0.000001", "--cost-per-s", "1e8")
    (caller,) = parse_callers(path.read_bytes()).all
    time.sleep(max((caller.expires_at_s or 0) - time.time(), 0))
    assert caller.has_expired
    with pytest.raises(SettingsError, match="time of 'shop' is over: give it --days"):
        run("renew", "shop")
    assert parse_callers(path.read_bytes()).all == (caller,)
    token = run("renew", "shop", "--days", "90")
    (renewed,) = parse_callers(path.read_bytes()).all
    assert Callers([renewed]).of_token(token) is renewed
    assert not renewed.has_expired
    assert (renewed.scopes, renewed.cost_per_s) == (caller.scopes, caller.cost_per_s)


def test_whoever_could_read_the_callers_can_read_them_changed(tmp_path: Path) -> None:
    path = tmp_path / "callers.json"

    def run(*arguments: str) -> None:
        app([*arguments, "--file", str(path)], result_action="return_value", exit_on_error=False)

    run("add", "shop", "--scope", "query")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    run("renew", "shop")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_a_caller_is_added_once(tmp_path: Path) -> None:
    add = ["add", "shop", "--scope", "query", "--file", str(tmp_path / "callers.json")]
    app(add, result_action="return_value", exit_on_error=False)
    with pytest.raises(SettingsError, match="'shop' may call already: renew its token"):
        app(add, result_action="return_value", exit_on_error=False)


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (("--days", "nan"), "--days"),
        (("--days", "-5"), "--days"),
        (("--days", "1e12"), "--days"),
        (("--expires-at", "2020-01-01"), "is past"),
        (("--file", "not/there.json"), "not/there.json"),
    ],
)
def test_a_caller_is_not_made_for_a_time_or_place_that_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, str], why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match=why):
        app(
            ["add", "shop", "--scope", "query", *flags],
            result_action="return_value",
            exit_on_error=False,
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "needed"),
    [
        ({}, "--tls-cert"),
        ({"allow_plaintext": True}, "--callers"),
        ({"allow_anonymous": True}, "--allow-plaintext"),
        ({"callers": Path("c")}, "--allow-plaintext"),
        ({"tls_cert": Path("c"), "tls_key": Path("k")}, "--allow-anonymous"),
    ],
)
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_beyond_loopback_a_server_must_be_told_how_it_is_entered(
    host: str, flags: dict[str, Path], needed: str
) -> None:
    with pytest.raises(SettingsError, match=needed):
        ServerSettings(host=host, **flags)  # type: ignore[arg-type]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_on_loopback_nothing_need_be_told(host: str) -> None:
    assert not ServerSettings(host=host).knows_callers


class FromAfar:
    """What a handler sees of a caller without a token."""

    def invocation_metadata(self) -> tuple[()]:
        return ()

    def peer(self) -> str:
        return "ipv4:192.0.2.7:4711"


@pytest.mark.parametrize(("host", "told"), [("0.0.0.0", False), ("127.0.0.1", True)])
def test_users_are_told_to_the_unknown_on_loopback_only(host: str, told: bool) -> None:
    settings = ServerSettings(host=host, allow_plaintext=True, allow_anonymous=True)
    access = Access(settings, open_ledger(None), Counts())
    terms = access.terms_for(FromAfar(), SCOPES_OF["FindNeighbors"])  # type: ignore[arg-type]
    assert terms.refusal(Query(ItemId("1"))) is None
    assert (terms.refusal(Query(ItemId("1"), Target.USERS)) is None) is told
