"""Knows how a person asks an Ilk server from a terminal: what is asked, and how answers are shown.

It refuses to know the command line's grammar (`arguments`) and the tables (`tables`). Answers go to
stdout, remarks to stderr. Exit 0: answered; 2: asked wrongly; 3: no answer, or nothing of that name.
"""

import dataclasses
import enum
import json
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence

from ilk.client import SimilarityClient
from ilk.client.credentials import tls_credentials, token_in
from ilk.errors import (
    DeadlineExceeded,
    IlkError,
    InvalidRequest,
    NotFound,
    SettingsError,
    Unauthenticated,
    Unavailable,
)
from ilk.program.printing import FAILED, run_printing
from ilk.terminal import tables
from ilk.terminal.arguments import parse
from ilk.types import (
    Examples,
    Filter,
    Item,
    ItemId,
    PredictionMethod,
    Profile,
    Query,
    Rating,
    Target,
    Text,
    UserId,
    Whom,
)

ASKED_WRONGLY = 2


def run() -> int:
    """Answer the process's command line and return its exit status."""
    return run_printing(main)


def main(argv: Sequence[str] | None = None) -> int:
    """Answer one command line (``sys.argv`` by default) and return the exit status.

    What only the server can know to be wrong, such as a genre, is status 2 as well.

    Raises
    ------
    SystemExit
        With status 2 where the command line makes no sense, 0 after ``--help``.
    """
    args = parse(argv)
    try:
        with _connected(args) as client:
            print(ANSWERS[args.command](client, args), flush=True)
    except IlkError as error:
        nobody = isinstance(error, Unavailable | DeadlineExceeded)
        _remark(f"no answer from {args.server}: {error}" if nobody else str(error))
        if advice := _advice(error):
            _remark(advice)
        return ASKED_WRONGLY if isinstance(error, InvalidRequest | SettingsError) else FAILED
    return 0


def _advice(error: IlkError) -> str | None:
    """Return what to do about an error that does not say so itself."""
    if isinstance(error, Unavailable):
        told = str(error)
        if "handshake failed" in told:
            return "--tls-ca must vouch for its certificate; a server in plaintext wants no --tls"
        if "Socket closed" in told:
            return "if it speaks TLS, connect with --tls or --tls-ca"
        return (
            "start a server there with `python -m server`, or name another with --server HOST:PORT"
        )
    if isinstance(error, DeadlineExceeded):
        return "wait longer with --timeout"
    if isinstance(error, Unauthenticated):
        return "name a file with a token by --token-file"
    if isinstance(error, NotFound):
        return "ids are those of the data; `ilk search` finds films by what you remember"
    return None


def _connected(args: Namespace) -> SimilarityClient:
    """Return a client of the server that the command line names, as it says who asks."""
    given = (args.tls_ca, args.tls_cert, args.tls_key)
    credentials = tls_credentials(*given) if args.tls or any(given) else None
    token = None if args.token_file is None else token_in(args.token_file)
    return SimilarityClient(
        args.server, timeout_s=args.timeout, credentials=credentials, token=token
    )


def similar_items(client: SimilarityClient, args: Namespace) -> str:
    """Answer which items are most like a film."""
    return _neighbors(client, args, ItemId(_film(client, args.film)))


def similar_users(client: SimilarityClient, args: Namespace) -> str:
    """Answer which users are most like a user."""
    return _neighbors(client, args, UserId(args.user_id), Target.USERS)


def recommend(client: SimilarityClient, args: Namespace) -> str:
    """Answer what a user of the bundle, or one described by their tastes, would like."""
    if args.user_id is not None:
        return _neighbors(client, args, UserId(args.user_id))
    rated = [title for title, _ in args.rate]
    liked, disliked, rated = _films(client, args.like, args.dislike, rated)
    ratings = (Rating(id_, stars) for id_, (_, stars) in zip(rated, args.rate, strict=True))
    profile = Profile(tuple(ratings), tuple(liked), tuple(disliked), tuple(args.genre))
    return _neighbors(client, args, profile)


def audience(client: SimilarityClient, args: Namespace) -> str:
    """Answer which users a film would please most."""
    return _neighbors(client, args, ItemId(_film(client, args.film)), Target.USERS)


def examples(client: SimilarityClient, args: Namespace) -> str:
    """Answer which items are near to some films and far from others."""
    liked, unliked = _films(client, args.like, args.unlike)
    return _neighbors(client, args, Examples(tuple(liked), tuple(unliked)))


def text(client: SimilarityClient, args: Namespace) -> str:
    """Answer which items' content is nearest to some words."""
    return _neighbors(client, args, Text(args.text))


def predict(client: SimilarityClient, args: Namespace) -> str:
    """Answer how many stars a user would give to each of some films."""
    (film_ids,) = _films(client, args.films)
    told = client.predict_ratings(args.user_id, film_ids, PredictionMethod(args.method))
    items, simulated = client.get_items(film_ids), client.get_bundle().simulated
    if args.json:
        return _json({"predictions": told, "items": items, "simulated": simulated})
    return tables.render_predictions(told, items, simulated=simulated)


def search(client: SimilarityClient, args: Namespace) -> str:
    """Answer which titles are like what was typed."""
    matches = client.search_titles(args.text, args.count)
    if args.json:
        return _json({"matches": matches})
    return tables.render_matches(matches) if matches else "no title is like that"


def items(client: SimilarityClient, args: Namespace) -> str:
    """Answer what is known of some ids."""
    known = client.get_items(args.ids)
    unknown = [item_id for item_id in args.ids if item_id not in known]
    if not known:
        raise NotFound("item", *unknown)
    if unknown:
        _remark(str(NotFound("item", *unknown)))
    if args.json:
        return _json({"items": known, "unknown_ids": unknown})
    return tables.render_items(known.values())


def bundle(client: SimilarityClient, args: Namespace) -> str:
    """Answer what is being served."""
    info = client.get_bundle()
    return _json(dataclasses.asdict(info)) if args.json else tables.render_bundle(info)


ANSWERS: dict[str, Callable[[SimilarityClient, Namespace], str]] = {
    "similar-items": similar_items,
    "similar-users": similar_users,
    "recommend": recommend,
    "audience": audience,
    "examples": examples,
    "text": text,
    "predict": predict,
    "search": search,
    "items": items,
    "bundle": bundle,
}


def _neighbors(
    client: SimilarityClient, args: Namespace, whom: Whom, target: Target = Target.ITEMS
) -> str:
    wanted = Filter(
        any_genres=tuple(args.genre_filter),
        min_year=args.min_year,
        max_year=args.max_year,
        exclude_seen=not args.include_seen,
    )
    query = Query(
        whom,
        target,
        content_weight=args.content_weight,
        filter=wanted,
        neighbor_count=args.count,
        diversity=args.diversity,
        popularity_penalty=args.popularity_penalty,
        include_components=True,
    )
    answer = client.find_neighbors(query)
    simulated = client.get_bundle().simulated
    if target is Target.USERS:
        known: dict[str, Item] = {}
        shown = tables.render_user_neighbors(answer, simulated=simulated)
    else:
        known = client.get_items(near.id for near in answer.neighbors)
        shown = tables.render_neighbors(answer, known, simulated=simulated)
    if not args.json:
        return shown
    # A named tuple is a list to JSON, where a neighbor's fields should keep their names.
    neighbors = [n._asdict() for n in answer.neighbors]
    told = dataclasses.asdict(dataclasses.replace(answer, neighbors=()))
    return _json(told | {"neighbors": neighbors, "items": known, "simulated": simulated})


def _film(client: SimilarityClient, typed: str) -> str:
    ((film_id,),) = _films(client, [typed])
    return film_id


def _films(client: SimilarityClient, *typed: Sequence[str]) -> list[list[str]]:
    """Return the item ids of what was typed, list by list; an exact id wins over a title."""
    by_id = client.get_items(dict.fromkeys(name for names in typed for name in names))
    taken: dict[str, str] = {}
    for name in dict.fromkeys(name for names in typed for name in names):
        item = by_id.get(name) or _best_match(client, name)
        year = "" if item.year is None else f" ({item.year})"
        _remark(f"{name!r} is taken as {item.title}{year}, id {item.id}")
        taken[name] = item.id
    return [[taken[name] for name in names] for names in typed]


def _best_match(client: SimilarityClient, title: str) -> Item:
    matches = client.search_titles(title, match_count=1)
    if not matches:
        raise NotFound("film", title)
    return matches[0].item


def _json(answer: object) -> str:
    return json.dumps(answer, default=_jsonable, indent=2)


def _jsonable(value: object) -> object:
    if isinstance(value, enum.Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(f"{value!r} has no JSON form")


def _remark(told: str) -> None:
    print(f"ilk: {told}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(run())
