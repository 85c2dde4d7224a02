"""Knows by what names the choices of a command line go, and refuses variables that are none of them.

It refuses to know what the choices mean, and how values are read.
"""

import difflib
import os
import re
from collections.abc import Iterable
from typing import Final, get_args

from cyclopts import App, ArgumentCollection

from ilk.errors import SettingsError

# What Kubernetes tells of a service with a program's name, to every container beside it.
_OF_A_SERVICE: Final = re.compile(r"SERVICE_(HOST|PORT)(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?")


def names(app: App) -> set[str]:
    """Return the names of all choices of a program, of each of its commands, as ``max_wait_s``."""
    found = set[str]()
    if app.default_command is not None:
        for argument in app.assemble_argument_collection(parse_docstring=False):
            found |= {_plain(name) for name in argument.names if name.startswith("--")}
    for command in (app[name] for name in app if not name.startswith("-")):
        found |= names(command)
    return found


def expect_variables(app: App, prefix: str) -> None:
    """Refuse a variable with the prefix that names no choice; a slip would else leave its default.

    Raises
    ------
    SettingsError
        If there is one.
    """
    told = [variable for variable in sorted(os.environ) if variable.startswith(prefix)]
    if not told:
        return
    known = {f"{prefix}{name.upper()}" for name in names(app)}
    for variable in told:
        if variable in known or _OF_A_SERVICE.fullmatch(variable, len(prefix)):
            continue
        near = difflib.get_close_matches(variable, known, 1)
        meant = f"; {near[0]} is meant, most likely" if near else ""
        raise SettingsError(f"the variable {variable} is no setting: rename or unset it{meant}")


def expect_whole(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Refuse a part of a number where a whole one belongs: a program's last ``config``.

    Left to itself the command line's library rounds it.

    Raises
    ------
    SettingsError
        If there is one.
    """
    for argument in arguments:
        if argument.hint is not int and int not in get_args(argument.hint):
            continue
        for token in argument.tokens:
            if _has_part(token.value):
                raise SettingsError(f"{argument.name} must be a whole number, got {token.value}")


def _has_part(value: str) -> bool:
    try:
        return "." in value and not float(value).is_integer()
    except ValueError:
        return False  # no number at all, as the library says itself


def unknown(app: App, keys: Iterable[str]) -> list[str]:
    """Return which keys of a settings file name no choice of a program."""
    known = names(app)
    return sorted(key for key in keys if _plain(key) not in known)


def _plain(name: str) -> str:
    return name.removeprefix("--").replace("-", "_")
