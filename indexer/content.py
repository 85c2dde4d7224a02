"""Knows scikit-learn's TF-IDF: what is known of items becomes content vectors and their model.

It refuses to know factors and queries (`ilk.content` reads queries with the model made here).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge

from ilk.content import GENRES, ContentField
from ilk.vectors import Float32Matrix, Float32Vector, unit_rows
from indexer.interactions import Items

_RIDGE_PENALTY = 1.0


@dataclass(frozen=True, slots=True)
class Content:
    """The items' content.

    Attributes
    ----------
    fields
        The fields and their terms; the genres first.
    idf
        Shape ``(n_terms,)``, float32.
    vectors
        Shape ``(n_items, dim)``, float32: rows of length 1, or 0 where nothing is known.
    """

    fields: tuple[ContentField, ...]
    idf: Float32Vector
    vectors: Float32Matrix


def vectorize(items: Items) -> Content:
    """Return TF-IDF vectors of the items' genres; a genre of several words is one term."""
    genres, idf, weights = _tfidf(items.genres)
    field = ContentField(GENRES, genres)
    return Content((field,), idf, unit_rows(weights.toarray().astype(np.float32)))


def _tfidf(
    documents: Sequence[Iterable[str]],
) -> tuple[tuple[str, ...], Float32Vector, sp.csr_matrix]:
    if not any(documents):
        return (), np.zeros(0, dtype=np.float32), sp.csr_matrix((len(documents), 0))
    vectorizer = TfidfVectorizer(analyzer=_as_it_is, dtype=np.float32)
    weights = vectorizer.fit_transform(documents)
    terms = tuple(str(term) for term in vectorizer.get_feature_names_out())
    return terms, vectorizer.idf_.astype(np.float32), weights


def _as_it_is(terms: Iterable[str]) -> Iterable[str]:
    """Keep each genre whole: scikit-learn's own analyzer would split ``Sci-Fi`` in two."""
    return terms


def factors_from_content(
    content: Float32Matrix, factors: Float32Matrix, trained: npt.NDArray[np.bool_]
) -> Float32Matrix:
    """Return the ridge regression of item factors on content.

    Parameters
    ----------
    content, factors
        Shapes ``(n_items, dim)`` and ``(n_items, n_factors)``.
    trained
        Shape ``(n_items,)``: items whose factors were learnt.

    Returns
    -------
    Float32Matrix
        Shape ``(dim + 1, n_factors)``; the last row is the intercept.
    """
    known = trained & content.any(axis=1)
    if not known.any():
        return np.zeros((content.shape[1] + 1, factors.shape[1]), dtype=np.float32)
    ridge = Ridge(alpha=_RIDGE_PENALTY).fit(content[known], factors[known])
    coefficients = np.atleast_2d(ridge.coef_).T
    return np.vstack((coefficients, np.atleast_1d(ridge.intercept_))).astype(np.float32)
