"""Knows what an operator does to a store between builds: verify a version, go back to one.

It refuses to know how bundles are made.
"""

from ilk.bundle import Bundle, Store, open_bundle
from ilk.errors import BundleError, BundleMissing
from indexer.acceptance.gate import check_forgotten
from indexer.acceptance.validation import check_values


def verify(store: Store, version: str | None) -> str:
    """Read a version (None: the live one) to the last byte and return its name.

    Raises
    ------
    BundleError
        If there is none, it is not what was published, or a value in it is impossible.
    """
    return _verified(store, version).version


def roll_back(store: Store, to: str | None) -> str:
    """Make another version the live one, verified before, and return its name.

    Parameters
    ----------
    to
        None: the newest version older than the live one.

    Raises
    ------
    BundleError
        If there is none, it is not sound, it holds somebody who is forgotten, or another indexer is
        writing; the live one stays.
    """
    try:
        with store.writing():
            version = to or _before(store)
            check_forgotten(_verified(store, version), store)
            store.point_current_at(version)
    except OSError as error:
        raise BundleError(f"cannot write to {store.path}: {error}") from error
    return version


def _verified(store: Store, version: str | None) -> Bundle:
    bundle = open_bundle(store.path, version, trust_stamps=False)
    check_values(bundle)
    return bundle


def _before(store: Store) -> str:
    live = store.current_version()
    older = [version for version in store.list_versions() if version < live]
    if not older:
        raise BundleMissing(
            f"{store.path} holds no version older than {live}; it holds "
            f"{', '.join(store.list_versions())}"
        )
    return older[-1]
