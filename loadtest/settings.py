"""Knows every choice of a load test, its default and its range.

It refuses to know where choices come from; the command line reads them.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter, Token

from ilk.client.credentials import tls_credentials, token_in
from ilk.errors import SettingsError
from loadtest.entry import Entry
from loadtest.mix import DEFAULT_MIX, Mix, parse_mix

_MAX_RATE = 1_000_000.0


def _rates(kind: object, tokens: Sequence[Token]) -> tuple[float, ...]:
    try:
        return tuple(float(part) for token in tokens for part in token.value.split(",") if part)
    except ValueError as error:
        raise SettingsError(f"--rates must be numbers between commas: {error}") from error


def _mix(kind: object, tokens: Sequence[Token]) -> Mix:
    return parse_mix(",".join(token.value for token in tokens))


@dataclass(frozen=True)
class LoadSettings:
    """The choices of a load test.

    Parameters
    ----------
    rates
        Calls a second to offer, one step each, between commas.
    duration_s
        How long each step offers calls.
    warmup_s
        How long calls at the first rate are offered and forgotten before the first step.
    mix
        Kinds of call and their weights, as ``item=3,user=1``.
    arrivals
        "poisson": as from many callers who know nothing of each other; "constant": evenly spaced.
    timeout_s
        Deadline of each call.
    processes
        Generators. One sends a few thousand calls a second.
    connections
        Connections of each generator; workers of one port are reached by different connections.
    batch_size
        Queries in a call of kind ``batch``.
    neighbor_count
        Neighbors that each query asks for.
    zipf
        How unequal items and users are: the r-th most popular is drawn in proportion to 1 / r^zipf.
    seed
        Of every random choice.
    """

    rates: Annotated[tuple[float, ...], Parameter(converter=_rates, n_tokens=1, negative="")] = (
        100.0,
        250.0,
        500.0,
        1000.0,
    )
    duration_s: float = 5.0
    warmup_s: float = 1.0
    mix: Annotated[Mix, Parameter(converter=_mix, n_tokens=1, show_default=False)] = field(
        default_factory=lambda: dict(DEFAULT_MIX)
    )
    arrivals: Literal["poisson", "constant"] = "poisson"
    timeout_s: float = 1.0
    processes: int = field(default_factory=lambda: max(1, (os.cpu_count() or 1) // 2))
    connections: int = 4
    batch_size: int = 16
    neighbor_count: int = 10
    zipf: float = 1.0
    seed: int = 42

    def __post_init__(self) -> None:
        if not self.rates or not all(0 < rate <= _MAX_RATE for rate in self.rates):
            shown = ",".join(f"{rate:g}" for rate in self.rates)
            raise SettingsError(f"--rates must each be in (0, {_MAX_RATE:g}], got {shown!r}")
        for name in ("duration_s", "timeout_s"):
            _check(name, 0 < getattr(self, name) < math.inf, "positive", getattr(self, name))
        _check("warmup_s", 0 <= self.warmup_s < math.inf, "zero or more", self.warmup_s)
        for name in ("processes", "connections"):
            _check(name, 1 <= getattr(self, name) <= 256, "in [1, 256]", getattr(self, name))
        _check("batch_size", 1 <= self.batch_size <= 1000, "in [1, 1000]", self.batch_size)
        count = self.neighbor_count
        _check("neighbor_count", 1 <= count <= 1000, "in [1, 1000]", count)
        _check("zipf", 0 <= self.zipf <= 10, "in [0, 10]", self.zipf)
        _check("seed", 0 <= self.seed < 2**31, "in [0, 2^31)", self.seed)


@dataclass(frozen=True)
class Slo:
    """What every step must hold; what is unset is not asked.

    Parameters
    ----------
    slo_p50_ms
        Highest median latency of the answered calls, in milliseconds.
    slo_p95_ms
        The same of the 95th percentile.
    slo_p99_ms
        The same of the 99th.
    slo_p999_ms
        The same of the 99.9th.
    slo_error_share
        Highest share of calls that may fail, such as 0.001.
    """

    slo_p50_ms: float | None = None
    slo_p95_ms: float | None = None
    slo_p99_ms: float | None = None
    slo_p999_ms: float | None = None
    slo_error_share: float | None = None

    def __post_init__(self) -> None:
        for name in ("slo_p50_ms", "slo_p95_ms", "slo_p99_ms", "slo_p999_ms"):
            value = getattr(self, name)
            _check(name, value is None or 0 < value < math.inf, "positive", value)
        share = self.slo_error_share
        _check("slo_error_share", share is None or 0 <= share <= 1, "in [0, 1]", share)


@dataclass(frozen=True)
class Where:
    """What is loaded, and what is known of it.

    Parameters
    ----------
    target
        HOST:PORT of a running server. Default: the one on port 50051 of this machine; where none
        answers there, one is started on the embedded sample.
    ids
        File that ``learn`` wrote. Default: ids are learned from the server.
    tls
        Connect by TLS.
    tls_ca
        Authorities that may vouch for the server, in PEM; implies ``tls``. Default: gRPC's own.
    tls_cert
        The load generator's own certificate chain, in PEM; implies ``tls``.
    tls_key
        Its private key.
    token_file
        File with the token that is sent with each call.
    """

    target: str | None = None
    ids: Path | None = None
    tls: bool = False
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    token_file: Path | None = None

    def entry(self) -> Entry:
        """Return how the server is entered; SettingsError if a file cannot be read."""
        files = (self.tls_ca, self.tls_cert, self.tls_key)
        if self.tls or any(files):
            tls_credentials(*files)  # says what is wrong before processes are started
        token = None if self.token_file is None else token_in(self.token_file)
        return Entry(self.tls or any(files), files, token)


def _check(name: str, holds: bool, expected: str, found: object) -> None:
    if not holds:
        raise SettingsError(f"--{name.replace('_', '-')} must be {expected}, got {found}")
