"""Knows where a query stands in the vector spaces, and how content helps out users who rated few.

It refuses to know how it came to stand there; `whom` and `newcomer` do.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from ilk.bundle import Bundle
from ilk.preference import age_weights
from ilk.query.expectation import expected_factors, is_needed
from ilk.types import Target
from ilk.vectors import Float32Matrix, Float32Vector, Rows

_NO_ROWS: Rows = np.empty(0, dtype=np.int64)


def _no_rows() -> Rows:
    return _NO_ROWS


@dataclass(frozen=True, slots=True)
class Seeker:
    """Where a query stands.

    Attributes
    ----------
    kind
        Whether it stands among the items or among the users.
    collaborative, content
        Its vectors, shapes ``(n_factors,)`` and ``(dim_content,)``; zero where nothing is known. The
        first is a direction where the target is of its own kind (likeness), else factors (affinity).
    own_rows
        Rows of its own kind that must not be their own neighbors.
    rated_rows, confidences
        For users: rows of the items they rated, and the confidence of each in the fold-in.
    wishes
        For newcomers: the factors of an item of each favorite genre, which stand in the fold-in beside
        what they rated; shape ``(n_genres, n_factors)``.
    own_factors, helped_at
        ``collaborative`` before content helped out those who rated few, and at which content weight it
        did; None and 0 where it did not.
    ignored_ids
        Unknown ids that were passed over because the query allowed it.
    """

    kind: Target
    collaborative: Float32Vector
    content: Float32Vector
    own_rows: tuple[int, ...] = ()
    rated_rows: Rows = field(default_factory=_no_rows)
    confidences: Float32Vector | None = None
    wishes: Float32Matrix | None = None
    own_factors: Float32Vector | None = None
    helped_at: float = 0.0
    ignored_ids: tuple[str, ...] = ()

    def confidences_in(self, bundle: Bundle) -> Float32Vector:
        """Return the confidence of each rated item; those of a known user are read now."""
        if self.confidences is not None:
            return self.confidences
        (row,) = self.own_rows
        return known_confidences(bundle, row)

    def helped_by_content(self, bundle: Bundle, content_weight: float) -> "Seeker":
        """Return a user's place for recommendations at this blend; few ratings are helped out."""
        if not is_needed(len(self.rated_rows), content_weight):
            return self
        helped = replace(self, own_factors=self.collaborative, helped_at=content_weight)
        if self.confidences is None and bundle.expected is not None:
            (row,) = self.own_rows
            added = np.float32(content_weight) * bundle.expected[row]
        else:
            added = helped.expected(bundle).sum(axis=0)
        return replace(helped, collaborative=self.collaborative + added)

    def expected(self, bundle: Bundle) -> Float32Matrix:
        """Return what each rated item's content added to the factors of one who was helped out.

        Shape ``(n_rated, n_factors)``.
        """
        assert self.own_factors is not None
        confidences = self.confidences_in(bundle)
        return expected_factors(
            bundle, self.rated_rows, confidences, self.own_factors, self.helped_at
        )


def known_confidences(bundle: Bundle, user_row: int) -> Float32Vector:
    """Return the confidence that training gave to each rating of a user, in the order stored."""
    ratings, preference = bundle.ratings_by_user, bundle.preference
    ages = None
    if preference.half_life_s is not None and len(ratings.times_s):
        times = ratings.times_s[ratings.span(user_row)].astype(np.float64)
        ages = age_weights(times, times.max(initial=-np.inf), preference.half_life_s)
    return preference.confidences(ratings.stars_of(user_row), ages)
