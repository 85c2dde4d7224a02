"""Knows how values are read from a mapped file one after the other, and never from beyond its end.

It refuses to know what they are.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ilk.errors import BundleCorrupt

Bytes = npt.NDArray[np.uint8]


@dataclass(slots=True)
class Cursor:
    """A place in a mapped file; what lies beyond the end of the file is refused."""

    name: str
    data: Bytes
    at: int = 0

    def take(self, dtype: str, count: int) -> npt.NDArray[Any]:
        """Return the next values, as they lie in the file."""
        size_bytes = np.dtype(dtype).itemsize * count
        if not 0 <= size_bytes <= len(self.data) - self.at:
            raise self.broken(f"declares {count} values where the file has not that many bytes")
        # A view: nothing is read before somebody looks.
        values = np.frombuffer(self.data, dtype, count, self.at)
        self.at += size_bytes
        return values

    def scalar(self, dtype: str) -> Any:
        """Return the next value."""
        return self.take(dtype, 1)[0].item()

    def vector(self, dtype: str) -> npt.NDArray[Any]:
        """Return the next values, of which a number before them says how many they are."""
        return self.take(dtype, self.scalar("<u8"))

    def ahead(self, fourcc: bytes) -> bool:
        """Whether a part of this type follows."""
        return bytes(self.data[self.at : self.at + 4]) == fourcc

    def begins(self, fourcc: bytes) -> bool:
        """Whether a part of this type follows; if so, its name is taken."""
        found = self.ahead(fourcc)
        self.at += 4 * found
        return found

    def expect(self, what: str, found: object, expected: object) -> None:
        """Refuse the file where it holds something else."""
        if found != expected:
            raise self.broken(f"{what} is {found}, expected {expected}")

    def broken(self, problem: str) -> BundleCorrupt:
        """Return what refuses the file."""
        return BundleCorrupt(f"{self.name}: faiss cannot read it: {problem}; build again")
