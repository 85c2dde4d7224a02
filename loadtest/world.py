"""Knows the ids and genres that calls are made of, and how a server tells them.

It refuses to know calls. No bundle is read: everything is asked of the server that will be loaded.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from ilk.client import SimilarityClient
from ilk.errors import IlkError, InvalidRequest, PermissionDenied
from ilk.types import ItemId, Query, Text
from loadtest.entry import PLAINTEXT, Entry

_MAX_ITEMS = 10_000
_MAX_USERS = 10_000
_PAGE = 1000
# Letters and words that titles of any catalogue are likely to hold.
_WORDS = ("a", "the", "of", "love", "man", "1", "e", "o", "s", "in")
# Expansions from items already known: enough to see most of a catalogue, few enough to be quick.
_N_EXPANSIONS = 40
_LEARN_TIMEOUT_S = 30.0


class NothingToAsk(IlkError):
    """The server named no item to ask about."""


@dataclass(frozen=True, slots=True)
class World:
    """What a server holds that may be asked about.

    Attributes
    ----------
    items
        Ids, those with most ratings first: the order that popularity is drawn by.
    users
        Ids; those met first when the audiences of popular items were asked for.
    genres
        Names.
    scale
        Lowest and highest stars; None for clicks.
    bundle_version
        Of the bundle they were learned from.
    users_withheld
        Why the server told of no users, in its words; empty if it told of what it holds.
    """

    items: tuple[str, ...]
    users: tuple[str, ...]
    genres: tuple[str, ...]
    scale: tuple[float, float] | None
    bundle_version: str
    users_withheld: str = ""


def learn(target: str, entry: Entry = PLAINTEXT) -> World:
    """Ask the server at ``target`` for the ids that it holds.

    Raises
    ------
    NothingToAsk
        If no item could be found.
    ServiceError
        If the server does not answer.
    """
    with _client(target, entry) as client:
        info = client.get_bundle()
        items = _by_popularity(client, _learn_items(client, info.genres))
        if not items:
            raise NothingToAsk(f"the server at {target} names no item; give ids with --ids")
        users, withheld = _learn_users(client, items)
    return World(items, users, info.genres, info.rating_scale, info.version, withheld)


def version_served(target: str, entry: Entry = PLAINTEXT) -> str:
    """Return the version of the bundle that ``target`` serves; ServiceError if it does not answer."""
    with _client(target, entry) as client:
        return client.get_bundle().version


def save(world: World, path: Path) -> None:
    """Write a world as JSON, for ``--ids`` and for other load generators."""
    path.write_text(json.dumps(asdict(world), indent=0, ensure_ascii=False) + "\n", "utf-8")


def load(path: Path) -> World:
    """Read what :func:`save` wrote.

    Raises
    ------
    NothingToAsk
        If the file cannot be read or lacks a part.
    """
    try:
        told = json.loads(path.read_text("utf-8"))
        scale = told["scale"]
        return World(
            tuple(told["items"]),
            tuple(told["users"]),
            tuple(told["genres"]),
            None if scale is None else (float(scale[0]), float(scale[1])),
            told["bundle_version"],
            told.get("users_withheld", ""),
        )
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise NothingToAsk(
            f"{path} cannot be read ({error}); write one with: python -m loadtest learn"
        ) from error


def _client(target: str, entry: Entry) -> SimilarityClient:
    return SimilarityClient(
        target, timeout_s=_LEARN_TIMEOUT_S, credentials=entry.credentials(), token=entry.token
    )


def _learn_items(client: SimilarityClient, genres: Iterable[str]) -> list[str]:
    """Return ids in the order they were met: by genre, by word, then neighbors of those."""
    found: dict[str, None] = {}
    for genre in genres:
        try:
            answer = client.find_neighbors(Query(Text(genre), neighbor_count=_PAGE))
        except InvalidRequest:  # a name that is no word of the content, such as a dash
            continue
        found.update(dict.fromkeys(n.id for n in answer.neighbors))
    for word in _WORDS:
        found.update(dict.fromkeys(m.item.id for m in client.search_titles(word, 100)))
    for item_id in list(found)[:: max(1, len(found) // _N_EXPANSIONS)]:
        if len(found) >= _MAX_ITEMS:
            break
        answer = client.find_neighbors(Query(ItemId(item_id), neighbor_count=_PAGE))
        found.update(dict.fromkeys(n.id for n in answer.neighbors))
    return list(found)[:_MAX_ITEMS]


def _by_popularity(client: SimilarityClient, ids: list[str]) -> tuple[str, ...]:
    counts: dict[str, int] = {}
    for start in range(0, len(ids), _PAGE):
        known = client.get_items(ids[start : start + _PAGE])
        counts |= {item_id: item.rating_count for item_id, item in known.items()}
    return tuple(sorted(counts, key=lambda item_id: -counts[item_id]))


def _learn_users(client: SimilarityClient, items: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """Return ids of users, and why there are none if the caller may not ask for them."""
    found: dict[str, None] = {}
    for item_id in items[:: max(1, len(items) // _N_EXPANSIONS)][:_N_EXPANSIONS]:
        if len(found) >= _MAX_USERS:
            break
        try:
            found.update(dict.fromkeys(n.id for n in client.audience(item_id, _PAGE).neighbors))
        except PermissionDenied as error:  # kinds that need users are left out of the mix
            return (), str(error)
    return tuple(found)[:_MAX_USERS], ""
