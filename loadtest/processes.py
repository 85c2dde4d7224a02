"""Knows how several processes offer one load: each a part of every step, all from one beginning.

It refuses to know what is sent; each part draws its own calls from a seed of its own.
"""

import asyncio
import contextlib
import gc
import multiprocessing
import selectors
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

import grpc
import numpy as np

from ilk.errors import IlkError
from loadtest import arrivals
from loadtest.draw import Draw
from loadtest.entry import Entry
from loadtest.generator import Generator, Schedule
from loadtest.kinds import BATCH, KINDS, Size, bodies
from loadtest.samples import Samples
from loadtest.settings import LoadSettings
from loadtest.world import World

# Bodies of a kind that a generator makes beforehand and goes through in turn.
_MAX_BODIES = 4096
_MAX_BATCH_BODIES = 256
# From the order to begin until the first call: long enough for all to be ready.
_LEAD_S = 0.3
_START_TIMEOUT_S = 60.0


class GeneratorFailed(IlkError):
    """A generator ended before its calls did; what it said is on stderr."""


@dataclass(frozen=True, slots=True)
class Job:
    """What every generator is told: whom to load, with what."""

    target: str
    world: World
    mix: dict[str, float]
    settings: LoadSettings
    entry: Entry = field(default_factory=Entry)


@dataclass(frozen=True, slots=True)
class Step:
    """One rate, offered for a while; ``seed`` tells it from the others."""

    rate: float
    duration_s: float
    start_s: float
    seed: int


class Generators:
    """The processes that offer a load.

    Parameters
    ----------
    connections
        To each of them.
    """

    def __init__(self, connections: Sequence[Connection]) -> None:
        self._connections = connections
        self._n_steps = 0

    def offer(self, rate: float, duration_s: float) -> Samples:
        """Offer one step and return its calls.

        Raises
        ------
        GeneratorFailed
            If a process ends early.
        """
        self._n_steps += 1
        step = Step(rate, duration_s, time.monotonic() + _LEAD_S, self._n_steps)
        try:
            for connection in self._connections:
                connection.send(step)
            return Samples.concatenate([connection.recv() for connection in self._connections])
        except (EOFError, OSError) as error:
            raise GeneratorFailed("a load generator died") from error


@contextlib.contextmanager
def generators(job: Job) -> Iterator[Generators]:
    """Run the generators of a job until the context ends.

    Raises
    ------
    GeneratorFailed
        If one cannot connect.
    """
    spawn = multiprocessing.get_context("spawn")
    pipes = [spawn.Pipe() for _ in range(job.settings.processes)]
    processes = [
        spawn.Process(target=_generate, args=(theirs, job, part), daemon=True)
        for part, (_, theirs) in enumerate(pipes)
    ]
    try:
        for process, (_, theirs) in zip(processes, pipes, strict=True):
            process.start()
            theirs.close()
        for ours, _ in pipes:
            if not ours.poll(_START_TIMEOUT_S) or ours.recv() != "ready":
                raise GeneratorFailed(f"a load generator could not connect to {job.target}")
        yield Generators([ours for ours, _ in pipes])
    except EOFError as error:
        raise GeneratorFailed("a load generator died while it was starting") from error
    finally:
        for process, (ours, _) in zip(processes, pipes, strict=True):
            ours.close()
            process.join(_LEAD_S)
            if process.is_alive():
                process.terminate()


def _generate(connection: Connection, job: Job, part: int) -> None:
    """Be one generator until the other end is closed."""
    # Selectors that count in milliseconds would send every call half a one late; select does not.
    loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
    with contextlib.suppress(EOFError, KeyboardInterrupt, BrokenPipeError):
        loop.run_until_complete(_serve(connection, job, part))
    loop.close()


async def _serve(connection: Connection, job: Job, part: int) -> None:
    settings = job.settings
    pools = _pools(job, part)
    generator = Generator(job.target, pools, settings.connections, settings.timeout_s, job.entry)
    try:
        await generator.ready()
    except (asyncio.TimeoutError, grpc.RpcError):
        connection.send("unreachable")
        return
    gc.collect()
    gc.freeze()
    connection.send("ready")
    weights = np.array(list(job.mix.values()), dtype=np.float64)
    try:
        while True:
            step: Step = connection.recv()
            connection.send(await generator.run(_schedule(step, settings, part, weights)))
    finally:
        await generator.close()


def _schedule(
    step: Step,
    settings: LoadSettings,
    part: int,
    weights: "np.ndarray[tuple[int], np.dtype[np.float64]]",
) -> Schedule:
    rng = np.random.default_rng((settings.seed, part, step.seed))
    if settings.arrivals == "poisson":
        due_s = arrivals.poisson(step.rate / settings.processes, step.duration_s, rng)
    else:
        due_s = arrivals.constant(step.rate, step.duration_s, part, settings.processes)
    kinds = rng.choice(len(weights), size=len(due_s), p=weights / weights.sum())
    return Schedule(step.start_s, due_s, kinds)


def _pools(job: Job, part: int) -> Mapping[str, Sequence[bytes]]:
    """Return bodies enough for the longest step, each kind's by its share of the mix."""
    settings = job.settings
    draw = Draw(job.world, settings.zipf, np.random.default_rng((settings.seed, part)))
    size = Size(settings.neighbor_count, settings.batch_size)
    n_calls = max(settings.rates) * settings.duration_s / settings.processes
    total = sum(job.mix.values())
    pools = {}
    for name, weight in job.mix.items():
        most = _MAX_BATCH_BODIES if KINDS[name].rpc == BATCH else _MAX_BODIES
        n_bodies = min(most, max(16, int(n_calls * weight / total)))
        pools[name] = bodies(KINDS[name], draw, size, n_bodies)
    return pools
