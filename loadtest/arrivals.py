"""Knows when calls are due: a schedule made before the first is sent, whatever the server does.

It refuses to know what is called.
"""

import numpy as np
import numpy.typing as npt


def poisson(rate: float, duration_s: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return when calls of a Poisson process fall in ``[0, duration_s)``, rising, in seconds."""
    n_calls = int(rng.poisson(rate * duration_s))
    return np.sort(rng.uniform(0.0, duration_s, n_calls))


def constant(
    rate: float, duration_s: float, part: int = 0, n_parts: int = 1
) -> npt.NDArray[np.float64]:
    """Return evenly spaced times in ``[0, duration_s)``: every ``n_parts``-th from ``part`` on.

    Parameters
    ----------
    rate
        Calls a second of all parts together.
    part, n_parts
        The schedules of all parts, merged, are evenly spaced.
    """
    times: npt.NDArray[np.float64] = np.arange(part, np.ceil(rate * duration_s), n_parts) / rate
    return times[times < duration_s]
