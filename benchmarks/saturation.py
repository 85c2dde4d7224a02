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

import grpc

from benchmarks.processes import ServerProcess, held_to

# For each core of theirs, each with a connection and a request of its own; calls on each.
_PROGRAMS = 8
_UNDER_WAY = 8
_BATCHES_UNDER_WAY = 1
# What stands before a message: whether it is compressed, and its length.
_HEAD = struct.Struct(">BI")
_RATE = re.compile(r"finished in [\d.]+\w+, ([\d.]+) req/s")
# h2load does not know how a call of gRPC ends: one that was refused has an answer of no bytes.
_DONE = re.compile(r"0 failed, 0 errored, 0 timeout(?s:.*)\((\d+)\) data")
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

    Raises
    ------
    RuntimeError
        If a call had no answer, or another than it has to a server that is idle.
    """
    n_programs = _PROGRAMS * len(cores)
    n_each, asked = n_calls // n_programs, bodies[:n_programs]
    expected = [n_each * n_bytes for n_bytes in _answer_bytes(server, method, asked)]
    cpu_s = server.cpu_s()
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / str(n) for n in range(n_programs)]
        for file, body in zip(files, asked, strict=True):
            file.write_bytes(_HEAD.pack(0, len(body)) + body)
        programs = [
            _program(server.address, method, file, n_each, cores[at % len(cores)])
            for at, file in enumerate(files)
        ]
        said = [program.communicate()[0] for program in programs]
    spent_s = server.cpu_s() - cpu_s
    rates = [_RATE.search(text) for text in said]
    done = [_DONE.search(text) for text in said]
    if not all(rates) or [int(bytes_.group(1)) for bytes_ in done if bytes_] != expected:
        raise RuntimeError(f"h2load had calls that failed or were refused:\n{said[0]}")
    return 1e6 * spent_s / (n_each * n_programs), sum(
        float(rate.group(1)) for rate in rates if rate
    )


def _answer_bytes(server: ServerProcess, method: str, bodies: Sequence[bytes]) -> list[int]:
    """Return how many bytes answer each, with what stands before a message."""
    with grpc.insecure_channel(server.address) as channel:
        ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            f"/ilk.v1.SimilarityService/{method}"
        )
        return [_HEAD.size + len(ask(body)) for body in bodies]


def _program(
    address: str, method: str, body: Path, n_calls: int, core: int
) -> "subprocess.Popen[str]":
    under_way = _BATCHES_UNDER_WAY if method.startswith("Batch") else _UNDER_WAY
    command = ["h2load", "-n", str(n_calls), "-c", "1", "-m", str(under_way), "-d", str(body)]
    headers = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
    url = f"http://{address}/ilk.v1.SimilarityService/{method}"
    program = subprocess.Popen([*command, *headers, url], stdout=subprocess.PIPE, text=True)
    held_to(program.pid, core)
    return program
