"""Knows how users are forgotten: left out of later builds, taken out of what is live, and looked for.

It refuses to know training: item factors learnt with a user stay until the next build (docs/PRIVACY.md).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ilk.bundle import Bundle, Store, open_bundle, publish
from ilk.bundle.manifest import MANIFEST_NAME
from ilk.bundle.retention import clean_up, remove
from ilk.errors import BundleError, DataError, SettingsError
from indexer import scratch
from indexer.acceptance import gate
from indexer.acceptance.gate import GateSettings
from indexer.erasure.removal import without_users
from indexer.forgotten import Forgotten
from indexer.interactions import Interactions
from indexer.progress import note

_CHUNK_BYTES = 1 << 24
# Shorter ids occur in files of numbers by chance, and say nothing there.
_TELLING_BYTES = 8
# Of users only their ids are kept as text, which stand there end to end: part of two may read as a third.
_TEXTS = frozenset(
    {
        MANIFEST_NAME,
        "users.vocabulary.blob.npy",
        "items.vocabulary.blob.npy",
        "catalogue.titles.blob.npy",
        "title_names.names.blob.npy",
    }
)
_POLL_S = 0.25
# What is lost is what was asked for, so drift is told but not held against it. Nor is recall: the live
# bundle may be below the usual floor, and queries that an index falls short of are answered exactly.
_ASKED = GateSettings(recall_floor=0, accept_drift=True)


class _Overtaken(Exception):
    """Another version became live, or more users were forgotten, while a bundle was made."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What forgetting did.

    Attributes
    ----------
    version
        The live version, which holds none of the users.
    n_users, n_ratings
        How much the version that was live before held of them, and of any who were to be forgotten
        earlier and were still there.
    n_files
        Files of the live version that were searched for them.
    deleted
        Older versions that held some of them and are gone.
    unknown
        Who of the users was not in the version that was live before.
    """

    version: str
    n_users: int
    n_ratings: int
    n_files: int
    deleted: tuple[str, ...]
    unknown: tuple[str, ...]


def without_forgotten(data: Interactions, store: Path) -> tuple[Interactions, int]:
    """Return the ratings of those who are not forgotten in ``store``, and how many users are left out.

    Raises
    ------
    BundleError
        If the list of the forgotten cannot be read: without it nobody may be built from.
    DataError
        If no rating is left.
    """
    forgotten = Forgotten.of(Store(store))
    if not forgotten.hashes:
        return data, 0
    out = forgotten.among(data.user_ids)
    stays = ~out[data.user_rows]
    if not stays.any():
        raise DataError(data.source, "holds ratings of forgotten users alone")
    return data.only(stays), int(out.sum())


def forget(store: Store, user_ids: Sequence[str], wait_s: float) -> Outcome:
    """Take users out of the live bundle and out of every later build, and see that they are gone.

    Parameters
    ----------
    user_ids
        As the data names them; unknown ones are left out of later builds all the same.
    wait_s
        How long to wait for servers to let go of versions that hold them.

    Raises
    ------
    SettingsError
        If an id is blank.
    BundleError
        If there is no sound live bundle, or the users are not gone from the whole store: the message
        says what holds them, and the same command can be run again.
    """
    if not all(user_id.strip() for user_id in user_ids):
        raise SettingsError("a user's id must not be blank")
    _change_list(store, lambda listed: listed.with_users(user_ids))
    rows = open_bundle(store.path).users.vocabulary.rows_of(user_ids)
    unknown = tuple(name for name, row in zip(user_ids, rows, strict=True) if row < 0)
    n_users, n_ratings = _take_out_of_live(store)
    deleted = _delete_holders(store, user_ids, wait_s)
    scratch.clean_up()
    live = open_bundle(store.path, trust_stamps=False)
    n_files = prove_absence(live, store.folder_of(live.version), user_ids)
    return Outcome(live.version, n_users, n_ratings, n_files, deleted, unknown)


def readmit(store: Store, user_ids: Sequence[str]) -> tuple[str, ...]:
    """Take users off the list of the forgotten, so that later builds have them if the data has.

    Returns
    -------
    tuple
        Those of them who were not on it.

    Raises
    ------
    BundleError
        If the list cannot be read or written.
    """
    before = _change_list(store, lambda listed: listed.without_users(user_ids))
    listed = before.among(user_ids)
    return tuple(name for name, was in zip(user_ids, listed, strict=True) if not was)


def _change_list(store: Store, change: Callable[[Forgotten], Forgotten]) -> Forgotten:
    """Change the list of a store under its lock; return the list that was."""
    try:
        with store.writing():
            before = Forgotten.of(store)
            after = change(before)
            if after != before:
                after.save(store)
    except OSError as error:
        raise BundleError(f"cannot write to {store.path}: {error}") from error
    return before


def prove_absence(bundle: Bundle, folder: Path, user_ids: Sequence[str]) -> int:
    """Look for users in every file of a bundle that could name one; return how many were searched.

    The column of user ids is searched entry by entry. Files of numbers are searched for the bytes of ids
    that are long enough not to be there by chance. Left aside are texts that are about no user, and may
    read as an id does: the items' ids and titles, the manifest, and what numpy writes before an array.

    Raises
    ------
    BundleError
        If a trace is found, naming the file.
    """
    held = held_users(bundle, user_ids)
    if len(held):
        raise BundleError(f"{bundle.version} still holds {len(held)} of the users")
    if bundle.ratings_by_item.others.max(initial=-1) >= len(bundle.users):
        raise BundleError(f"{bundle.version}: ratings of users who are not there")
    named = [i.encode() for i in user_ids if len(i.encode()) >= _TELLING_BYTES]
    searched = [path for path in sorted(folder.iterdir()) if path.name not in _TEXTS]
    for path in searched:
        if any(_occurs(encoded, path) for encoded in named):
            raise BundleError(f"{bundle.version}: {path.name} names one of the users; build again")
    return len(searched) + 1


def held_users(bundle: Bundle, user_ids: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return the rows of those of the users that a bundle holds, each once."""
    rows = bundle.users.vocabulary.rows_of(user_ids)
    return np.unique(rows[rows >= 0])


def _take_out_of_live(store: Store) -> tuple[int, int]:
    """Publish the live bundle without the forgotten; return how many users and ratings went."""
    while True:
        live, forgotten = open_bundle(store.path), Forgotten.of(store)
        rows = forgotten.rows_in(live.users.vocabulary)
        if not len(rows):
            return 0, 0
        manifest, arrays, indices = without_users(live, store.folder_of(live.version), rows)
        check = partial(_check, store=store, made_of=live.version, without=forgotten)
        try:
            publish(store, manifest, arrays, indices, check=check)
        except _Overtaken:
            note(f"{live.version} is no longer what to take users out of; starting over")
            continue
        return len(rows), live.manifest.n_ratings - manifest.n_ratings


def _check(staged: Bundle, store: Store, made_of: str, without: Forgotten) -> None:
    """Refuse what is behind the store, whose lock is held now and was not while ``staged`` was made."""
    if store.current_version() != made_of or Forgotten.of(store) != without:
        raise _Overtaken
    gate.check(staged, store, _ASKED, seed=0)


def _delete_holders(store: Store, user_ids: Sequence[str], wait_s: float) -> tuple[str, ...]:
    deadline = time.monotonic() + wait_s
    deleted: list[str] = []
    while True:
        in_use: list[str] = []
        with store.writing():
            # What killed builds and deletions left behind holds users too.
            clean_up(store)
            for version in _holders(store, user_ids):
                (deleted if remove(store, version) else in_use).append(version)
        if not in_use:
            return tuple(deleted)
        if time.monotonic() >= deadline:
            raise BundleError(
                f"{', '.join(in_use)} still hold the users and are in use, by a server that has not "
                f"changed over to {store.current_version()} yet; run the same command again when it has"
            )
        time.sleep(_POLL_S)


def _holders(store: Store, user_ids: Sequence[str]) -> list[str]:
    """Return the versions, the live one aside, that hold a user or cannot be asked."""
    holders = []
    for version in store.list_versions():
        if version == store.current_version():
            continue
        try:
            holds = bool(len(held_users(open_bundle(store.path, version), user_ids)))
        except BundleError:
            holds = True
        if holds:
            holders.append(version)
    return holders


def _occurs(needle: bytes, path: Path) -> bool:
    with path.open("rb") as file:
        if path.suffix == ".npy":
            file.seek(np.lib.format.open_memmap(path, mode="r").offset)
        tail = b""
        while chunk := file.read(_CHUNK_BYTES):
            if needle in tail + chunk:
                return True
            tail = chunk[-len(needle) :]
    return False
