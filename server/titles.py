"""Knows how typed text is matched with titles: case, accents, word order and small typos forgiven.

It refuses to know rows' meaning beyond their titles; matching itself is rapidfuzz's.
"""

import re
import unicodedata
from collections.abc import Sequence

import numpy as np
from rapidfuzz import fuzz, process

from ilk.ann import top_rows

_MIN_SCORE = 60.0
_HOLDS_ALL_SCORE = 90.0
_LACKS_A_WORD = 0.95
# Nearly every title: no brackets, but those of a year at the end, so that it has one name.
_HAS_ONE_NAME = re.compile(r"[^()]*(\(\d{4}\))?")
_ARTICLES = {"a", "an", "the", "le", "la", "les", "il", "el", "der", "die", "das"}


class TitleIndex:
    """Titles, ready to be searched.

    Parameters
    ----------
    titles
        By row, better known first: equal matches come in the order of rows.
    """

    def __init__(self, titles: Sequence[str]) -> None:
        spelled = [(row, name) for row, title in enumerate(titles) for name in spellings(title)]
        self._rows = np.array([row for row, _ in spelled], dtype=np.int64)
        self._names = [name for _, name in spelled]
        self._lengths = np.array([len(name) for name in self._names])
        self._n_titles = len(titles)

    def search(self, text: str, n_matches: int) -> list[tuple[int, float]]:
        """Return rows and scores in [0, 1] of the titles most like ``text``, best first.

        The whole title counts as much as its words in any order; a title that only contains the text
        comes after one that is the text.
        """
        wanted = normalized(text)
        if not wanted:
            return []
        whole, words, part = (
            process.cdist([wanted], self._names, scorer=scorer, dtype=np.float32)[0]
            for scorer in (fuzz.ratio, fuzz.token_sort_ratio, fuzz.token_set_ratio)
        )
        holds_all = (part > 99.9) & (self._lengths > len(wanted))
        by_name = np.maximum(np.maximum(whole, words), 0.6 * part + 0.4 * words)
        # Of the titles that hold every word asked for, the best known comes first, save for those
        # that hold little else; a title that lacks a word comes after them.
        by_name[(~holds_all) & (whole < 100) & (words < 100)] *= _LACKS_A_WORD
        by_name[holds_all] = np.maximum(by_name[holds_all], _HOLDS_ALL_SCORE)
        scores = np.zeros(self._n_titles, dtype=np.float32)
        np.maximum.at(scores, self._rows, by_name)
        best = top_rows(scores, min(n_matches, len(scores)))
        return [(int(r), float(scores[r]) / 100) for r in best if scores[r] >= _MIN_SCORE]


def spellings(title: str) -> list[str]:
    """Return the names that a title may be asked for by, normalized.

    ``Amelie (Fabuleux destin d'Amélie Poulain, Le)`` is the whole, what stands before the brackets and
    what stands in each.
    """
    if _HAS_ONE_NAME.fullmatch(title) and not title.isdigit():
        return [normalized(title)]
    outside = re.sub(r"\([^()]*\)", " ", title)
    inside = [re.sub(r"^a\.?k\.?a\.? ", "", name) for name in re.findall(r"\(([^()]*)\)", title)]
    names = (normalized(name) for name in (title, outside, *inside) if not name.isdigit())
    return list(dict.fromkeys(name for name in names if name)) or [""]


def normalized(title: str) -> str:
    """Return lower-case words without accents, punctuation, a trailing year or a leading article."""
    bare = title.casefold()
    if not bare.isascii():
        # A raised number is a word of its own: Alien and its third part.
        spaced = re.sub("(?=[\u00b2\u00b3\u00b9\u2070-\u2079])", " ", bare)
        bare = unicodedata.normalize("NFKD", spaced)
        bare = "".join(c for c in bare if not unicodedata.combining(c))
    bare = re.sub(r"\(\d{4}\)\s*$", "", bare)
    words = re.findall(r"\w+", bare.replace("'", "").replace("\u2019", ""))
    if len(words) > 1 and words[-1] in _ARTICLES:
        words = [words[-1], *words[:-1]]
    if len(words) > 1 and words[0] in _ARTICLES:
        words = words[1:]
    return " ".join(words)
