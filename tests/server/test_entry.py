"""Our own programs enter a server that asks for TLS, a certificate and a token."""

import json
from pathlib import Path

import pytest

from ilk.__main__ import main
from ilk.client.credentials import token_in
from ilk.errors import SettingsError
from loadtest.__main__ import app
from server.access.callers import Caller, Callers, Scope, new_token, to_bytes
from server.settings import ServerSettings
from tests.server.certificates import Authority
from tests.server.conftest import Serve

OURS = Authority("ours")


@pytest.fixture
def settings(sample_store: Path, tmp_path: Path) -> ServerSettings:
    """Return those of a server behind mutual TLS and tokens, whose files lie about."""
    token, digest = new_token()
    pair, own = OURS.issue("server"), OURS.issue("client")
    for name, data in (
        *(("ca", OURS.certificate), ("cert", pair.certificate), ("key", pair.key)),
        *(("own.pem", own.certificate), ("own.key", own.key), ("token", token.encode() + b"\n")),
        ("callers", to_bytes(Callers([Caller("cli", frozenset({Scope.QUERY}), digest)]))),
    ):
        (tmp_path / name).write_bytes(data)
    return ServerSettings(
        sample_store,
        port=0,
        grace_s=0.5,
        tls_cert=tmp_path / "cert",
        tls_key=tmp_path / "key",
        tls_client_ca=tmp_path / "ca",
        callers=tmp_path / "callers",
    )


def test_the_terminal_shows_who_asks(
    serve: Serve,
    settings: ServerSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = [str(tmp_path / name) for name in ("ca", "own.pem", "own.key")]
    tls = ["--tls-ca", files[0], "--tls-cert", files[1], "--tls-key", files[2]]
    with serve(settings) as target:
        assert main(["--server", target, *tls, "bundle"]) == 3
        assert "no token came" in capsys.readouterr().err
        assert (
            main(["--server", target, *tls, "--token-file", str(tmp_path / "token"), "bundle"]) == 0
        )
        monkeypatch.setenv("ILK_TOKEN_FILE", str(tmp_path / "token"))
        assert main(["bundle", "--server", target, *tls]) == 0
        assert main(["--server", target, "bundle"]) == 3


def test_a_file_that_is_not_there_is_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--token-file", str(tmp_path / "absent"), "bundle"]) == 2
    assert "absent cannot be read" in capsys.readouterr().err


def test_the_load_test_enters_too(
    serve: Serve,
    settings: ServerSettings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = [str(tmp_path / name) for name in ("ca", "own.pem", "own.key", "token")]
    flags = ("--tls-ca", "--tls-cert", "--tls-key", "--token-file")
    entry = [part for pair in zip(flags, files, strict=True) for part in pair]
    with serve(settings) as target:
        app(
            [
                *("--target", target, *entry, "--rates", "40", "--duration-s", "0.5"),
                *("--processes", "1", "--connections", "1", "--timeout-s", "10"),
                *("--mix", "item=3,user=1,batch=1,stream=1", "--output", str(tmp_path / "out")),
            ],
            result_action="return_value",
            exit_on_error=False,
        )
    # Its token is no good for users, so it knows none.
    assert "user" in capsys.readouterr().err.partition("left out")[2]
    (step,) = json.loads((tmp_path / "out" / "figures.json").read_text())["steps"]
    assert step["total"]["n_calls"] > 5
    assert step["total"]["errors"] == {}


def test_a_file_without_a_token_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(SettingsError, match=r"server\.callers"):
        token_in(tmp_path / "empty")
