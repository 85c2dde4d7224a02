"""Certificates made on the spot, for tests: authorities, servers and clients."""

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, in PEM."""

    certificate: bytes
    key: bytes


class Authority:
    """Signs certificates."""

    def __init__(self, name: str) -> None:
        self._name, self._key = _name(name), ec.generate_private_key(ec.SECP256R1())
        self._signed = self._sign(self._name, self._key, _DAY, 2 * _DAY, ca=True)
        self.certificate = self._signed.public_bytes(Encoding.PEM)

    def issue(
        self,
        name: str,
        lasting: timedelta = _DAY,
        key: Any = None,
        begun: timedelta = 2 * _DAY,
    ) -> Pair:
        """Return a certificate for ``name`` and for loopback; a negative time: one that has expired.

        ``key`` is a private one of any kind; None: a new one on a usual curve. One that is good only
        later has ``begun`` a negative time ago.
        """
        key = key or ec.generate_private_key(ec.SECP256R1())
        signed = self._sign(_name(name), key, lasting, begun, ca=False)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return Pair(signed.public_bytes(Encoding.PEM), private)

    def _sign(
        self, name: x509.Name, key: Any, lasting: timedelta, begun: timedelta, *, ca: bool
    ) -> x509.Certificate:
        now = datetime.now(timezone.utc)
        common = str(name.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
        alternatives = [
            x509.DNSName(f"{common}.example.com"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        ]
        # What the standard asks for, and Python insists on from 3.13 on.
        own_key = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        signing_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            x509.CertificateBuilder(self._name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - begun)
            .not_valid_after(now + lasting)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(own_key, critical=False)
            .add_extension(signing_key, critical=False)
            .add_extension(_use(signs=ca), critical=True)
            .sign(self._key, hashes.SHA256())
        )


def _use(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
