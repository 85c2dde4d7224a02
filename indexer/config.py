"""Knows the settings file: where it is, and that nothing in it is a slip of the pen.

It refuses to know what the settings mean; the command line hands them on.
"""

import os
import sys
from dataclasses import fields
from pathlib import Path

from ilk.errors import SettingsError
from indexer.evaluation.report import EvaluationSettings
from indexer.gate import GateSettings
from indexer.settings import BuildSettings
from indexer.source import Source
from indexer.tuning import TuningSettings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# Read for every command that is not told otherwise by environment or flags.
PATH = Path(os.environ.get("ILK_CONFIG", "ilk.toml"))
_FLAGS = {"store", "version", "into", "json", "plots", "output", "journal", "quiet"}


def check(path: Path) -> None:
    """Refuse a settings file that cannot be read, or whose table ``[indexer]`` has an unknown key.

    Each command takes the keys that are its own, so that a slip would else be passed over.
    """
    if not path.exists():
        return
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8")).get("indexer", {})
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from error
    kinds = (BuildSettings, EvaluationSettings, GateSettings, Source, TuningSettings)
    known = _FLAGS | {f.name for kind in kinds for f in fields(kind)}
    unknown = sorted(key for key in table if key.replace("-", "_") not in known)
    if unknown:
        raise SettingsError(f"{path}: unknown in [indexer]: {', '.join(unknown)}")
