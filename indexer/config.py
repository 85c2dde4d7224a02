"""Knows the settings file: that nothing in it is a slip, and how new settings get in.

It refuses to know where the file is, and what the settings mean; the command line hands them on.
"""

from dataclasses import fields
from pathlib import Path

import tomlkit
from cyclopts import App
from tomlkit.exceptions import TOMLKitError

from ilk.ann import IndexKind
from ilk.errors import SettingsError
from ilk.program import choices
from indexer.outputs import writing
from indexer.settings import BuildSettings


def check(path: Path, app: App) -> None:
    """Refuse a settings file that cannot be read, or whose table ``[indexer]`` has an unknown key.

    Each command of ``app`` takes the keys that are its own, so that a slip would else be passed over.
    """
    if not path.exists():
        return
    try:
        table = tomlkit.parse(path.read_text(encoding="utf-8")).unwrap().get("indexer", {})
    except (OSError, ValueError, TOMLKitError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from error
    if not isinstance(table, dict):
        raise SettingsError(f"{path}: [indexer] must be a table, got {table!r}")
    unknown = choices.unknown(app, table)
    if unknown:
        raise SettingsError(f"{path}: unknown in [indexer]: {', '.join(unknown)}")


def write(settings: BuildSettings, path: Path, remark: str) -> None:
    """Write settings into the table ``[indexer]``, with a remark; the rest of the file stays.

    Raises
    ------
    SettingsError
        If there is a file that cannot be read as TOML.
    IlkError
        If the file cannot be written.
    """
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        document = tomlkit.parse(text)
    except (OSError, ValueError, TOMLKitError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from error
    table = document.setdefault("indexer", tomlkit.table())
    for field in fields(BuildSettings):
        value = getattr(settings, field.name)
        for name in (field.name, field.name.replace("_", "-")):
            table.pop(name, None)
        if value is not None:
            table[field.name] = value.value if isinstance(value, IndexKind) else value
    table.comment(remark)
    with writing(path):
        try:
            path.write_text(tomlkit.dumps(document), encoding="utf-8")
        except OSError:
            # A disk that is full leaves half a file, and the rest of it is somebody's own. No other file
            # is put in its place: it may be mounted by itself.
            path.write_text(text, encoding="utf-8")
            raise
