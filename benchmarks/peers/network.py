"""Knows how a process gets a network of its own, with nothing in it but loopback. Linux only.

It refuses to know who needs one: services that insist on listening to every address.
"""

import ctypes
import fcntl
import os
import socket
import struct
from pathlib import Path

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 0x1


def enter_own_network() -> None:
    """Move this process, and those it will start, to a new network and bring its loopback up.

    Call it before the process has threads. Root needs no more; others become root of a new user
    namespace, which some systems forbid.

    Raises
    ------
    OSError
        If the system does not allow it.
    """
    uid, gid = os.getuid(), os.getgid()
    _unshare(_CLONE_NEWNET if uid == 0 else _CLONE_NEWNET | _CLONE_NEWUSER)
    if uid != 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    with socket.socket() as any_socket:
        request = struct.pack("16sh", b"lo", 0)
        _, flags = struct.unpack("16sh", fcntl.ioctl(any_socket, _GET_FLAGS, request))
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh", b"lo", flags | _UP))


def _unshare(flags: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.unshare(flags):
        error = ctypes.get_errno()
        raise OSError(error, f"no network namespace of our own: {os.strerror(error)}")
