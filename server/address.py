"""Knows how an address is written and told, and how a port is held for several processes.

It refuses to know who listens.
"""

import contextlib
import errno
import ipaddress
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ilk.errors import SettingsError


def address_of(host: str, port: int) -> str:
    """Return ``host:port``, the host of an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def check_host(flag: str, host: str) -> None:
    """Raise SettingsError, with ``flag`` to blame, if ``host`` is no address and no name of one."""
    try:
        socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise SettingsError(f"{flag} {host!r} cannot be resolved to an address: {error}") from error


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on ``host``."""
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError:
        return False
    return all(ipaddress.ip_address(str(each).partition("%")[0]).is_loopback for each in found)


def taken(address: str, error: OSError | None = None) -> SettingsError:
    """Return the error of an address that cannot be listened on."""
    if error is not None and error.errno in (errno.EACCES, errno.EADDRNOTAVAIL):
        return SettingsError(f"cannot listen on {address}: {error.strerror}")
    return SettingsError(
        f"cannot listen on {address}: is another server there? Stop it, or name another port "
        "(0: any that is free)"
    )


def write_ready_file(path: Path, address: str) -> None:
    """Tell who waits for ``path`` to appear that ``address`` answers; SettingsError if it cannot be.

    A file is there with all that it says; what is there already, such as a pipe, is written into.
    """
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if path.exists():
            path.write_text(address + "\n", encoding="utf-8")
        else:
            staged.write_text(address + "\n", encoding="utf-8")
            staged.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            staged.unlink(missing_ok=True)
        raise SettingsError(f"--ready-file {path} cannot be written: {error}") from error


def remove_ready_file(path: Path) -> None:
    """Take back what :func:`write_ready_file` told, now or of a server before; SettingsError if it stays.

    What is no plain file, such as a pipe that somebody reads, is left alone.
    """
    try:
        if stat.S_ISREG(path.lstat().st_mode):
            path.unlink()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise SettingsError(f"--ready-file {path} cannot be removed: {error}") from error


@contextlib.contextmanager
def reserved(host: str, port: int) -> Iterator[int]:
    """Hold ``port`` (0: a free one, chosen here) for workers that set ``SO_REUSEPORT``.

    The socket is bound but never listens, so no connection is dealt to it; while it is held, the
    port stays ours though every worker should fall.

    Raises
    ------
    SettingsError
        If the address cannot be bound, or another process has it, even one that would share it.
    """
    with _told_of(host, port):
        family, chosen = _free(host, port)
        with socket.socket(family) as held:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            held.bind(chosen)
            yield int(chosen[1])


def expect_free(host: str, port: int) -> None:
    """Refuse an address of which another process has a part; errors as :func:`reserved`.

    gRPC is content with any of the addresses that a name has.
    """
    with _told_of(host, port):
        _free(host, port)


@contextlib.contextmanager
def _told_of(host: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES) or isinstance(
            error, socket.gaierror
        ):
            raise taken(address_of(host, port), error) from error
        raise


def _free(host: str, port: int) -> tuple[int, Any]:
    """Return the family of an address and where it can be bound; OSError if some of it cannot."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    (family, name), *others = [(info[0], info[4]) for info in found]
    chosen = _probed(family, name)
    # gRPC listens on all addresses of a name, and takes that of this machine to be both loopbacks.
    others += [(socket.AF_INET6, ("::1", port))] if host == "localhost" else []
    for other, name in others:
        try:
            _probed(other, (name[0], chosen[1]))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise
    return family, chosen


def _probed(family: int, name: Any) -> Any:
    """Return the address that was bound for a moment; OSError if it cannot be.

    Without SO_REUSEPORT the port of a server that shares it counts as taken.
    """
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(name)
        return probe.getsockname()
