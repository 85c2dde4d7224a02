"""Knows what each version of a store must answer, and whether a reader sees one whole version.

It refuses to know how the store came to be as it is.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ilk.bundle import Bundle, Store, open_bundle
from ilk.query import answer
from ilk.types import ItemId, Neighbors, Query, Target, UserId

Told: TypeAlias = tuple[tuple[str, float], ...]
Answers: TypeAlias = tuple[Told, ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """A version that was opened to the last byte, and what it answered."""

    version: str
    answers: Answers


def queries_of(bundle: Bundle) -> tuple[Query, ...]:
    """Return a query of each kind, to the bundle's first item and user."""
    item_id, user_id = bundle.items.vocabulary.id_of(0), bundle.users.vocabulary.id_of(0)
    return tuple(
        Query(whom, target, neighbor_count=3)
        for whom in (ItemId(item_id), UserId(user_id))
        for target in Target
    )


def answers_of(bundle: Bundle) -> Answers:
    """Return the answers to :func:`queries_of`, ids and scores to the last bit."""
    return tuple(told_of(answer(bundle, query)) for query in queries_of(bundle))


def told_of(found: Neighbors) -> Told:
    """Return ids and scores of an answer, from a bundle or over the wire alike."""
    return tuple((n.id, n.score) for n in found.neighbors)


def see(store: Path, version: str | None = None) -> Seen:
    """Open the live version, or the one named, to the last byte; errors of opening are raised."""
    bundle = open_bundle(store, version, trust_stamps=False)
    return Seen(bundle.version, answers_of(bundle))


def leftovers(store: Store) -> list[str]:
    """Return the names of what is in a store and no part of it."""
    known = {"CURRENT", ".lock", "versions", "stamps", "forgotten.json"}
    return sorted(path.name for path in store.path.iterdir() if path.name not in known)
