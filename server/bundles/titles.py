"""Knows how typed text is matched with titles: case, accents, word order and small typos forgiven.

It refuses to know rows' meaning beyond their titles; matching itself is rapidfuzz's.
"""

import re
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from rapidfuzz import fuzz, process

from ilk.titles import TitleNames, normalized

_MIN_SCORE = 60.0
_HOLDS_ALL_SCORE = 90.0
_LACKS_A_WORD = 0.95
_YEAR_LAST = re.compile(r"\b(1[89]|20)\d\d\b(?=\W*$)")
# So many names are compared with a text letter by letter, of those that have most in common with it.
MOST_COMPARED: Final = 2048


class TitleSearch:
    """Finds titles.

    Parameters
    ----------
    names
        Of titles, the better known first: equal matches come in the order of rows.
    years
        Shape ``(n_items,)``: of each row, by which those that are equal to a text with a year at its end
        are told apart. None: they are not.
    """

    def __init__(
        self, names: TitleNames, years: npt.NDArray[np.integer[Any]] | None = None
    ) -> None:
        self._names = names
        self._years = years

    def search(self, text: str, n_matches: int) -> list[tuple[int, float]]:
        """Return rows and scores in [0, 1] of the titles most like ``text``, best first.

        The whole title counts as much as its words in any order; a title that only contains the text
        comes after one that is the text.
        """
        wanted = normalized(text)
        if not wanted:
            return []
        compared = self._names.like(wanted, MOST_COMPARED)
        names = [self._names.names[at] for at in compared.tolist()]
        whole, words, part = (
            process.cdist([wanted], names, scorer=scorer, dtype=np.float32)[0]
            for scorer in (fuzz.ratio, fuzz.token_sort_ratio, fuzz.token_set_ratio)
        )
        is_longer = np.fromiter(map(len, names), dtype=np.int64, count=len(names)) > len(wanted)
        holds_all = (part > 99.9) & is_longer
        by_name = np.maximum(np.maximum(whole, words), 0.6 * part + 0.4 * words)
        # Of the titles that hold every word asked for, the best known comes first, save for those
        # that hold little else; a title that lacks a word comes after them.
        by_name[(~holds_all) & (whole < 100) & (words < 100)] *= _LACKS_A_WORD
        # All of a shorter name stands in the text, and a word of the text is not in the name.
        lacks = (part > 99.9) & ~is_longer & (words < 100)
        by_name[lacks] = np.minimum(by_name[lacks], _HOLDS_ALL_SCORE * _LACKS_A_WORD)
        by_name[holds_all] = np.maximum(by_name[holds_all], _HOLDS_ALL_SCORE)
        rows, of_row = np.unique(self._names.rows[compared], return_inverse=True)
        scores = np.zeros(len(rows), dtype=np.float32)
        np.maximum.at(scores, of_row, by_name)
        year = _YEAR_LAST.search(text)
        is_other = np.zeros(len(rows), dtype=np.bool_)
        if year is not None and self._years is not None:
            is_other = self._years[rows] != int(year[0])
        best = np.lexsort((rows, is_other, -scores))[:n_matches]
        return [(int(rows[at]), float(scores[at]) / 100) for at in best if scores[at] >= _MIN_SCORE]
