"""Knows what a column of numbers or times may hold: all of it at once, or one cell's text.

It refuses to know files and their layouts, and whose ratings and times these are.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from indexer.readers.columns import Column

# The end of the year 9999; later "seconds" are milliseconds in disguise.
MAX_SECONDS = 253_402_300_799
MAX_FLOAT32 = float(np.finfo(np.float32).max)
# Dates as eight digits; as seconds these numbers would all be of one August, in 1970.
_FIRST_DATE, _LAST_DATE = 19_000_101, 21_001_231
# What a fraction of a second has beyond microseconds, down to nanoseconds.
_FINER = re.compile(r"(?<=\.\d{6})\d{1,3}(?!\d)")


def extremes(ratings: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Return the lowest and the highest, as they were written: 4.7, and not 4.699999809."""
    return float(str(ratings.min())), float(str(ratings.max()))


@dataclass(frozen=True, slots=True)
class NumberColumn(Column):
    """Finite numbers, within ``bounds`` (inclusive) if given; taken as float32."""

    bounds: tuple[float, float] | None = None

    @property
    def arrow_type(self) -> Any:
        """Single precision, which half stars fit exactly."""
        return pa.float32()

    def sound(self, values: Any) -> bool:
        """Compare the extremes only."""
        if values.null_count or not pc.all(pc.is_finite(values), min_count=0).as_py():
            return False
        if self.bounds is None or not len(values):
            return True
        extremes = pc.min_max(values).as_py()
        low, high = self._rounded_bounds
        return bool(low <= extremes["min"] and extremes["max"] <= high)

    def parser(self) -> Callable[[str], float]:
        """Read decimal notation."""
        rounded = self._rounded_bounds

        def parse(text: str) -> float:
            value = _number(self.name, text)
            if not math.isfinite(value) or abs(value) > MAX_FLOAT32:
                raise ValueError(f"{self.name} {text!r} is not a finite number")
            if not rounded[0] <= float(np.float32(value)) <= rounded[1]:
                assert self.bounds is not None
                low, high = self.bounds
                raise ValueError(f"{self.name} {text} is outside the scale {low:g} to {high:g}")
            return value

        return parse

    def taken(self, values: Any) -> npt.NDArray[np.float32]:
        """Hand over as numpy."""
        numbers: npt.NDArray[np.float32] = values.to_numpy()
        return numbers

    @property
    def _rounded_bounds(self) -> tuple[float, float]:
        # Rounded as the values are, or the float32 of 4.3 would be above a limit of 4.3.
        low, high = self.bounds or (-math.inf, math.inf)
        return float(np.float32(low)), float(np.float32(high))


@dataclass(frozen=True, slots=True)
class SecondsColumn(Column):
    """Unix seconds, whole or (``fractional``) cut to whole ones; taken as int64."""

    fractional: bool = False

    @property
    def arrow_type(self) -> Any:
        """Whole seconds stay integers, at half the memory of a detour over floats."""
        return pa.float64() if self.fractional else pa.int64()

    def sound(self, values: Any) -> bool:
        """Compare the extremes only."""
        if values.null_count or not len(values):
            return not values.null_count
        if self.fractional and not pc.all(pc.is_finite(values)).as_py():
            return False
        extremes = pc.min_max(values).as_py()
        return bool(max(-extremes["min"], extremes["max"]) <= MAX_SECONDS)

    def parser(self) -> Callable[[str], float]:
        """Read an integer, or any number if fractional."""

        def parse(text: str) -> float:
            try:
                value = _number(self.name, text)
            except ValueError as error:
                if not (self.fractional and text.strip()):
                    raise
                problem = "is neither Unix seconds nor an ISO 8601 time such as 2020-01-31T18:30:00"
                raise ValueError(f"{self.name} {text!r} {problem}") from error
            if not math.isfinite(value) or not (self.fractional or value.is_integer()):
                raise ValueError(f"{self.name} {text!r} is not a whole number of seconds")
            if abs(value) > MAX_SECONDS:
                raise ValueError(
                    f"{self.name} {text} is after the year 9999 in Unix seconds; "
                    "are these milliseconds?"
                )
            return value if self.fractional else int(value)

        return parse

    def taken(self, values: Any) -> npt.NDArray[np.int64]:
        """Round down, also before 1970."""
        seconds: npt.NDArray[np.int64] = values.to_numpy()
        return np.floor(seconds).astype(np.int64) if self.fractional else seconds


@dataclass(frozen=True, slots=True)
class DatetimeColumn(Column):
    """ISO 8601 dates or times, read as UTC where they have no ``zoned`` offset; taken as int64."""

    zoned: bool = False

    @property
    def arrow_type(self) -> Any:
        """Microseconds: the finest that reaches from year 1 to 9999."""
        return pa.timestamp("us", tz="UTC" if self.zoned else None)

    def sound(self, values: Any) -> bool:
        """Refuse only what is missing: pyarrow has read the rest."""
        return not values.null_count

    def parser(self) -> Callable[[str], Any]:
        """Read as pyarrow does, so that every Python version takes the same texts; cut nanoseconds."""

        def parse(text: str) -> Any:
            try:
                return pc.cast(pa.scalar(_FINER.sub("", text)), self.arrow_type).as_py()
            except (pa.ArrowInvalid, OverflowError, ValueError) as error:
                offset = "with" if self.zoned else "without"
                raise ValueError(
                    f"{self.name} {text!r} is not an ISO 8601 time {offset} an offset from UTC, "
                    "as the first row's is"
                ) from error

        return parse

    def taken(self, values: Any) -> npt.NDArray[np.int64]:
        """Count whole seconds since 1970, rounded down."""
        microseconds: npt.NDArray[np.int64] = values.cast(pa.int64()).to_numpy()
        return microseconds // 1_000_000


def are_dates(seconds: npt.NDArray[np.int64]) -> bool:
    """Whether what was read as seconds is all dates written as ``YYYYMMDD``, as basic ISO 8601 has it."""
    if not len(seconds) or seconds.min() < _FIRST_DATE or seconds.max() > _LAST_DATE:
        return False
    months, days = seconds // 100 % 100, seconds % 100
    return bool(((months >= 1) & (months <= 12) & (days >= 1) & (days <= 31)).all())


def _number(name: str, text: str) -> float:
    if not text.strip():
        raise ValueError(f"{name} is blank")
    # float() also takes 1_000 and digits of other scripts, which pyarrow does not.
    if "_" in text or not text.isascii():
        raise ValueError(f"{name} {text!r} is not a number")
    try:
        return float(text)
    except ValueError as error:
        raise ValueError(f"{name} {text!r} is not a number") from error
