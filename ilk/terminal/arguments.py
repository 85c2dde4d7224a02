"""Knows the grammar of the terminal client's command line: commands, options, their help.

It refuses to know what a command does; it hands over the namespace that `__main__` answers.
"""

import argparse
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ilk import __version__
from ilk.client import DEFAULT_TARGET, DEFAULT_TIMEOUT_S
from ilk.types import DEFAULT_NEIGHBORS, PredictionMethod

if TYPE_CHECKING:
    Commands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]

_HOST_AND_PORT = re.compile(r"(?:\[[0-9A-Fa-f:.%\w]+\]|[^:/\s]+):(?P<port>\d{1,5})")
# Other targets that gRPC resolves (its naming document).
_OF_SCHEME = re.compile(r"(?:dns|ipv4|ipv6|unix|unix-abstract|vsock|xds):")
_FILM = "a film's id, or its title as you remember it"
_USER = "a user's id, as the data has it"


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what a command line asks for: ``command`` and its options, all of them set.

    Raises
    ------
    SystemExit
        With status 2, after a message on stderr, where the command line makes no sense.
    """
    parser = argparse.ArgumentParser(
        prog="ilk", description="Ask an Ilk server: nearest what to whom, by which likeness?"
    )
    parser.add_argument("--version", action="version", version=__version__)
    server = os.environ.get("ILK_SERVER") or DEFAULT_TARGET
    token_file = os.environ.get("ILK_TOKEN_FILE")
    given = {"tls": False, "tls_ca": None, "tls_cert": None, "tls_key": None}
    _add_connection(
        parser,
        server=server,
        timeout=DEFAULT_TIMEOUT_S,
        json=False,
        token_file=Path(token_file) if token_file else None,
        **given,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_film_questions(commands)
    _add_recommend(commands)
    _add_user_questions(commands)
    _add_predict(commands)
    _add_lookups(commands)
    args, unknown = parser.parse_known_args(argv)
    # Told with the usage of the command, which the parser of all commands does not know.
    refuse = commands.choices[args.command].error
    if unknown:
        refuse(f"unrecognized arguments: {' '.join(unknown)}")
    if args.command == "recommend":
        tastes = args.like or args.dislike or args.rate or args.genre
        if bool(tastes) is (args.user_id is not None):
            refuse("give either USER_ID or tastes (--like, --rate, --genre ...)")
    return args


def _add_film_questions(commands: "Commands") -> None:
    command = _add_command(commands, "similar-items", "films alike")
    command.add_argument("film", metavar="FILM", help=_FILM)
    _add_item_options(command)

    command = _add_command(commands, "examples", "films near to some and far from others")
    _add_films(command, "--like", "a film to be near to; repeatable", required=True)
    _add_films(command, "--unlike", "a film to be far from; repeatable")
    _add_item_options(command)

    command = _add_command(commands, "text", "films whose content is near to words")
    told = 'such as "animation comedy"; words that stand in no content say nothing'
    command.add_argument("text", metavar="WORDS", help=told)
    _add_item_options(command)


def _add_recommend(commands: "Commands") -> None:
    command = _add_command(commands, "recommend", "films for a user, or for anybody's tastes")
    command.add_argument("user_id", metavar="USER_ID", nargs="?", help=_USER)
    _add_films(command, "--like", "a film they like; repeatable")
    _add_films(command, "--dislike", "a film they dislike; repeatable")
    told = "the stars they gave a film, such as 'Toy Story=4.5'; repeatable"
    command.add_argument(
        "--rate", metavar="FILM=STARS", type=_rating, action="append", default=[], help=told
    )
    command.add_argument(
        "--genre", action="append", default=[], help="a genre they like; repeatable"
    )
    _add_item_options(command)
    command.set_defaults(include_seen=False)
    command.add_argument("--include-seen", action="store_true", help="also films they have rated")


def _add_user_questions(commands: "Commands") -> None:
    command = _add_command(commands, "similar-users", "users alike")
    command.add_argument("user_id", metavar="USER_ID", help=_USER)
    _add_neighbor_options(command)

    command = _add_command(commands, "audience", "users whom a film would please")
    command.add_argument("film", metavar="FILM", help=_FILM)
    _add_neighbor_options(command)


def _add_predict(commands: "Commands") -> None:
    command = _add_command(commands, "predict", "the stars that a user would give to films")
    command.add_argument("user_id", metavar="USER_ID", help=_USER)
    command.add_argument("films", metavar="FILM", nargs="+", help=_FILM)
    methods = [method.value for method in PredictionMethod]
    told = f"how: around baselines, or the textbook's cosine (default: {methods[0]})"
    command.add_argument("--method", choices=methods, default=methods[0], help=told)


def _add_lookups(commands: "Commands") -> None:
    command = _add_command(commands, "search", "films by what you remember of their titles")
    command.add_argument("text", metavar="TITLE")
    command.add_argument("--count", "-n", type=_count, default=10, help="matches (default: 10)")

    command = _add_command(commands, "items", "what is known of items")
    command.add_argument("ids", metavar="ID", nargs="+")

    _add_command(commands, "bundle", "what is being served")


def _add_command(commands: "Commands", name: str, told: str) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=told, description=told.capitalize() + ".")
    # The options of the connection may stand after the command too; left out there, what stands
    # before it, or its default, must not be overwritten.
    absent = argparse.SUPPRESS
    names = ("server", "timeout", "json", "token_file", "tls", "tls_ca", "tls_cert", "tls_key")
    _add_connection(command, **dict.fromkeys(names, absent))
    return command


def _add_connection(parser: argparse.ArgumentParser, **defaults: Any) -> None:
    told = f"where the server is (default: $ILK_SERVER, or {DEFAULT_TARGET})"
    parser.add_argument(
        "--server", metavar="HOST:PORT", type=_address, default=defaults["server"], help=told
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=_seconds,
        default=defaults["timeout"],
        help=f"how long to wait for each answer (default: {DEFAULT_TIMEOUT_S:g})",
    )
    parser.add_argument(
        "--json", action="store_true", default=defaults["json"], help="answer in JSON"
    )
    parser.add_argument(
        "--tls", action="store_true", default=defaults["tls"], help="connect by TLS"
    )
    for flag, told in (
        ("--token-file", "who asks (default: $ILK_TOKEN_FILE)"),
        (
            "--tls-ca",
            "whom to believe that the server is itself (default: gRPC's own); implies --tls",
        ),
        ("--tls-cert", "certificate chain of the one who asks, in PEM; implies --tls"),
        ("--tls-key", "its private key"),
    ):
        default = defaults[flag.removeprefix("--").replace("-", "_")]
        parser.add_argument(flag, metavar="FILE", type=Path, default=default, help=told)


def _add_films(
    command: argparse.ArgumentParser, flag: str, told: str, *, required: bool = False
) -> None:
    command.add_argument(
        flag, metavar="FILM", action="append", default=[], required=required, help=told
    )


def _add_item_options(command: argparse.ArgumentParser) -> None:
    _add_neighbor_options(command)
    command.add_argument(
        "--genre-filter",
        metavar="GENRE",
        action="append",
        help="only films of this genre; repeated, of any of them",
    )
    command.add_argument("--min-year", metavar="YEAR", type=int, help="no older films")
    command.add_argument("--max-year", metavar="YEAR", type=int, help="no younger films")


def _add_neighbor_options(command: argparse.ArgumentParser) -> None:
    command.set_defaults(genre_filter=[], min_year=None, max_year=None, include_seen=True)
    told = f"neighbors wanted (default: {DEFAULT_NEIGHBORS})"
    command.add_argument("--count", "-n", type=_count, default=DEFAULT_NEIGHBORS, help=told)
    told = "0: by what people rated alike, 1: by content, between: a blend (default: the server's)"
    command.add_argument("--content-weight", "-w", metavar="WEIGHT", type=_share, help=told)
    told = "0 to 1: how much likeness to those above counts against one (default: 0)"
    command.add_argument("--diversity", metavar="SHARE", type=_share, default=0.0, help=told)
    told = "0 to 1: how much popularity counts against one (default: 0)"
    command.add_argument(
        "--popularity-penalty", metavar="SHARE", type=_share, default=0.0, help=told
    )


def _rating(typed: str) -> tuple[str, float]:
    film, _, stars = typed.rpartition("=")
    try:
        if film.strip() and math.isfinite(float(stars)):
            return film, float(stars)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{typed!r} is not a film, '=' and a number of stars")


def _address(typed: str) -> str:
    """Return where a server is; gRPC would ask port 443 without a word, or 34463 for 99999."""
    told = _HOST_AND_PORT.fullmatch(typed)
    if _OF_SCHEME.match(typed) or (told and 1 <= int(told["port"]) <= 65_535):
        return typed
    raise argparse.ArgumentTypeError(f"{typed!r} is no HOST:PORT, such as {DEFAULT_TARGET}")


def _count(typed: str) -> int:
    try:
        if int(typed) >= 1:
            return int(typed)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{typed!r} is not a number from 1 on")


def _share(typed: str) -> float:
    try:
        if 0 <= float(typed) <= 1:
            return float(typed)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{typed!r} is not a number from 0 to 1")


def _seconds(typed: str) -> float:
    try:
        if 0 < float(typed) < math.inf:
            return float(typed)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{typed!r} is not a positive number of seconds")
