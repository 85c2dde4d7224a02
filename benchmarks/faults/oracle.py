"""Knows what each version of a store must answer, and whether a reader sees one whole version.

It refuses to know how the store came to be as it is.
"""

from dataclasses import dataclass
from pathlib import Path

from ilk.bundle import Bundle, Store, open_bundle
from ilk.query import answer
from ilk.types import ItemId, Query, Target, UserId

Answers = tuple[tuple[tuple[str, float], ...], ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """A version that was opened to the last byte, and what it answered."""

    version: str
    answers: Answers


def answers_of(bundle: Bundle) -> Answers:
    """Return the answers to a few queries of each kind, ids and scores to the last bit."""
    item_id, user_id = bundle.items.vocabulary.id_of(0), bundle.users.vocabulary.id_of(0)
    queries = [
        Query(whom, target, neighbor_count=3)
        for whom in (ItemId(item_id), UserId(user_id))
        for target in Target
    ]
    return tuple(
        tuple((n.id, n.score) for n in answer(bundle, query).neighbors) for query in queries
    )


def see(store: Path, version: str | None = None) -> Seen:
    """Open the live version, or the one named, to the last byte; errors of opening are raised."""
    bundle = open_bundle(store, version, trust_stamps=False)
    return Seen(bundle.version, answers_of(bundle))


def leftovers(store: Store) -> list[str]:
    """Return the names of what is in a store and no part of it."""
    known = {"CURRENT", ".lock", "versions", "stamps", "forgotten.json"}
    return sorted(path.name for path in store.path.iterdir() if path.name not in known)
