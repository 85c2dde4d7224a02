"""Knows why a recommendation was made: which rated items and which genres carry its score.

It refuses to know how the recommendation was found.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve

from ilk.bundle import Bundle
from ilk.query.seeker import Seeker
from ilk.types import Contribution, Explanation
from ilk.vectors import Rows

_N_LISTED = 5


def explain(bundle: Bundle, seeker: Seeker, rows: Rows) -> list[Explanation]:
    """Return, for each recommended item, the strongest contributions to its two components.

    Parameters
    ----------
    seeker
        A user or profile.
    rows
        Shape ``(n,)``: rows of the recommended items.
    """
    item_id, terms = bundle.items.vocabulary.id_of, bundle.content_model.terms
    rated = seeker.rated_rows.tolist()
    by_item = _strongest(item_contributions(bundle, seeker, rows), lambda p: item_id(rated[p]))
    by_term = _strongest(term_contributions(bundle, seeker, rows), terms.__getitem__)
    return list(map(Explanation, by_item, by_term))


def item_contributions(bundle: Bundle, seeker: Seeker, rows: Rows) -> npt.NDArray[np.float64]:
    """Return what each rated item adds to the collaborative component of each recommended one.

    Returns
    -------
    ndarray
        Shape ``(n, n_rated)``, float64; each row sums to the collaborative component, save for what
        favorite genres add to it, and what everybody has in common (:meth:`ilk.foldin.FoldIn.in_common`).

    Notes
    -----
    With ``x = A⁻¹ Σ c_j y_j`` the component ``y_iᵀ x`` is ``Σ c_j y_iᵀ A⁻¹ y_j`` (Hu, Koren & Volinsky
    2008, section 5). A disliked item changes ``A`` but adds nothing of its own. What the content of few
    rated items lets expect is added to each.
    """
    factors = bundle.items.factors[seeker.rated_rows]
    confidences = seeker.confidences_in(bundle)
    if not len(factors):
        return np.zeros((len(rows), 0))
    evidence, sureness = factors, confidences
    if seeker.wishes is not None:
        evidence = np.vstack((factors, seeker.wishes))
        sureness = np.append(confidences, bundle.preference.of_wishes(len(seeker.wishes)))
    a, _ = bundle.fold_in.system(evidence, sureness)
    solved = cho_solve(cho_factor(a), bundle.items.factors[rows].T.astype(np.float64)).T
    contributions: npt.NDArray[np.float64] = (solved @ factors.T) * np.maximum(confidences, 0)
    if seeker.helped_at:
        contributions += bundle.items.factors[rows] @ seeker.expected(bundle).T
    return contributions


def term_contributions(bundle: Bundle, seeker: Seeker, rows: Rows) -> npt.NDArray[np.float64]:
    """Return what each genre or other term adds to the content component of each recommended item.

    Returns
    -------
    ndarray
        Shape ``(n, n_terms)``, float64; each row sums to the content component.
    """
    model, terms = bundle.content_model, bundle.item_terms
    wanted = seeker.content.astype(np.float64)
    by_term = wanted if model.projection is None else model.projection @ wanted
    contributions = np.zeros((len(rows), len(model.idf)))
    for at, row in enumerate(rows.tolist()):
        entries = slice(terms.indptr.item(row), terms.indptr.item(row + 1))
        codes = terms.codes[entries]
        contributions[at, codes] = terms.weights[entries] * by_term[codes]
    return contributions


def _strongest(
    contributions: npt.NDArray[np.float64], name_of: Callable[[int], str]
) -> list[tuple[Contribution, ...]]:
    """Return of each row of ``contributions`` the largest, equal ones in the order of their columns."""
    sizes = np.abs(contributions)
    least: npt.NDArray[np.float64] | float = 0.0
    if sizes.shape[1] > _N_LISTED:
        # Sorting all that somebody rated, for each neighbor, took most of an explanation's time.
        least = np.partition(sizes, -_N_LISTED, axis=1)[:, -_N_LISTED, None]
    rows, columns = np.nonzero((sizes >= least) & (sizes > 0))
    order = np.lexsort((columns, -sizes[rows, columns], rows))
    amounts = contributions[rows, columns][order].tolist()
    named = list(map(Contribution, map(name_of, columns[order].tolist()), amounts))
    ends = np.cumsum(np.bincount(rows, minlength=len(sizes))).tolist()
    return [
        tuple(named[start : min(start + _N_LISTED, end)])
        for start, end in zip([0, *ends], ends, strict=False)
    ]
