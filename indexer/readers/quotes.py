"""Knows whether the quotes of a delimited file stand where quotes belong, seen as its bytes go by.

It refuses to know cells. pyarrow takes a quote wherever it stands: text after a closing one, as in
``"a"b``, one that is never closed, and line breaks between two, wherever its blocks do not end there.
"""

import codecs
import io
from typing import IO

import numpy as np
import numpy.typing as npt

_QUOTE, _LINE_FEED, _RETURN = b'"\n\r'


class QuoteWatch(io.RawIOBase):
    """Passes on the bytes of a file, to its end, and looks at what is beside each quote.

    Parameters
    ----------
    file
        Of text in UTF-8 or an encoding of one byte a letter.
    delimiter
        Between cells, one character of ASCII.
    many_lines
        Whether there may be line breaks between an opening and a closing quote.
    """

    def __init__(self, file: IO[bytes], delimiter: str, *, many_lines: bool) -> None:
        self._file = file
        self._many_lines = many_lines
        self._is_edge = np.zeros(256, np.bool_)
        self._is_edge[list(f'{delimiter}\r\n"'.encode())] = True
        self._tail = b""
        self._n_quotes = 0
        self._well_placed = True

    @property
    def sound(self) -> bool:
        """Whether every cell that a quote opens is closed by one, and every other quote is doubled."""
        return self._well_placed and self._n_quotes % 2 == 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return the file's next bytes."""
        block = self._file.read(size)
        if self._n_quotes % 2 or b'"' in self._tail or b'"' in block:
            # The last byte waits for the one after it; the file stands between two line breaks.
            if self._tail:
                window = self._tail + (block or b"\n")
            else:
                window = b"\n" + block.removeprefix(codecs.BOM_UTF8)
            self._look_at(np.frombuffer(window, np.uint8))
            self._tail = window[-2:]
        else:
            # Most files hold no quote, and blocks are too large to be copied for nothing.
            self._tail = (self._tail + block[-2:])[-2:]
        return block

    def _look_at(self, window: npt.NDArray[np.uint8]) -> None:
        at = np.flatnonzero(window[1:-1] == _QUOTE) + 1
        first = self._n_quotes % 2
        opening, closing = at[first::2], at[1 - first :: 2]
        # A doubled quote closes a cell and opens it again, so that each has the other beside it.
        for beside in (window[opening - 1], window[closing + 1]):
            self._well_placed &= bool(self._is_edge[beside].all())
        if not self._many_lines:
            breaks = np.flatnonzero((window[1:-1] == _LINE_FEED) | (window[1:-1] == _RETURN)) + 1
            n_before = self._n_quotes + np.searchsorted(at, breaks)
            self._well_placed &= not (n_before % 2).any()
        self._n_quotes += len(at)
