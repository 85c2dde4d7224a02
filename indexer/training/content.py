"""Knows scikit-learn's TF-IDF: what is known of items becomes content vectors and their model.

It refuses to know factors and queries (`ilk.content` reads queries with the model made here).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer, strip_accents_unicode

from ilk.content import GENRES, ContentField
from ilk.errors import DataError
from ilk.vectors import Float32Matrix, Float32Vector, norms
from indexer.interactions import Items
from indexer.settings import BuildSettings

# A text whose terms are all of one item says nothing of its likeness to others.
_MIN_ITEMS_PER_TERM = 2
_MAX_TERMS = 20_000


@dataclass(frozen=True, slots=True)
class Content:
    """The items' content.

    Attributes
    ----------
    fields
        The fields and their terms; the genres first.
    idf
        Shape ``(n_terms,)``, float32.
    projection
        Shape ``(n_terms, dim)``, float32; None where vectors are the weights themselves.
    weights
        Shape ``(n_items, n_terms)``: each item's term weights, scaled so that ``vectors`` is what the
        projection makes of them.
    vectors
        Shape ``(n_items, dim)``, float32: rows of length 1, or 0 where nothing is known.
    """

    fields: tuple[ContentField, ...]
    idf: Float32Vector
    projection: Float32Matrix | None
    weights: sp.csr_matrix
    vectors: Float32Matrix


def vectorize(items: Items, settings: BuildSettings) -> Content:
    """Return TF-IDF vectors of the items' genres and texts, each field weighted.

    A text that few items have is left out: it sets them apart from all others, alike or not. A genre or
    tag of several words is one term. Texts are reduced by truncated SVD where they have
    more terms than ``settings.text_dims``; genres never are, so that films of the same genres and no
    text stay exactly alike. Deerwester et al., "Indexing by Latent Semantic Analysis", JASIS 1990.

    Raises
    ------
    DataError
        If there are more genres than terms are taken of a field.
    """
    n_genres = len({genre for genres in items.genres for genre in genres})
    if n_genres > _MAX_TERMS:
        problem = (
            f"have {n_genres} genres; at most {_MAX_TERMS}: what is so many are tags or a text"
        )
        raise DataError("the items", problem)
    genres, idf, matrix = _tfidf(items.genres)
    parts = [(ContentField(GENRES, genres), idf, matrix)]
    if settings.text_weight > 0:
        for name, texts in sorted(items.texts.items()):
            terms, idf, matrix = _text_tfidf(name, texts)
            if terms and np.mean(np.diff(matrix.indptr) > 0) >= settings.text_coverage:
                parts.append((ContentField(name, terms, settings.text_weight), idf, matrix))
    weights = sp.hstack([m * np.float32(f.weight) for f, _, m in parts], format="csr")
    projection = _projection(weights, len(parts[0][0].terms), settings)
    vectors = weights.toarray() if projection is None else np.asarray(weights @ projection)
    lengths = norms(vectors.astype(np.float32))
    scale = np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    return Content(
        tuple(field for field, _, _ in parts),
        np.concatenate([idf for _, idf, _ in parts]),
        projection,
        sp.diags_array(scale).astype(np.float32) @ weights,
        np.ascontiguousarray(vectors * scale[:, None], dtype=np.float32),
    )


def _projection(
    weights: sp.csr_matrix, n_genres: int, settings: BuildSettings
) -> Float32Matrix | None:
    """Return the map that keeps genres as they are and reduces all other terms; None if few."""
    n_texts = weights.shape[1] - n_genres
    if n_texts <= settings.text_dims:
        return None
    svd = TruncatedSVD(settings.text_dims, random_state=settings.seed).fit(weights[:, n_genres:])
    # As many components as were asked for, or as there are items.
    n_dims = len(svd.components_)
    projection = np.zeros((weights.shape[1], n_genres + n_dims), dtype=np.float32)
    projection[:n_genres, :n_genres] = np.eye(n_genres)
    projection[n_genres:, n_genres:] = svd.components_.T
    return projection


def _text_tfidf(
    name: str, texts: Sequence[str]
) -> tuple[tuple[str, ...], Float32Vector, sp.csr_matrix]:
    if name == "tags":
        return _tfidf([_tags(text) for text in texts], min_df=_MIN_ITEMS_PER_TERM)
    analyze: Callable[[str], list[str]] = TfidfVectorizer(
        stop_words="english", strip_accents="unicode"
    ).build_analyzer()
    return _tfidf([analyze(text) for text in texts], min_df=_MIN_ITEMS_PER_TERM)


def _tags(text: str) -> list[str]:
    """Return the tags of an item, one a line, without case and accents."""
    return [strip_accents_unicode(tag.strip().casefold()) for tag in text.splitlines()]


def _tfidf(
    documents: Sequence[Iterable[str]], min_df: int = 1
) -> tuple[tuple[str, ...], Float32Vector, sp.csr_matrix]:
    vectorizer = TfidfVectorizer(
        analyzer=_as_it_is, dtype=np.float32, min_df=min_df, max_features=_MAX_TERMS
    )
    try:
        weights = vectorizer.fit_transform(documents)
    except ValueError:  # no document has a term, or none has a term that another has too
        none = sp.csr_matrix(np.zeros((len(documents), 0), dtype=np.float32))
        return (), np.zeros(0, dtype=np.float32), none
    terms = tuple(str(term) for term in vectorizer.get_feature_names_out())
    return terms, vectorizer.idf_.astype(np.float32), weights


def _as_it_is(terms: Iterable[str]) -> Iterable[str]:
    """Keep each genre whole: scikit-learn's own analyzer would split ``Sci-Fi`` in two."""
    return terms
