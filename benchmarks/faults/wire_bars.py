"""The bars over the wire, each a command: bent bodies, broken connections, any value of any field.

It refuses to know how things are bent, broken and drawn.
"""

import contextlib
import math
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.faults import odd_world, wire
from benchmarks.faults.anything import ask_anything
from benchmarks.faults.laws import Laws
from benchmarks.faults.sound import sound_requests
from benchmarks.faults.verdict import SEED, counts, judge
from benchmarks.faults.watched import RECOVERY_S, Watched, watched
from ilk.bundle import Bundle, open_bundle
from ilk.types import ItemId, Query
from indexer.progress import Progress
from indexer.publishing import assemble_and_publish
from indexer.sample import load_sample
from indexer.settings import BuildSettings


def run_bodies(*, seed: int = SEED, bodies: int = 20_000) -> None:
    """Send mutated requests of every rpc to a server with workers and a supervisor.

    Parameters
    ----------
    seed
        Of the mutations.
    bodies
        Requests, and messages of streams.
    """
    print(f"bodies: seed {seed}")
    with _attended(_sample) as (seen, bundle):
        laws, sound = Laws(bundle), _sound(bundle)
        wire.bend(seen.address, sound, laws, bodies // 50 + 200, seed + 1)
        seen.settle()
        heard = wire.bend(seen.address, sound, laws, bodies, seed)
        print(f"{'ends':<16} {counts(heard.codes)}")
        judge("bodies", bodies, heard.violations + _recovered(seen))


def run_connections(*, seed: int = SEED, connections: int = 1000) -> None:
    """Break HTTP/2 connections to a server with workers, its health and metrics ports too.

    Parameters
    ----------
    seed
        Of the damage.
    connections
        How many, one kind of damage after the other.
    """
    print(f"connections: seed {seed}")
    with _attended(_sample) as (seen, bundle):
        wire.bend(seen.address, _sound(bundle), Laws(bundle), 200, seed)
        wire.break_connections(seen, connections // 10 + 20, seed + connections)
        seen.settle()
        heard, by_kind = wire.break_connections(seen, connections, seed)
        for kind, n in sorted(by_kind.items()):
            print(f"  {kind:<40} {n:,}")
        print(f"{'ends':<16} {counts(heard.codes)}")
        judge("connections", connections, heard.violations + _recovered(seen))


def run_fields(*, seed: int = SEED, requests: int = 1000) -> None:
    """Send any value of any field of every rpc, to the sample and to a world of odd cases.

    Parameters
    ----------
    seed
        Of what Hypothesis draws.
    requests
        Of each rpc, to each of the two.
    """
    print(f"fields: seed {seed}")
    violations, n_asked = [], 0
    for world in (_sample, odd_world.built):
        with _attended(world) as (seen, bundle):
            ask_anything(seen.address, bundle, requests // 4 + 50, seed + 1)
            seen.settle()
            heard = ask_anything(seen.address, bundle, requests, seed)
            print(f"{'ends':<16} {counts(heard.codes)}")
            violations += heard.violations + _recovered(seen)
            n_asked += sum(n for code, n in heard.codes.items() if " " not in code)
    judge("fields", n_asked, violations)


@contextlib.contextmanager
def _attended(world: Callable[[Path], Bundle]) -> Iterator[tuple[Watched, Bundle]]:
    """Run a server of ``world``; yield it, and the bundle that it serves."""
    with tempfile.TemporaryDirectory() as name:
        bundle = world(Path(name) / "store")
        query = Query(ItemId(bundle.items.vocabulary.id_of(0)), neighbor_count=3)
        with watched(Path(name) / "store", query, Path(name)) as seen:
            yield seen, bundle


def _sample(store: Path) -> Bundle:
    quick = BuildSettings(factors=16, iterations=6, evaluate=False)
    assemble_and_publish(load_sample(n_users=600), store, quick, {}, Progress(quiet=True))
    return open_bundle(store)


def _sound(bundle: Bundle) -> dict[str, tuple[bytes, ...]]:
    return sound_requests(bundle.users.vocabulary.id_of(0))


def _recovered(seen: Watched) -> list[str]:
    """Say how the server stands after what was done to it; return what is wrong."""
    took_s = seen.recovery_s()
    print(f"{'latency':<16} back to normal after {took_s:.2f} s")
    late = [] if took_s < math.inf else [f"latency is not back to normal after {RECOVERY_S:g} s"]
    problems = seen.problems()
    # What a process that has ended takes nobody can tell.
    print(f"{'memory':<16} {'-' if problems else seen.growth()}")
    return problems + late
