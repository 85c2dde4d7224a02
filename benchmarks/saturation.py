"""What a server does that is never idle: h2load keeps it busy.

A client in Python spends more on a call than the server does. One worker is measured on a core of its
own, the programs that call on another. Two workers on two cores leave none for those, so they are held
against one worker that shares its one core with half as many of them.
"""

import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.processes import ServerProcess, held_to

# For each core of theirs, each with a connection and a request of its own; calls on each.
_PROGRAMS = 8
_UNDER_WAY = 8
_RATE = re.compile(r"finished in [\d.]+\w+, ([\d.]+) req/s")
_DONE = re.compile(r"(\d+) succeeded, 0 failed, 0 errored, 0 timeout")
SERVER_CORE = 0
CLIENT_CORES = (1,)


def is_there() -> bool:
    """Whether this machine can measure it."""
    return shutil.which("h2load") is not None


def saturate(
    server: ServerProcess,
    bodies: Sequence[bytes],
    n_calls: int,
    cores: Sequence[int] = CLIENT_CORES,
    method: str = "FindNeighbors",
) -> tuple[float, float]:
    """Return CPU microseconds per call of ``method``, and calls per second.

    Parameters
    ----------
    bodies
        Requests of ``method``: each of the programs asks one, over and over.
    n_calls
        Of all programs together, rounded down to as many for each.
    cores
        Where they run.
    """
    cpu_s, n_programs = server.cpu_s(), _PROGRAMS * len(cores)
    n_each = n_calls // n_programs
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / str(n) for n in range(n_programs)]
        for file, body in zip(files, bodies, strict=False):
            file.write_bytes(b"\0" + struct.pack(">I", len(body)) + body)
        programs = [
            _program(server.address, method, file, n_each, cores[at % len(cores)])
            for at, file in enumerate(files)
        ]
        said = [program.communicate()[0] for program in programs]
    spent_s = server.cpu_s() - cpu_s
    rates = [_RATE.search(text) for text in said]
    if not all(rates) or not all(map(_DONE.search, said)):
        raise RuntimeError(f"h2load had calls that failed:\n{said[0]}")
    return 1e6 * spent_s / (n_each * n_programs), sum(
        float(rate.group(1)) for rate in rates if rate
    )


def _program(
    address: str, method: str, body: Path, n_calls: int, core: int
) -> "subprocess.Popen[str]":
    command = ["h2load", "-n", str(n_calls), "-c", "1", "-m", str(_UNDER_WAY), "-d", str(body)]
    headers = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
    url = f"http://{address}/ilk.v1.SimilarityService/{method}"
    program = subprocess.Popen([*command, *headers, url], stdout=subprocess.PIPE, text=True)
    held_to(program.pid, core)
    return program
