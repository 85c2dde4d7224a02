"""Knows how a client proves the server to itself, and itself to the server, from files in PEM.

It refuses to know what is asked. Files are read once: a client that is to show a new certificate is made
anew.
"""

from pathlib import Path

import grpc

from ilk.errors import SettingsError


def tls_credentials(
    ca: Path | None = None, certificate: Path | None = None, key: Path | None = None
) -> grpc.ChannelCredentials:
    """Return what makes a connection TLS.

    Parameters
    ----------
    ca
        The authorities that may vouch for the server. Default: those that gRPC comes with.
    certificate, key
        The client's own certificate chain and private key, for a server that asks for one.

    Raises
    ------
    SettingsError
        If a file cannot be read or is not in PEM, or one of certificate and key is given without the
        other.
    """
    if (certificate is None) is not (key is None):
        raise SettingsError("a client's certificate and its key belong together: give both")
    # What gRPC cannot read it tells of as a server that does not answer.
    return grpc.ssl_channel_credentials(
        _pem(ca, b"CERTIFICATE"), _pem(key, b"PRIVATE KEY"), _pem(certificate, b"CERTIFICATE")
    )


def token_in(path: Path) -> str:
    """Return the token in a file.

    Raises
    ------
    SettingsError
        If it cannot be read, or holds none.
    """
    token = _read(path).decode("ascii", "replace").strip()
    if not token or not token.isprintable() or " " in token:
        raise SettingsError(f"{path} holds no token; write one with python -m server.callers add")
    return token


def _pem(path: Path | None, kind: bytes) -> bytes | None:
    if path is None:
        return None
    data = _read(path)
    if b"-----BEGIN" not in data or kind + b"-----" not in data:
        raise SettingsError(f"{path} holds no {kind.decode().lower()} in PEM; is it another file?")
    return data


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be read: {error.strerror}; is the path right?"
        ) from error
