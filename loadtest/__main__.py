"""Knows the command line of the load test: ``python -m loadtest --rates 100,500 --output results``."""

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from cyclopts import App, Parameter
from google.protobuf import json_format

from ilk import __version__
from ilk.client import DEFAULT_TARGET
from ilk.errors import IlkError, SettingsError
from ilk.program import choices, exits
from ilk.v1 import similarity_pb2 as pb
from loadtest import plots, present, world
from loadtest.draw import Draw
from loadtest.entry import PLAINTEXT, Entry
from loadtest.figures import StepFigures, figures_of, missed
from loadtest.kinds import KINDS, STREAM, UNARY, Size, bodies
from loadtest.mix import DEFAULT_MIX, possible, why_left_out
from loadtest.own_server import NoServer, answers, sample_server
from loadtest.processes import Generators, Job, generators
from loadtest.settings import LoadSettings, Slo, Where
from loadtest.world import World

_MOST_QUERIES = 1_000_000

app = App(
    name="loadtest",
    help="Offer load to a server on a schedule, and tell what became of it.",
    config=choices.expect_whole,
    version=__version__,
)


class GoalMissed(IlkError):
    """A step did not hold what was asked of it."""


@app.default
def run(
    *,
    settings: Annotated[LoadSettings | None, Parameter(name="*")] = None,
    where: Annotated[Where | None, Parameter(name="*")] = None,
    slo: Annotated[Slo | None, Parameter(name="*")] = None,
    output: Path | None = None,
) -> None:
    """Offer each rate for a while; print throughput, latency and errors by rate.

    Parameters
    ----------
    output
        Folder for figures.json and load.png.
    """
    settings, slo, where = settings or LoadSettings(), slo or Slo(), where or Where()
    entry = where.entry()
    with _target(where, entry) as (target, known):
        mix, left_out = possible(settings.mix, known)
        served = world.version_served(target, entry)
        _note(f"{target} serves {served}: {len(known.items)} items, "
              f"{len(known.users)} users known")  # fmt: skip
        if served != known.bundle_version:
            _note(f"the ids are of {known.bundle_version}: what {served} lacks is NOT_FOUND")
        if left_out:
            _note(f"left out of the mix: {why_left_out(left_out, known)}")
        with generators(Job(target, known, dict(mix), settings, entry)) as offering:
            steps = list(_offer(offering, settings, tuple(mix)))
    print("\n" + "\n".join(present.kind_lines(steps[-1])))
    for warning in present.warnings(steps):
        _note(warning)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        present.write_json(steps, settings, mix, target, served, output / "figures.json")
        plots.draw(steps, f"{target}, bundle {served}", output / "load.png")
        _note(f"written: {output / 'figures.json'}, {output / 'load.png'}")
    if failures := missed(steps, slo):
        raise GoalMissed("goals missed:\n  " + "\n  ".join(failures))


@app.command
def learn(*, output: Path, where: Annotated[Where | None, Parameter(name="*")] = None) -> None:
    """Ask a server for ids, and write them as JSON for --ids, k6 and Locust.

    Parameters
    ----------
    output
        File to write.
    """
    where = where or Where()
    found = world.learn(where.target or DEFAULT_TARGET, where.entry())
    world.save(found, output)
    _note(f"written: {output}, {len(found.items)} items and {len(found.users)} users")


@app.command
def body(kind: str = "item", *, ids: Path, output: Path, seed: int = 42) -> None:
    """Write one call as h2load sends it: gRPC's five bytes of framing, then the message.

    Parameters
    ----------
    kind
        Kind of call, as in --mix; not stream.
    ids
        File that learn wrote.
    output
        File to write.
    seed
        Of what is drawn.
    """
    if kind not in KINDS or KINDS[kind].rpc == STREAM:
        unary = sorted(name for name in KINDS if KINDS[name].rpc != STREAM)
        raise SettingsError(f"unknown kind {kind!r}; expected one of {', '.join(unary)}")
    (message,) = _bodies(kind, ids, seed, 1)
    output.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
    _note(f"written: {output}, for /ilk.v1.SimilarityService/{KINDS[kind].rpc}")


@app.command
def queries(*, ids: Path, output: Path, count: int = 1000, seed: int = 42) -> None:
    """Write queries of all kinds as a JSON list, which ghz asks in turn.

    Parameters
    ----------
    ids
        File that learn wrote.
    output
        File to write.
    count
        Queries to write.
    seed
        Of what is drawn.
    """
    if not 1 <= count <= _MOST_QUERIES:
        raise SettingsError(f"--count must be in [1, {_MOST_QUERIES}], got {count}")
    unary = {name: weight for name, weight in DEFAULT_MIX.items() if KINDS[name].rpc == UNARY}
    mix, _ = possible(unary, world.load(ids))
    pools = {name: iter(_bodies(name, ids, seed, count)) for name in mix}
    weights = np.array(list(mix.values()), dtype=np.float64)
    drawn = np.random.default_rng(seed).choice(list(mix), size=count, p=weights / weights.sum())
    messages = [pb.FindNeighborsRequest.FromString(next(pools[name])) for name in drawn.tolist()]
    told = [json_format.MessageToDict(message) for message in messages]
    output.write_text(json.dumps(told, indent=0, ensure_ascii=False) + "\n", encoding="utf-8")
    _note(f"written: {output}, {count} queries for /ilk.v1.SimilarityService/{UNARY}")


def _bodies(kind: str, ids: Path, seed: int, n: int) -> Sequence[bytes]:
    settings = LoadSettings(seed=seed)
    draw = Draw(world.load(ids), settings.zipf, np.random.default_rng(seed))
    return bodies(KINDS[kind], draw, Size(settings.neighbor_count, settings.batch_size), n)


@contextlib.contextmanager
def _target(where: Where, entry: Entry) -> Iterator[tuple[str, World]]:
    """Yield the address of a server and what it holds."""
    with contextlib.ExitStack() as stack:
        target = where.target
        if target is None and answers(DEFAULT_TARGET, entry.credentials()):
            target = DEFAULT_TARGET
        elif target is None and entry != PLAINTEXT:
            raise SettingsError(
                f"no server at {DEFAULT_TARGET} that can be entered so: give --target"
            )
        elif target is None:
            _note(f"no server at {DEFAULT_TARGET}: building the sample and serving it")
            target = stack.enter_context(sample_server())
        elif not answers(target, entry.credentials()):
            raise NoServer(
                f"nothing answers at {target}; start a server there (make serve), or leave "
                "--target out to have one on the embedded sample"
            )
        yield target, world.learn(target, entry) if where.ids is None else world.load(where.ids)


def _offer(
    offering: Generators, settings: LoadSettings, kinds: tuple[str, ...]
) -> Iterator[StepFigures]:
    if settings.warmup_s:
        offering.offer(settings.rates[0], settings.warmup_s)
    print(present.headings())
    for rate in settings.rates:
        samples = offering.offer(rate, settings.duration_s)
        figures = figures_of(samples, rate, settings.duration_s, kinds)
        print(present.step_line(figures), flush=True)
        yield figures


def _note(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    sys.exit(exits.run(app))
