"""Commands, flags, variables, files and names that the pages speak of exist."""

import contextlib
import importlib.util
import io
import re
import shlex
from collections.abc import Iterator
from dataclasses import fields

import pytest
from cyclopts import App, CoercionError, MissingArgumentError
from rich.console import Console

import benchmarks.__main__
import benchmarks.faults.__main__
import benchmarks.scale.__main__
import benchmarks.steadiness.__main__
import indexer.__main__
import loadtest.__main__
import server.__main__
import server.callers
from ilk.__main__ import ANSWERS
from ilk.terminal.arguments import parse
from server.settings import ServerSettings
from tests.docs.conftest import PAGES, ROOT, blocks, inline

APPS: dict[str, App] = {
    "indexer": indexer.__main__.app,
    "server": server.__main__.app,
    "server.callers": server.callers.app,
    "loadtest": loadtest.__main__.app,
    "benchmarks": benchmarks.__main__.app,
    "benchmarks.faults": benchmarks.faults.__main__.app,
    "benchmarks.scale": benchmarks.scale.__main__.app,
    "benchmarks.steadiness": benchmarks.steadiness.__main__.app,
}
# Where the text calls a command without its program's name.
ALONE = {"callers": "server.callers"} | dict.fromkeys(
    ("build", "evaluate", "tune", "forget"), "indexer"
)
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]+")
# Of other programs, in the text.
FLAGS_OF_OTHERS = {"--against", "--go", "--go-grpc", "--headless", "--require-hashes"}
# Files and a service, which read like names of Python.
NO_NAMES = {"ilk.toml", "server.lock", "indexer.lock", "indexer.yaml", "ilk.v1.SimilarityService"}
ROOMS = "ilk|indexer|server|loadtest|benchmarks|examples|tests|proto|deploy|docs"


def commands() -> Iterator[tuple[str, list[str], bool]]:
    """Yield every command of ours as program and arguments, and whether it is there to be copied."""
    lines = [(line, True) for _, body in blocks("sh") for line in joined(body).splitlines()]
    for line, to_copy in (*lines, *((code, False) for _, code in inline())):
        if called := parted(line):
            yield *called, to_copy


def joined(body: str) -> str:
    """Return a block of commands, each on one line."""
    return body.replace("\\\n", " ")


def parted(line: str) -> tuple[str, list[str]] | None:
    """Return program and arguments of a line; None where it is no command of ours, or cut short."""
    if "..." in line or "…" in line:
        return None
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        return None
    while words and re.match(r"[A-Z_]+=", words[0]):
        del words[0]
    if ">" in words:
        del words[words.index(">") :]
    if words[:2] == ["python", "-m"] and len(words) > 2:
        return words[2], words[3:]
    if len(words) < 2:
        return None
    first, second, *_ = words
    if first in ("ilk", "make") or (first in APPS and re.match(r"-|[a-z]+$", second)):
        return first, words[1:]
    if first in ALONE and (second.startswith("--") or first == "callers"):
        return ALONE[first], words[first == "callers" :]
    return None


@pytest.mark.parametrize(
    ("program", "arguments", "to_copy"),
    [pytest.param(*c, id=" ".join((c[0], *c[1]))) for c in commands()],
)
def test_a_command_is_understood(program: str, arguments: list[str], *, to_copy: bool) -> None:
    if "--help" in arguments or program in ("pytest", "locust"):
        return
    if program in APPS:
        # What the text names may leave out what else is needed, and have N for a number.
        left_out = () if to_copy else (MissingArgumentError, CoercionError)
        with contextlib.suppress(*left_out):
            APPS[program].parse_args(arguments, exit_on_error=False, print_error=False)
    elif program == "ilk":
        if arguments:
            parse(arguments)
    elif program == "make":
        assert re.search(rf"^{arguments[0]}:", MAKEFILE, re.MULTILINE)
        for variable in arguments[1:]:
            assert f"$({variable.partition('=')[0]}" in MAKEFILE
    else:
        assert importlib.util.find_spec(program)


def flags_of(app: App, *command: str) -> set[str]:
    """Return the flags that an app's help names, and those of its commands."""
    told = io.StringIO()
    app.help_print(command, console=Console(file=told, width=10_000))
    below = [] if command else [name for name in app if not name.startswith("-")]
    return set(FLAG.findall(told.getvalue())).union(*(flags_of(app, name) for name in below))


def flags_of_client() -> set[str]:
    """Return the flags that the help of ``ilk`` and of its commands names."""
    told = io.StringIO()
    for command in ANSWERS:
        with contextlib.redirect_stdout(told), contextlib.suppress(SystemExit):
            parse([command, "--help"])
    return set(FLAG.findall(told.getvalue()))


def test_every_flag_in_the_text_is_one_of_ours() -> None:
    known = flags_of_client().union(FLAGS_OF_OTHERS, *map(flags_of, APPS.values()))
    for page, code in inline():
        if parted(code) is None:
            assert set(FLAG.findall(code)) <= known, page


def test_every_variable_is_read() -> None:
    flags = flags_of(APPS["indexer"])
    settings = {field.name.upper() for field in fields(ServerSettings)}
    for page, text in PAGES.items():
        for program, name in re.findall(r"\bILK_(SERVER|INDEXER)_([A-Z_]+)", text):
            known = settings if program == "SERVER" else {f[2:].upper() for f in flags}
            assert name in known, page


@pytest.mark.parametrize("page", PAGES)
def test_files_and_names_that_are_spoken_of_are_there(page: str) -> None:
    for code in (text for of, text in inline() if of == page):
        if re.fullmatch(rf"(?:{ROOMS})(?:/[\w.-]+)+/?", code):
            assert (ROOT / code).exists(), code
        elif re.fullmatch(rf"(?:{ROOMS})(?:\.\w+)+", code) and code not in NO_NAMES:
            assert found(code), code


def found(dotted: str) -> bool:
    """Whether there is a module, or something in one, of that name."""
    names = dotted.split(".")
    module = importlib.import_module(names[0])
    for at, name in enumerate(names[1:], 1):
        if not hasattr(module, name):
            if not importlib.util.find_spec(".".join(names[: at + 1])):
                return False
            importlib.import_module(".".join(names[: at + 1]))
        module = getattr(module, name)
    return True


@pytest.mark.parametrize("name", APPS)
def test_every_flag_says_what_it_is(name: str) -> None:
    app = APPS[name]
    commands = [app, *(app[command] for command in app if not command.startswith("-"))]
    silent = {
        argument.name
        for command in commands
        if command.default_command
        for argument in command.assemble_argument_collection(parse_docstring=True)
        if argument.show and not argument.parameter.help
    }
    assert silent == set()
