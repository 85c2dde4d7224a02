"""Knows what is kept of every call: when it was due, how late it left, how long it took, how it ended.

It refuses to know how calls are sent and what figures are made of them.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Samples:
    """Calls, one entry each, all arrays of shape ``(n,)``.

    Attributes
    ----------
    due_s
        When the schedule wanted the call sent, in seconds of its step.
    lag_s
        How much later it was sent: the generator's own fault.
    latency_s
        From when it was due to its end, so that a stall counts for every call it held up.
    kinds
        Positions in the mix's kinds.
    codes
        gRPC status codes; 0 is OK.
    """

    due_s: npt.NDArray[np.float64]
    lag_s: npt.NDArray[np.float64]
    latency_s: npt.NDArray[np.float64]
    kinds: npt.NDArray[np.uint8]
    codes: npt.NDArray[np.uint8]

    @classmethod
    def concatenate(cls, parts: Sequence["Samples"]) -> "Samples":
        """Return the calls of all parts."""
        names = cls.__dataclass_fields__
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


@dataclass(frozen=True, slots=True)
class Recorder:
    """Collects samples, cheaply; ``start_s`` is the clock's time at the step's beginning."""

    start_s: float
    _due: "array[float]" = field(default_factory=lambda: array("d"))
    _lag: "array[float]" = field(default_factory=lambda: array("d"))
    _latency: "array[float]" = field(default_factory=lambda: array("d"))
    _kinds: "array[int]" = field(default_factory=lambda: array("B"))
    _codes: "array[int]" = field(default_factory=lambda: array("B"))

    def add(self, due_s: float, sent_s: float, ended_s: float, kind: int, code: int) -> None:
        """Keep one call; times are of the clock."""
        self._due.append(due_s - self.start_s)
        self._lag.append(sent_s - due_s)
        self._latency.append(ended_s - due_s)
        self._kinds.append(kind)
        self._codes.append(code)

    def samples(self) -> Samples:
        """Return what was kept."""
        return Samples(
            np.array(self._due, dtype=np.float64),
            np.array(self._lag, dtype=np.float64),
            np.array(self._latency, dtype=np.float64),
            np.array(self._kinds, dtype=np.uint8),
            np.array(self._codes, dtype=np.uint8),
        )
