"""Knows where the programs' settings file is: ``ilk.toml``, or what the variable ILK_CONFIG names.

It refuses to know what is in it.
"""

import os
import sys
from pathlib import Path
from typing import Final

from ilk.errors import SettingsError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

VARIABLE = "ILK_CONFIG"
# One that nobody named need not be there.
PATH = Path(os.environ.get(VARIABLE) or "ilk.toml")
_TABLES: Final = frozenset({"indexer", "server"})


def expect() -> None:
    """Refuse a file that is named and is not there; a slip would else leave all at its default.

    Raises
    ------
    SettingsError
        If the variable names no file.
    """
    named = os.environ.get(VARIABLE)
    if named and (not Path(named).exists() or Path(named).is_dir()):
        raise SettingsError(f"{VARIABLE} names {named}, which is no file; name one, or unset it")


def expect_known(path: Path = PATH) -> None:
    """Refuse a file with settings that are no program's; a slip would else leave all at its default.

    What cannot be read is left to who reads it.

    Raises
    ------
    SettingsError
        If something stands outside the programs' tables.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    unknown = sorted(tables.keys() - _TABLES)
    if unknown:
        raise SettingsError(
            f"{path}: settings stand in the tables [indexer] and [server], and {unknown[0]!r} in neither"
        )
