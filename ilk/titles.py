"""Knows the names that titles are asked for by, and which of them have most in common with a text.

It refuses to know how alike two names are, which takes much longer to tell: `server.bundles.titles`
asks that of the few that come out here.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from ilk.ann import top_rows
from ilk.errors import BundleCorrupt
from ilk.vectors import Rows
from ilk.vocabulary import StringColumn

# Nearly every title: no brackets, but those of a year at the end, so that it has one name.
_HAS_ONE_NAME = re.compile(r"[^()]*(\(\d{4}\))?")
_ARTICLES = {"a", "an", "the", "le", "la", "les", "il", "el", "der", "die", "das"}
# Three letters in a row are a gram; each is one of so many numbers, which few of them share.
_GRAM_NUMBERS: Final = 1 << 20
_MIX: Final = np.array([0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D], dtype=np.uint32)
_TO_NUMBER: Final = np.uint32(12)
_SPACE: Final = ord(" ")
# The rarest grams of a text tell most: no more are looked at once so many names were met, but a few.
_MOST_MET: Final = 500_000
_FEW_GRAMS: Final = 3
# Names that hold every gram of a text come before others, however much longer they are.
_HOLDS_ALL: Final = 0.9


@dataclass(frozen=True, slots=True)
class TitleNames:
    """The names of titles, and which hold each gram: three letters of a word with a space around it.

    Attributes
    ----------
    names
        ``n_names`` strings, :func:`normalized`.
    rows
        Shape ``(n_names,)``, int32, rising: the item whose title has the name.
    n_grams
        Shape ``(n_names,)``, int32: how many different grams a name has.
    grams
        Shape ``(n_grams,)``, int32, rising: the numbers of all grams that names have.
    indptr, holders
        Compressed rows, one a gram: int64 ``(n_grams + 1,)``; int32, the names that hold it, rising.
    """

    names: StringColumn
    rows: npt.NDArray[np.int32]
    n_grams: npt.NDArray[np.int32]
    grams: npt.NDArray[np.int32]
    indptr: npt.NDArray[np.int64]
    holders: npt.NDArray[np.int32]

    def __post_init__(self) -> None:
        alike = len(self.names) == len(self.rows) == len(self.n_grams)
        if not alike or len(self.indptr) != len(self.grams) + 1:
            raise BundleCorrupt(
                f"{len(self.names)} names of titles stand in {len(self.rows)} rows and have "
                f"{len(self.n_grams)} counts; {len(self.grams)} grams, {len(self.indptr)} offsets"
            )

    @classmethod
    def of(cls, titles: Sequence[str]) -> "TitleNames":
        """Return the names of ``titles``, which stand by row."""
        spelled = [(row, name) for row, title in enumerate(titles) for name in spellings(title)]
        names = [name for _, name in spelled]
        rows = np.fromiter((row for row, _ in spelled), dtype=np.int32, count=len(spelled))
        held = _grams_of(names)
        n_grams = np.diff(held.indptr).astype(np.int32)
        by_gram = held.tocsc()
        sizes = np.diff(by_gram.indptr)
        grams = np.flatnonzero(sizes)
        indptr = np.zeros(len(grams) + 1, dtype=np.int64)
        np.cumsum(sizes[grams], out=indptr[1:])
        holders = by_gram.indices.astype(np.int32)
        return cls(StringColumn.of(names), rows, n_grams, grams.astype(np.int32), indptr, holders)

    def like(self, name: str, n_most: int) -> Rows:
        """Return which names have most in common with a normalized ``name``, rising; at most ``n_most``.

        All, if there are no more. Of those that have as much in common, the first.
        """
        n_names = len(self.names)
        if n_names <= n_most:
            return np.arange(n_names)
        spans = self._spans(_grams_of([name]).indices)
        n_shared = np.bincount(
            np.concatenate([self.holders[a:b] for a, b in spans] or [self.holders[:0]]),
            minlength=n_names,
        )
        met = np.flatnonzero(n_shared)
        shared, theirs, ours = n_shared[met], self.n_grams[met], len(spans)
        # Roughly as those score that are compared letter by letter.
        alike = 2 * shared / (theirs + ours)
        within = shared / np.minimum(theirs, ours)
        alike = np.maximum(alike, 0.6 * within + 0.4 * alike)
        alike[shared == ours] = np.maximum(alike[shared == ours], _HOLDS_ALL)
        return np.sort(met[top_rows(alike.astype(np.float32), min(n_most, len(met)))])

    def _spans(self, wanted: npt.NDArray[np.int32]) -> list[tuple[int, int]]:
        """Return where the holders of grams stand: of the rarest as many as are worth looking at."""
        wanted = wanted[wanted <= self.grams[-1:].max(initial=-1)]
        at = np.searchsorted(self.grams, wanted)
        at = at[self.grams[at] == wanted]
        begins, ends = self.indptr[at], self.indptr[at + 1]
        rarest = (ends - begins).argsort()
        n_met = np.cumsum((ends - begins)[rarest])
        n_looked_at = max(int(np.searchsorted(n_met, _MOST_MET)), _FEW_GRAMS)
        looked_at = rarest[:n_looked_at]
        return list(zip(begins[looked_at].tolist(), ends[looked_at].tolist(), strict=True))


def _grams_of(names: Sequence[str]) -> sp.csr_matrix:
    """Return the grams of each name, each once, as compressed rows of ones."""
    text = "".join([f" {name} " for name in names])
    letters = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    sizes = np.fromiter(map(len, names), dtype=np.int64, count=len(names)) + 2
    numbers = letters[:-2] * _MIX[0]
    numbers ^= letters[1:-1] * _MIX[1]
    numbers ^= letters[2:] * _MIX[2]
    # Around a space stand two words, or two names.
    kept = np.flatnonzero(letters[1:-1] != _SPACE)
    grams = ((numbers[kept] * _MIX[0]) >> _TO_NUMBER).astype(np.int32)
    indptr = np.searchsorted(kept, np.concatenate(([0], np.cumsum(sizes))))
    held = sp.csr_matrix(
        (np.ones(len(grams), dtype=np.int8), grams, indptr), shape=(len(names), _GRAM_NUMBERS)
    )
    held.sum_duplicates()
    return held


def spellings(title: str) -> list[str]:
    """Return the names that a title may be asked for by, normalized.

    ``Amelie (Fabuleux destin d'Amélie Poulain, Le)`` is the whole, what stands before the brackets and
    what stands in each, but for years.
    """
    if _HAS_ONE_NAME.fullmatch(title):
        return [normalized(title)]
    outside = re.sub(r"\([^()]*\)", " ", title)
    inside = [name for name in re.findall(r"\(([^()]*)\)", title) if not name.isdigit()]
    bare = [re.sub(r"^a\.?k\.?a\.? ", "", name) for name in inside]
    names = map(normalized, (title, outside, *bare))
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
