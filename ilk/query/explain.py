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
    by_item = item_contributions(bundle, seeker, rows)
    by_term = term_contributions(bundle, seeker, rows)
    item_id, terms = bundle.items.vocabulary.id_of, bundle.content_model.terms
    rated = seeker.rated_rows.tolist()
    return [
        Explanation(
            _strongest(by_item[at], lambda p: item_id(rated[p])),
            _strongest(by_term[at], lambda p: terms[p]),
        )
        for at in range(len(rows))
    ]


def item_contributions(bundle: Bundle, seeker: Seeker, rows: Rows) -> npt.NDArray[np.float64]:
    """Return what each rated item adds to the collaborative component of each recommended one.

    Returns
    -------
    ndarray
        Shape ``(n, n_rated)``, float64; each row sums to the collaborative component, save for what
        favorite genres add to it.

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
    if seeker.wish is not None:
        evidence = np.vstack((factors, seeker.wish))
        sureness = np.append(confidences, np.float32(1 + bundle.preference.alpha))
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
) -> tuple[Contribution, ...]:
    sizes = np.abs(contributions)
    among = np.arange(len(sizes))
    if len(sizes) > _N_LISTED:
        # Sorting all that somebody rated, for each neighbor, took most of an explanation's time.
        among = np.flatnonzero(sizes >= np.partition(sizes, -_N_LISTED)[-_N_LISTED])
    order = among[np.argsort(-sizes[among], kind="stable")][:_N_LISTED]
    return tuple(
        Contribution(name_of(at), float(contributions[at]))
        for at in order.tolist()
        if contributions[at] != 0
    )
