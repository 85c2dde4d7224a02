"""Knows how many cores this process may use, and whether processes can share a port.

It refuses to know what they are used for.
"""

import os
import sys
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def can_share_port() -> bool:
    """Whether the system deals a port's connections out to several processes, as Linux does.

    macOS lets several processes bind a port, and then gives every connection to one of them.
    """
    return sys.platform == "linux"


def usable_cores(quota: Path = _QUOTA) -> int:
    """Return the cores this process may run on: its affinity, cut to its container's quota.

    A container limited to half a core on a machine of 64 has one.
    """
    if sys.platform == "linux":
        n_cores = len(os.sched_getaffinity(0))
    else:
        n_cores = os.cpu_count() or 1
    try:
        allowed, period = quota.read_text(encoding="ascii").split()
        return max(1, min(n_cores, int(allowed) // int(period)))
    except (OSError, ValueError):  # no cgroup, or one without a limit: "max 100000"
        return n_cores


def default_workers() -> int:
    """Return a worker per usable core where they can share a port, else one."""
    return usable_cores() if can_share_port() else 1
