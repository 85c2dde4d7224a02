"""Knows where the programs' settings file is: ``ilk.toml``, or what the variable ILK_CONFIG names.

It refuses to know what is in it.
"""

import os
from pathlib import Path

from ilk.errors import SettingsError

VARIABLE = "ILK_CONFIG"
# One that nobody named need not be there.
PATH = Path(os.environ.get(VARIABLE) or "ilk.toml")


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
