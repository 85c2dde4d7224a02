"""Knows how a loaded server is entered: in plaintext or by TLS, with a token or without.

It refuses to know what is asked once inside.
"""

from dataclasses import dataclass
from pathlib import Path

import grpc

from ilk.client.credentials import tls_credentials


@dataclass(frozen=True)
class Entry:
    """How a server is entered; can be sent to another process.

    Attributes
    ----------
    tls
        Whether by TLS.
    files
        Authorities, own certificate and own key.
    token
        Sent with each call; None: none.
    """

    tls: bool = False
    files: tuple[Path | None, Path | None, Path | None] = (None, None, None)
    token: str | None = None

    def credentials(self) -> grpc.ChannelCredentials | None:
        """Return what makes a connection TLS; None: it is plaintext."""
        return tls_credentials(*self.files) if self.tls else None


PLAINTEXT = Entry()
"""How a server on loopback is entered."""
