"""Connections are TLS, clients' certificates are asked for, and both change without a dropped call."""

import contextlib
import itertools
import logging
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from benchmarks.processes import free_port
from ilk import SimilarityClient
from ilk.client.aio import AsyncSimilarityClient
from ilk.client.credentials import tls_credentials
from ilk.errors import PermissionDenied, SettingsError, Unauthenticated, Unavailable
from server.access.callers import Caller, Callers, Scope, to_bytes
from server.access.certificates import check_pair
from server.access.watching import Watched
from server.settings import ServerSettings
from tests.server.certificates import Authority, Pair
from tests.server.conftest import TIMEOUT_S, Serve, Start

OURS, THEIRS = Authority("ours"), Authority("theirs")
EXPIRED = timedelta(hours=-1)


@dataclass(frozen=True)
class Files:
    """Where a server finds its certificate, its key and the authorities of its clients."""

    folder: Path

    def __post_init__(self) -> None:
        self.show(OURS.issue("server"))
        self.authorities.write_bytes(OURS.certificate)

    @property
    def certificate(self) -> Path:
        return self.folder / "server.pem"

    @property
    def key(self) -> Path:
        return self.folder / "server.key"

    @property
    def authorities(self) -> Path:
        return self.folder / "clients.pem"

    def show(self, pair: Pair) -> None:
        self.key.write_bytes(pair.key)
        self.certificate.write_bytes(pair.certificate)

    def settings(self, store: Path, *, mutual: bool = False) -> ServerSettings:
        return ServerSettings(
            store,
            port=0,
            grace_s=0.5,
            poll_interval_s=0.05,
            tls_cert=self.certificate,
            tls_key=self.key,
            tls_client_ca=self.authorities if mutual else None,
        )


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def credentials(pair: Pair | None = None, authority: Authority = OURS) -> grpc.ChannelCredentials:
    own = (None, None) if pair is None else (pair.key, pair.certificate)
    return grpc.ssl_channel_credentials(authority.certificate, *own)


def shown_at(target: str) -> int:
    """Return the serial number of the certificate that a new connection is shown."""
    host, _, port = target.rpartition(":")
    context = ssl.create_default_context(cadata=OURS.certificate.decode())
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((host, int(port)), TIMEOUT_S) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connected,
    ):
        told = connected.getpeercert(binary_form=True)
    assert told is not None
    return x509.load_der_x509_certificate(told).serial_number


def serial(pair: Pair) -> int:
    return x509.load_pem_x509_certificate(pair.certificate).serial_number


def test_calls_are_answered_over_tls(
    serve: Serve, sample_store: Path, files: Files, item_id: str
) -> None:
    with serve(files.settings(sample_store)) as target:
        with SimilarityClient(target, credentials=credentials()) as client:
            assert client.similar_items(item_id).neighbors
        with (
            SimilarityClient(target, credentials=credentials(authority=THEIRS)) as client,
            pytest.raises(Unavailable),
        ):
            client.get_bundle()
        with SimilarityClient(target) as client, pytest.raises(Unavailable):
            client.get_bundle()


async def test_the_asyncio_client_speaks_tls(
    serve: Serve, sample_store: Path, files: Files, item_id: str
) -> None:
    with serve(files.settings(sample_store, mutual=True)) as target:
        given = credentials(OURS.issue("shop"))
        async with AsyncSimilarityClient(target, credentials=given) as client:
            assert (await client.similar_items(item_id)).neighbors


def test_credentials_are_read_from_files(
    serve: Serve, sample_store: Path, files: Files, tmp_path: Path, item_id: str
) -> None:
    own, ca = OURS.issue("shop"), tmp_path / "ca.pem"
    ca.write_bytes(OURS.certificate)
    (tmp_path / "own.pem").write_bytes(own.certificate)
    (tmp_path / "own.key").write_bytes(own.key)
    given = tls_credentials(ca, tmp_path / "own.pem", tmp_path / "own.key")
    with (
        serve(files.settings(sample_store, mutual=True)) as target,
        SimilarityClient(target, credentials=given) as client,
    ):
        assert client.similar_items(item_id).neighbors
    with pytest.raises(SettingsError, match="both"):
        tls_credentials(ca, tmp_path / "own.pem")
    with pytest.raises(SettingsError, match=r"absent\.pem"):
        tls_credentials(tmp_path / "absent.pem")


@pytest.mark.parametrize(
    ("pair", "let_in"),
    [
        (OURS.issue("client"), True),
        (None, False),
        (THEIRS.issue("client"), False),
        (OURS.issue("client", EXPIRED), False),
    ],
    ids=["ours", "missing", "wrong", "expired"],
)
def test_clients_need_a_certificate_that_is_good(
    pair: Pair | None, let_in: bool, serve: Serve, sample_store: Path, files: Files, item_id: str
) -> None:
    with (
        serve(files.settings(sample_store, mutual=True)) as target,
        SimilarityClient(target, credentials=credentials(pair)) as client,
    ):
        if let_in:
            assert client.similar_items(item_id).neighbors
            # A certificate alone is good for items.
            with pytest.raises(PermissionDenied, match="query-users"):
                client.audience(item_id)
        else:
            with pytest.raises(Unavailable):
                client.get_bundle()


@pytest.mark.parametrize("name", ["shop", "shop.example.com"])
def test_a_caller_is_known_by_a_name_in_its_certificate(
    name: str, serve: Serve, sample_store: Path, files: Files, tmp_path: Path, item_id: str
) -> None:
    path = tmp_path / "callers.json"
    scopes = frozenset({Scope.QUERY_USERS})
    path.write_bytes(to_bytes(Callers([Caller("the shop", scopes, certificate=name)])))
    settings = replace(files.settings(sample_store, mutual=True), callers=path)
    with serve(settings) as target:
        with SimilarityClient(target, credentials=credentials(OURS.issue("shop"))) as client:
            assert client.audience(item_id).neighbors
        with (
            SimilarityClient(target, credentials=credentials(OURS.issue("other"))) as client,
            pytest.raises(Unauthenticated, match="certificate"),
        ):
            client.audience(item_id)


def test_new_connections_see_the_new_certificate(
    serve: Serve,
    sample_store: Path,
    files: Files,
    wait_until: Callable[[Callable[[], bool]], None],
) -> None:
    renewed = OURS.issue("server")
    with serve(files.settings(sample_store)) as target:
        assert shown_at(target) == serial(Pair(files.certificate.read_bytes(), b""))
        files.show(renewed)
        wait_until(lambda: shown_at(target) == serial(renewed))


def test_metrics_tell_until_when_the_certificate_is_good(
    start: Start, sample_store: Path, files: Files
) -> None:
    expires_at = x509.load_pem_x509_certificate(files.certificate.read_bytes()).not_valid_after_utc
    port = free_port()
    program = start(
        *("--store", str(sample_store), "--port", "0", "--workers", "1", "--grace-s", "0.5"),
        *("--tls-cert", str(files.certificate), "--tls-key", str(files.key)),
        *("--metrics-port", str(port)),
    )
    program.address()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as told:
        lines = told.read().decode().splitlines()
    name = "ilk_certificate_expiry_timestamp_seconds"
    (value,) = (float(line.split()[-1]) for line in lines if line.startswith(name))
    assert value == expires_at.timestamp()


@pytest.mark.parametrize("spoil", ["certificate", "key", "torn", "expired", "gone"])
def test_files_that_are_not_sound_are_refused_and_the_old_ones_kept(
    spoil: str,
    serve: Serve,
    sample_store: Path,
    files: Files,
    caplog: pytest.LogCaptureFixture,
    wait_until: Callable[[Callable[[], bool]], None],
) -> None:
    first, renewed = serial(Pair(files.certificate.read_bytes(), b"")), OURS.issue("server")
    with serve(files.settings(sample_store)) as target, caplog.at_level(logging.ERROR):
        if spoil == "certificate":
            files.certificate.write_bytes(renewed.certificate)
        elif spoil == "key":
            files.key.write_bytes(renewed.key)
        elif spoil == "torn":
            files.certificate.write_bytes(files.certificate.read_bytes()[:100])
        elif spoil == "expired":
            files.show(OURS.issue("server", EXPIRED))
        else:
            files.key.unlink()
        wait_until(lambda: any("stays in force" in line for line in caplog.messages))
        assert shown_at(target) == first
        files.show(renewed)
        wait_until(lambda: shown_at(target) == serial(renewed))
    assert not any("PRIVATE" in line for line in caplog.messages)


def test_a_certificate_that_was_too_early_is_taken_when_its_time_has_come(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, early, taken = tmp_path / "file", [True], list[Sequence[bytes]]()

    def load(files: Sequence[bytes]) -> None:
        if early and files == [b"new"]:
            raise SettingsError("the certificate is good from tomorrow on")
        taken.append(files)

    file.write_bytes(b"old")
    watched = Watched("--tls-cert", [file], load)
    watched.start()
    file.write_bytes(b"new")
    for _ in range(3):
        watched.look()
    assert caplog.text.count("good from tomorrow") == 1
    early.clear()
    for _ in range(3):
        watched.look()
    assert taken == [[b"old"], [b"new"]]


def test_clients_authorities_change_too(
    serve: Serve,
    sample_store: Path,
    files: Files,
    wait_until: Callable[[Callable[[], bool]], None],
) -> None:
    theirs = credentials(THEIRS.issue("client"))

    def let_in(target: str) -> bool:
        with SimilarityClient(target, credentials=theirs) as client:
            try:
                return bool(client.get_bundle().version)
            except Unavailable:
                return False

    with serve(files.settings(sample_store, mutual=True)) as target:
        assert not let_in(target)
        files.authorities.write_bytes(OURS.certificate + THEIRS.certificate)
        wait_until(lambda: let_in(target))


def test_no_call_fails_while_certificates_change_under_load(
    serve: Serve,
    sample_store: Path,
    files: Files,
    item_id: str,
    wait_until: Callable[[Callable[[], bool]], None],
) -> None:
    """Some callers keep their connection, others connect anew for every call."""
    stopped, failures, n_answered = threading.Event(), list[Exception](), itertools.count()
    given = credentials(OURS.issue("client"))

    def call(target: str, *, anew: bool) -> None:
        with contextlib.ExitStack() as kept:
            client: SimilarityClient | None = None
            while not stopped.is_set():
                try:
                    if client is None:
                        client = SimilarityClient(target, credentials=given, timeout_s=TIMEOUT_S)
                        kept.enter_context(client)
                    client.similar_items(item_id)
                    next(n_answered)
                    if anew:
                        kept.close()
                        client = None
                except Exception as error:  # noqa: BLE001 - counted
                    failures.append(error)

    with serve(files.settings(sample_store, mutual=True)) as target:
        threads = [
            threading.Thread(target=call, args=(target,), kwargs={"anew": anew})
            for anew in (False, False, True, True)
        ]
        with _ended(stopped, threads):
            for _ in range(10):
                renewed = OURS.issue("server")
                files.show(renewed)
                time.sleep(0.1)
        assert failures == []
        assert next(n_answered) > 100


@contextlib.contextmanager
def _ended(stopped: threading.Event, threads: list[threading.Thread]) -> Iterator[None]:
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopped.set()
        for thread in threads:
            thread.join()


def test_workers_of_one_port_all_change(
    start: Start,
    sample_store: Path,
    files: Files,
    wait_until: Callable[[Callable[[], bool]], None],
) -> None:
    flags = ("--store", str(sample_store), "--port", "0", "--workers", "2", "--grace-s", "0.5")
    tls = ("--tls-cert", str(files.certificate), "--tls-key", str(files.key))
    program = start(*flags, *tls, "--poll-interval-s", "0.05")
    target = program.address()
    renewed = OURS.issue("server")
    files.show(renewed)
    wait_until(lambda: {shown_at(target) for _ in range(20)} == {serial(renewed)})


def test_a_certificate_that_is_not_good_yet_is_told() -> None:
    early = OURS.issue("a", timedelta(days=60), begun=timedelta(days=-30))
    with pytest.raises(SettingsError, match="is good from"):
        check_pair(early.certificate, early.key)


@pytest.mark.parametrize(
    ("chain", "key", "why"),
    [
        (b"", b"", "not PEM"),
        (OURS.issue("a").certificate, b"nonsense", "key is not PEM"),
        (OURS.issue("a").certificate, OURS.issue("b").key, "not that of the certificate"),
    ],
)
def test_what_is_wrong_with_a_pair_is_told(chain: bytes, key: bytes, why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        check_pair(chain, key)


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65_537, 2048),
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP521R1()),
    ],
    ids=["RSA", "P-384", "P-521"],
)
def test_keys_of_the_usual_kinds_are_served(
    key: Any, serve: Serve, sample_store: Path, files: Files
) -> None:
    pair = OURS.issue("server", key=key)
    files.show(pair)
    with serve(files.settings(sample_store)) as target:
        assert shown_at(target) == serial(pair)


@pytest.mark.parametrize(
    "key",
    [ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256K1())],
    ids=["Ed25519", "secp256k1"],
)
def test_keys_that_grpc_cannot_serve_are_refused(key: Any) -> None:
    pair = OURS.issue("server", key=key)
    with pytest.raises(SettingsError, match="RSA, or on the curve"):
        check_pair(pair.certificate, pair.key)


def test_a_server_does_not_start_without_a_sound_pair(
    serve: Serve, sample_store: Path, files: Files
) -> None:
    files.key.write_bytes(OURS.issue("other").key)
    with pytest.raises(SettingsError, match="--tls-cert"), serve(files.settings(sample_store)):
        pass


@pytest.mark.parametrize(
    "flags",
    [{"tls_cert": Path("c")}, {"tls_key": Path("k")}, {"tls_client_ca": Path("ca")}],
)
def test_files_of_tls_belong_together(flags: dict[str, Path]) -> None:
    with pytest.raises(SettingsError, match="--tls-"):
        ServerSettings(**flags)  # type: ignore[arg-type]
