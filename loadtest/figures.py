"""Knows what the calls of a step come to: throughput, latencies, errors, and whether goals are met.

It refuses to know how calls were sent and how figures are shown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import grpc
import numpy as np

from loadtest.samples import Samples
from loadtest.settings import Slo

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}
_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}


@dataclass(frozen=True, slots=True)
class Figures:
    """What some calls came to.

    Attributes
    ----------
    n_calls
        Calls that were due.
    answered_per_s
        Calls that ended OK within the step's time, per second of it.
    latency_ms
        Latency of the calls that ended OK, counted from when they were due, by quantile: "p50",
        "p95", "p99", "p99.9", "max". Empty if none did.
    errors
        Calls that ended otherwise, by status code.
    """

    n_calls: int
    answered_per_s: float
    latency_ms: Mapping[str, float]
    errors: Mapping[str, int]

    @property
    def error_share(self) -> float:
        """Share of the calls that failed, in [0, 1]."""
        return sum(self.errors.values()) / self.n_calls if self.n_calls else 0.0


@dataclass(frozen=True, slots=True)
class StepFigures:
    """One rate.

    Attributes
    ----------
    rate
        Calls a second that were asked for.
    offered_per_s
        Calls a second that were due; of Poisson arrivals not quite the same.
    lag_p99_ms
        How late the generator itself sent: far below the latencies, or they say more of it than of
        the server.
    total, by_kind
        All calls, and those of each kind.
    """

    rate: float
    offered_per_s: float
    lag_p99_ms: float
    total: Figures
    by_kind: Mapping[str, Figures]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        told = asdict(self)
        for part in (told["total"], *told["by_kind"].values()):
            part["error_share"] = sum(part["errors"].values()) / max(part["n_calls"], 1)
        return told


def figures_of(
    samples: Samples, rate: float, duration_s: float, kinds: Sequence[str]
) -> StepFigures:
    """Return the figures of one step.

    Parameters
    ----------
    samples
        Its calls.
    rate, duration_s
        What was asked for.
    kinds
        Names by the position that samples hold.
    """
    everything = np.ones(len(samples.due_s), dtype=np.bool_)
    by_kind = {
        name: _figures(samples, samples.kinds == at, duration_s) for at, name in enumerate(kinds)
    }
    lag = float(np.quantile(samples.lag_s, 0.99)) if len(samples.lag_s) else 0.0
    return StepFigures(
        rate=rate,
        offered_per_s=len(samples.due_s) / duration_s,
        lag_p99_ms=round(1e3 * lag, 3),
        total=_figures(samples, everything, duration_s),
        by_kind={name: figures for name, figures in by_kind.items() if figures.n_calls},
    )


def missed(steps: Sequence[StepFigures], slo: Slo) -> list[str]:
    """Return a sentence for each goal that a step missed."""
    limits = {
        "p50": slo.slo_p50_ms,
        "p95": slo.slo_p95_ms,
        "p99": slo.slo_p99_ms,
        "p99.9": slo.slo_p999_ms,
    }
    told = []
    for step in steps:
        for name, limit in limits.items():
            if limit is None:
                continue
            found = step.total.latency_ms.get(name)
            if found is None:
                told.append(f"at {step.rate:g}/s no call was answered, so {name} has no value")
            elif found > limit:
                told.append(f"at {step.rate:g}/s {name} is {found:.2f} ms, over {limit:g} ms")
        share = step.total.error_share
        if slo.slo_error_share is not None and share > slo.slo_error_share:
            told.append(
                f"at {step.rate:g}/s {share:.4%} of the calls failed, over {slo.slo_error_share:.4%}"
            )
    return told


def _figures(
    samples: Samples, chosen: "np.ndarray[Any, np.dtype[np.bool_]]", duration_s: float
) -> Figures:
    codes, latency_s = samples.codes[chosen], samples.latency_s[chosen]
    answered = codes == 0
    in_time = answered & (samples.due_s[chosen] + latency_s <= duration_s)
    found, counts = np.unique(codes[~answered], return_counts=True)
    return Figures(
        n_calls=len(codes),
        answered_per_s=round(float(np.count_nonzero(in_time)) / duration_s, 2),
        latency_ms=_latencies(latency_s[answered]),
        errors={
            _NAMES.get(code, str(code)): n
            for code, n in zip(found.tolist(), counts.tolist(), strict=True)
        },
    )


def _latencies(latency_s: "np.ndarray[Any, np.dtype[np.float64]]") -> dict[str, float]:
    """Return quantiles in milliseconds, each a latency that some call really had."""
    if not len(latency_s):
        return {}
    values = 1e3 * np.quantile(latency_s, list(QUANTILES.values()), method="higher")
    told = dict(zip(QUANTILES, values.tolist(), strict=True)) | {
        "max": 1e3 * float(latency_s.max())
    }
    return {name: round(value, 3) for name, value in told.items()}
