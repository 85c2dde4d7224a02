"""Knows the command line that says who may call: ``python -m server.callers add NAME --scope query``.

It refuses to know servers; they look at the file themselves. A token is shown once, when it is made.
"""

import contextlib
import math
import os
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from cyclopts import App

from ilk import __version__
from ilk.errors import SettingsError
from ilk.program import exits
from server.access.callers import (
    Caller,
    Callers,
    Scope,
    new_token,
    parse_callers,
    parse_time,
    to_bytes,
)

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

app = App(
    name="callers",
    help="Say who may call a server, and what they may ask.",
    version=__version__,
)

_FILE = Path("callers.json")
_DAY_S = 86_400
_MOST_DAYS = 36_500


@app.command
def add(
    name: str,
    *,
    scope: list[Scope],
    file: Path = _FILE,
    certificate: str | None = None,
    days: float | None = None,
    expires_at: str | None = None,
    cost_per_s: float | None = None,
) -> None:
    """Add a caller. Its token, which nothing else knows, goes to stdout.

    Parameters
    ----------
    name
        What the server's log and limits know it by.
    scope
        query: ask for items. query-users: ask for users. admin: reflection. Repeatable.
    file
        Made if there is none.
    certificate
        The name in its client certificate, alternative or common: it is known by that, and has no token.
    days
        For so long.
    expires_at
        Until then, such as 2027-01-31T12:00:00Z.
    cost_per_s
        Its own rate limit, in multiplications a second.
    """
    until = _end(days, expires_at)
    token, digest = new_token()
    if certificate is not None:
        digest = None  # type: ignore[assignment]
    added = Caller(name, frozenset(scope), digest, certificate, until, cost_per_s)
    with _alone(file):
        before = _read(file).all if file.exists() else ()
        if any(caller.name == name for caller in before):
            raise SettingsError(f"{name!r} may call already: renew its token, or remove it first")
        if certificate is None:
            _show(token)
        _write(file, Callers((*before, added)))


@app.command
def renew(
    name: str, *, file: Path = _FILE, days: float | None = None, expires_at: str | None = None
) -> None:
    """Give a caller a new token, on stdout; the old one is good no more.

    Who is known by a certificate has no token, and gets more time alone.

    Parameters
    ----------
    name
        Whose.
    file
        Where they are.
    days
        For so long from now on. Default: the end stays what it is.
    expires_at
        Until then, such as 2027-01-31T12:00:00Z.
    """
    until = _end(days, expires_at)
    token, digest = new_token()
    with _alone(file):
        callers = _read(file).all
        of_old = _find(name, callers)
        if until is None and of_old.has_expired:
            raise SettingsError(f"the time of {name!r} is over: give it --days or --expires-at")
        ends_at_s = of_old.expires_at_s if until is None else until
        renewed = replace(of_old, expires_at_s=ends_at_s)
        if of_old.token_sha256 is not None:
            renewed = replace(renewed, token_sha256=digest)
            _show(token)
        elif until is None:
            raise SettingsError(f"{name!r} is known by a certificate: there is no token to renew")
        _write(file, Callers(renewed if c is of_old else c for c in callers))


@app.command
def remove(name: str, *, file: Path = _FILE) -> None:
    """Take a caller out.

    Parameters
    ----------
    name
        Whom.
    file
        Where they are.
    """
    with _alone(file):
        callers = _read(file).all
        _find(name, callers)
        _write(file, Callers(caller for caller in callers if caller.name != name))


@app.command(name="list")
def list_all(*, file: Path = _FILE) -> None:
    """Show who may call.

    Parameters
    ----------
    file
        Where they are.
    """
    for caller in _read(file).all:
        proofs = [] if caller.token_sha256 is None else ["token"]
        if caller.certificate is not None:
            proofs.append(f"certificate {caller.certificate}")
        known_by = " and ".join(proofs)
        scopes = " ".join(sorted(scope.value for scope in caller.scopes))
        print(f"{caller.name}\t{known_by}\t{scopes}\t{_until(caller)}")


def _show(token: str) -> None:
    """Print a token, all of it, before it is good: nobody would know one that could not be shown."""
    print(token, flush=True)


def _until(caller: Caller) -> str:
    if caller.expires_at_s is None:
        return "for ever"
    moment = datetime.fromtimestamp(caller.expires_at_s, timezone.utc)
    return f"{'expired' if caller.has_expired else 'until'} {moment:%Y-%m-%dT%H:%M:%SZ}"


def _end(days: float | None, expires_at: str | None) -> float | None:
    """Return when a caller's time ends; None where neither says."""
    if days is not None and expires_at is not None:
        raise SettingsError("give --days or --expires-at, not both")
    if days is not None:
        if not 0 < days <= _MOST_DAYS:
            raise SettingsError(f"--days must be in (0, {_MOST_DAYS}], got {days}")
        return math.floor(time.time() + days * _DAY_S)
    until = None if expires_at is None else parse_time(expires_at)
    if until is not None and until <= time.time():
        raise SettingsError(f"--expires-at {expires_at} is past")
    return until


def _find(name: str, callers: tuple[Caller, ...]) -> Caller:
    for caller in callers:
        if caller.name == name:
            return caller
    known = ", ".join(caller.name for caller in callers) or "nobody"
    raise SettingsError(f"no caller is named {name!r}; there is {known}")


@contextlib.contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Let no other of these commands change the file meanwhile: what one writes another would undo."""
    folder: int | None = None
    if fcntl is not None:
        # The folder, for the file itself is replaced. Where it knows no locks nobody can wait.
        with contextlib.suppress(OSError):
            folder = os.open(file.absolute().parent, os.O_RDONLY)
            fcntl.flock(folder, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if folder is not None:
            os.close(folder)


def _read(file: Path) -> Callers:
    try:
        return parse_callers(file.read_bytes())
    except OSError as error:
        raise SettingsError(f"--file {file}: {error}; is the path right?") from error


def _write(file: Path, callers: Callers) -> None:
    """Put the file in place at once: a server that looks sees the old one or the new one.

    Whoever may read the old one may read the new one; the first is for its owner alone.
    """
    staged: Path | None = None
    try:
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=file.name, delete=False) as opened:
            staged = Path(opened.name)
            opened.write(to_bytes(callers))
            opened.flush()
            os.fsync(opened.fileno())
        if file.exists():
            before = file.stat()
            if (before.st_uid, before.st_gid) != (os.getuid(), os.getgid()):
                os.chown(staged, before.st_uid, before.st_gid)
            staged.chmod(stat.S_IMODE(before.st_mode))
        staged.replace(file)
    except OSError as error:
        raise SettingsError(f"--file {file}: {error}; it is as it was") from error
    finally:
        if staged is not None:
            staged.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(exits.run(app))
