"""Knows the certificates that a server shows and asks for, and changes them without dropping a call.

It refuses to know who the names in client certificates are. A new connection sees the newest certificate
that was found sound; connections that are open go on with the one they began with.
"""

import logging
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import PublicKeyAlgorithmOID

from ilk.errors import SettingsError
from server.access.watching import Watched
from server.settings import ServerSettings

log = logging.getLogger("ilk.server")

_CURVES: Final = ("secp256r1", "secp384r1", "secp521r1")


class Certificates:
    """What a server proves itself with, and holds its clients' certificates against.

    Attributes
    ----------
    expires_at_s
        When the newest one is good no more, in Unix seconds; None: there is none.
    """

    def __init__(self) -> None:
        self.expires_at_s: float | None = None
        self._newest: grpc.ServerCertificateConfiguration | None = None
        # What the next connection is to see, if that has changed.
        self._pending: grpc.ServerCertificateConfiguration | None = None
        # gRPC keeps no reference to what it calls back.
        self._credentials: grpc.ServerCredentials | None = None

    def load(self, files: Sequence[bytes]) -> None:
        """Take a certificate chain, its key and, if there is one, a file of authorities into use.

        Raises
        ------
        SettingsError
            If they are damaged, do not belong together or are out of date.
        """
        chain, key, *authorities = files
        expires_at = check_pair(chain, key)
        if authorities:
            _check_authorities(authorities[0])
        self._newest = self._pending = grpc.ssl_server_certificate_configuration(
            [(key, chain)], root_certificates=authorities[0] if authorities else None
        )
        self.expires_at_s = expires_at.timestamp()
        log.info("the certificate in use is good until %s", expires_at.isoformat())

    def credentials(self, *, ask_clients: bool) -> grpc.ServerCredentials:
        """Return what a port is opened with; ``ask_clients``: only to clients with certificates."""
        assert self._newest is not None
        self._pending = None
        self._credentials = grpc.dynamic_ssl_server_credentials(
            self._newest,
            self._changed,  # type: ignore[arg-type]  # it may return None: nothing has changed
            require_client_authentication=ask_clients,
        )
        return self._credentials

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Return what new connections are to see if it is new; called by gRPC at each of them."""
        changed, self._pending = self._pending, None
        return changed


def watched(settings: ServerSettings, certificates: Certificates) -> Watched | None:
    """Return the files that the settings name; None without TLS."""
    flags = ("tls-cert", "tls-key", "tls-client-ca")
    named: dict[str, Path | None] = {
        flag: getattr(settings, flag.replace("-", "_")) for flag in flags
    }
    paths = {f"--{flag}": path for flag, path in named.items() if path is not None}
    if not paths:
        return None
    return Watched(", ".join(paths), list(paths.values()), certificates.load)


def check_pair(chain: bytes, key: bytes) -> datetime:
    """Return until when a certificate chain is good.

    Raises
    ------
    SettingsError
        If one is not PEM, gRPC cannot serve keys of its kind, the key is not that of the chain's first
        certificate, or that is out of date.
    """
    try:
        certificate, *_ = x509.load_pem_x509_certificates(chain)
    except ValueError as error:
        raise SettingsError("the certificate is not PEM, or damaged") from error
    _check_kind(certificate)
    try:
        own = load_pem_private_key(key, password=None).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SettingsError("the key is not PEM, damaged, or locked by a password") from error
    if _encoded(own) != _encoded(certificate.public_key()):
        raise SettingsError("the key is not that of the certificate; were both files replaced?")
    begins_at, expires_at = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    now = datetime.now(timezone.utc)
    if expires_at <= now:
        raise SettingsError(f"the certificate was good until {expires_at.isoformat()}; renew it")
    if begins_at > now:
        raise SettingsError(
            f"the certificate is good from {begins_at.isoformat()} on; wait, or set the clock"
        )
    return expires_at


def _check_kind(certificate: x509.Certificate) -> None:
    """Refuse keys that gRPC takes and then fails every handshake with."""
    try:
        served = certificate.public_key_algorithm_oid == PublicKeyAlgorithmOID.RSAES_PKCS1_v1_5
        if certificate.public_key_algorithm_oid == PublicKeyAlgorithmOID.EC_PUBLIC_KEY:
            public_key: Any = certificate.public_key()
            served = public_key.curve.name in _CURVES
    except (ValueError, UnsupportedAlgorithm):
        served = False
    if not served:
        raise SettingsError(
            "the certificate's key must be RSA, or on the curve P-256, P-384 or P-521"
        )


def _check_authorities(authorities: bytes) -> None:
    try:
        x509.load_pem_x509_certificates(authorities)
    except ValueError as error:
        raise SettingsError("the file of authorities is not PEM, or damaged") from error


def _encoded(public_key: object) -> bytes:
    told: bytes = public_key.public_bytes(  # type: ignore[attr-defined]
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    return told
