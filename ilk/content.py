"""Knows how words become content vectors, the same for a query as for the items when they were built.

It refuses to know how the vocabulary was learnt (`indexer.training.content` does, with scikit-learn).
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ilk.errors import InvalidRequest
from ilk.vectors import Float32Matrix, Float32Vector, unit

GENRES = "genres"
_MAX_TERM_WORDS = 4


@dataclass(frozen=True, slots=True)
class ContentField:
    """One field of the items' content: its terms and how much the field weighs against others."""

    name: str
    terms: tuple[str, ...]
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class ContentModel:
    """TF-IDF over weighted fields, reduced by a projection where it is wide.

    Attributes
    ----------
    fields
        The fields, side by side in the order of ``idf``; the first holds the genres.
    idf
        Shape ``(n_terms,)``, float32: ``ln((1 + n) / (1 + df)) + 1``, as scikit-learn smooths it.
    projection
        Shape ``(n_terms, dim)``, float32, or None when the vectors are the TF-IDF weights.
    to_factors
        Shape ``(dim + 1, n_factors)``, float32: ridge regression of item factors on content vectors;
        the last row is the intercept.
    codes
        Codes of the terms by their :func:`normalized` form, and of the genres by that and by name.
    """

    fields: tuple[ContentField, ...]
    idf: Float32Vector
    projection: Float32Matrix | None
    to_factors: Float32Matrix
    codes: "_Codes" = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "codes", _Codes.of(self.terms, self.genres))

    @property
    def dim(self) -> int:
        """Length of a content vector."""
        return len(self.idf) if self.projection is None else self.projection.shape[1]

    @property
    def genres(self) -> tuple[str, ...]:
        """Names of the genres, in the order of their codes."""
        return self.fields[0].terms

    @property
    def terms(self) -> tuple[str, ...]:
        """Every term, in the order of ``idf``."""
        return tuple(term for content_field in self.fields for term in content_field.terms)

    def vector(self, counts: npt.NDArray[np.float32]) -> Float32Vector:
        """Return the unit content vector of term counts, shape ``(n_terms,)`` in, ``(dim,)`` out.

        Each field's TF-IDF weights are brought to length 1 and weighted, as an item's are.
        """
        weights: Float32Vector = np.multiply(counts, self.idf, dtype=np.float32)
        start = 0
        for content_field in self.fields:
            part = slice(start, start + len(content_field.terms))
            weights[part] = unit(weights[part]) * np.float32(content_field.weight)
            start = part.stop
        return unit(weights if self.projection is None else weights @ self.projection)

    def of_genres(self, names: Sequence[str], field_name: str) -> Float32Vector:
        """Return the unit content vector of genres, shape ``(dim,)``.

        Raises
        ------
        InvalidRequest
            If a genre is unknown; the message lists those that are known.
        """
        counts = np.zeros(len(self.idf), dtype=np.float32)
        counts[self.genre_codes(names, field_name)] = 1
        return self.vector(counts)

    def genre_codes(self, names: Sequence[str], field_name: str) -> list[int]:
        """Return the code of each genre, whatever its case; ``field_name`` is blamed for unknown ones."""
        codes = self.codes.genres
        found = [
            codes[name] if name in codes else codes.get(normalized(name), -1) for name in names
        ]
        if -1 in found:
            known = ", ".join(self.genres)
            name = names[found.index(-1)]
            raise InvalidRequest(field_name, f"unknown genre {name[:80]!r}; known are: {known}")
        return found

    def of_text(self, text: str) -> Float32Vector:
        """Return the unit content vector of free text, shape ``(dim,)``.

        Words and phrases of up to four words that are terms count; others are passed over.

        Raises
        ------
        InvalidRequest
            If no word of the text is a term.
        """
        counts = np.zeros(len(self.idf), dtype=np.float32)
        for phrase in _phrases(text):
            counts[self.codes.terms.get(phrase, [])] = 1
        if not counts.any():
            known = ", ".join(self.genres)
            raise InvalidRequest(
                "text", f"holds no word of the items' content; genres are: {known}"
            )
        return self.vector(counts)

    def genre_factors(self, codes: Sequence[int]) -> Float32Matrix:
        """Return the factors predicted for an item of each genre alone, shape ``(n, n_factors)``."""
        # Genres are the first terms, and no projection changes them.
        factors: Float32Matrix = self.to_factors[list(codes)] + self.to_factors[-1]
        return factors

    def infer_factors(self, content: Float32Vector) -> Float32Vector:
        """Return the collaborative factors predicted from a content vector; zero stays zero."""
        if not content.any():
            return np.zeros(self.to_factors.shape[1], dtype=np.float32)
        inferred: Float32Vector = content @ self.to_factors[:-1] + self.to_factors[-1]
        return inferred


class _Codes(NamedTuple):
    terms: dict[str, list[int]]
    genres: dict[str, int]

    @classmethod
    def of(cls, terms: Sequence[str], genres: Sequence[str]) -> "_Codes":
        by_term: dict[str, list[int]] = {}
        for code, term in enumerate(terms):
            by_term.setdefault(normalized(term), []).append(code)
        by_genre = {normalized(genre): code for code, genre in enumerate(genres)}
        # Two genres may be alike but for their signs: the name as it is goes before.
        return cls(by_term, by_genre | {genre: code for code, genre in enumerate(genres)})


def normalized(term: str) -> str:
    """Return a term's letters and digits in lower case without accents: ``Sci-Fi`` is ``scifi``."""
    # Folding can leave what wants decomposing, and decomposing what wants folding.
    bare = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", term).casefold())
    kept = "".join(c for c in bare if c.isalnum())
    # A term of symbols alone keeps them: it must not become the empty string.
    return kept or bare


def _phrases(text: str) -> Iterable[str]:
    words = [w for w in re.split(r"[\s,;/|]+", text) if w]
    for start in range(len(words)):
        for stop in range(start + 1, min(start + _MAX_TERM_WORDS, len(words)) + 1):
            yield normalized("".join(words[start:stop]))
