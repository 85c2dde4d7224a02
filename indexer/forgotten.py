"""Knows the list of who is to be left out of every build of a store.

It refuses to know who they are: it keeps salted hashes. Whoever has the list and guesses an id can see
whether it is on it, and no more.
"""

import json
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from ilk.bundle import Store
from ilk.bundle.manifest import sealed
from ilk.bundle.store import sync_folder
from ilk.errors import BundleError
from ilk.vocabulary import Vocabulary

_NAME = "forgotten.json"
_SALT_BYTES = 32
_HASH_BYTES = 16


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Hashes of user ids, and the salt they were made with."""

    salt: bytes
    hashes: frozenset[str]

    @classmethod
    def of(cls, store: Store) -> "Forgotten":
        """Return the list of a store; an empty one if it has none.

        Raises
        ------
        BundleError
            If there is a list and it cannot be read: it must not be passed over.
        """
        path = store.path / _NAME
        try:
            data = path.read_bytes()
            values = json.loads(data)
            del values["digest"]
            if sealed(values) != data:
                raise ValueError("it is not the list that was written")
            return cls(bytes.fromhex(values["salt"]), frozenset(values["users"]))
        except FileNotFoundError:
            return cls(secrets.token_bytes(_SALT_BYTES), frozenset())
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise BundleError(
                f"{path}, the list of who is forgotten, cannot be read: {error}; restore it, for a "
                "build without it would bring them back"
            ) from error

    def with_users(self, user_ids: Iterable[str]) -> "Forgotten":
        """Return the list with more users on it."""
        return Forgotten(self.salt, self.hashes | {self._hash(i) for i in user_ids})

    def without_users(self, user_ids: Iterable[str]) -> "Forgotten":
        """Return the list with some users off it, whether they were on it or not."""
        return Forgotten(self.salt, self.hashes - {self._hash(i) for i in user_ids})

    def among(self, user_ids: Iterable[str]) -> npt.NDArray[np.bool_]:
        """Return which of the users are on the list; shape ``(n_users,)``."""
        return np.fromiter((self._hash(i) in self.hashes for i in user_ids), np.bool_)

    def rows_in(self, vocabulary: Vocabulary) -> npt.NDArray[np.int64]:
        """Return the rows of those of a vocabulary who are on the list, rising."""
        if not self.hashes:
            return np.empty(0, dtype=np.int64)
        return np.flatnonzero(self.among(map(vocabulary.id_of, range(len(vocabulary)))))

    def save(self, store: Store) -> None:
        """Keep the list, so that it survives a power cut; OSError if the disk refuses."""
        path = store.path / _NAME
        staged = path.with_name(f".CURRENT.{_NAME}")
        with staged.open("wb") as file:
            file.write(sealed({"salt": self.salt.hex(), "users": sorted(self.hashes)}))
            file.flush()
            os.fsync(file.fileno())
        staged.replace(path)
        sync_folder(store.path)

    def _hash(self, user_id: str) -> str:
        encoded = user_id.encode("utf-8", "surrogatepass")
        return blake2b(encoded, key=self.salt, digest_size=_HASH_BYTES).hexdigest()
