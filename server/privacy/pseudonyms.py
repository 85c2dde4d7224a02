"""Knows the names that users go by outside: each user has one, and only the server can tell whose it is.

It refuses to know who may ask. A pseudonym is the user's id, encrypted with AES-SIV (RFC 5297): an id
always becomes the same pseudonym, in every worker and from bundle to bundle, nobody without the key can
make or read one, and no table of all users is needed to read it back.
"""

import base64
import binascii
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from ilk.errors import SettingsError

# Ids are filled up to a multiple of this, or a pseudonym's length would tell how long the id is.
_BLOCK_BYTES: Final = 16
_TAG_BYTES: Final = 16
_END: Final = b"\x80"
# Keeps these pseudonyms apart from whatever else might one day be encrypted with the key.
_PURPOSE: Final = [b"ilk.user"]
_KEY_BYTES: Final = (32, 48, 64)


class Pseudonyms:
    """The pseudonyms under one key.

    Parameters
    ----------
    key
        32, 48 or 64 random bytes.
    """

    def __init__(self, key: bytes) -> None:
        self._cipher = AESSIV(key)

    def of(self, user_id: str) -> str:
        """Return the pseudonym of a user.

        Ids of up to 175 bytes have one that is short enough to be asked with.
        """
        ended = user_id.encode() + _END
        filled = ended.ljust(-(-len(ended) // _BLOCK_BYTES) * _BLOCK_BYTES, b"\0")
        sealed = self._cipher.encrypt(filled, _PURPOSE)
        return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def user_id(self, pseudonym: str) -> str | None:
        """Return whose pseudonym it is; None if it is none."""
        try:
            told = pseudonym.encode("ascii")
            sealed = base64.b64decode(told + b"=" * (-len(told) % 4), b"-_", validate=True)
            if len(sealed) <= _TAG_BYTES:
                return None
            filled = self._cipher.decrypt(sealed, _PURPOSE)
        except (UnicodeEncodeError, binascii.Error, InvalidTag):
            return None
        return filled.rstrip(b"\0").removesuffix(_END).decode()


def read_pseudonyms(path: Path) -> Pseudonyms:
    """Return the pseudonyms under the key in a file.

    Raises
    ------
    SettingsError
        If there is no key in it.
    """
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii"))
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"--pseudonym-key {path}: {error}; make one with `openssl rand -hex 32`"
        ) from error
    if len(key) not in _KEY_BYTES:
        raise SettingsError(
            f"--pseudonym-key {path} holds {len(key)} bytes, not 32, 48 or 64; "
            "make one with `openssl rand -hex 32`"
        )
    return Pseudonyms(key)
