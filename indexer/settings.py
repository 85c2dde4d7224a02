"""Knows every choice of a build, its default and its range.

It refuses to know where choices come from; the command line reads files, environment and flags.
"""

from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import Parameter

from ilk.ann import IndexKind
from ilk.errors import SettingsError
from ilk.preference import Normalization


@dataclass(frozen=True)
class BuildSettings:
    """The choices of a build.

    Parameters
    ----------
    factors
        Length of the ALS vectors.
    iterations
        ALS sweeps.
    regularization
        λ of a typical row, in units of the noise that data of this size and density have; 0.5 to 2.
    alpha
        Confidence of a positive over that of an item never met.
    frequency_exponent
        How λ grows with frequency: 0 is one λ for all, 1 is in proportion.
    liked_from
        Stars from which a rating is a positive. Default: the upper quarter of the scale.
    normalize
        mean: a user whose mean stars are below liked_from likes what reaches that mean, for some
        never give five; none: liked_from holds for everybody.
    graded
        Let a positive's weight rise with its stars, or with the logarithm of its clicks.
    activity_discount
        How much less each positive of a very active user weighs: 0 not at all, 1 in proportion.
    half_life_days
        A rating this much older than its user's newest weighs half; needs timestamps. Default: age
        does not matter.
    min_user_ratings
        Users with fewer ratings are left out.
    min_item_ratings
        Items with fewer ratings are left out; with 0, items without any stay as cold ones.
    text_weight
        How much tags, and each further text of the items, weigh in content beside genres; 0: not.
    text_coverage
        Share of the items that must have a text for it to count.
    text_dims
        Texts with more terms than this are reduced to so many dimensions.
    content_weight
        The blend of queries that name none.
    index
        Kind of index of every space. Default: the cheapest of those that are measured.
    index_memory_mb
        Kinds that would take more for a space are not tried.
    recall_target
        The recall of queries that name none.
    seed
        Of every random choice.
    evaluate
        Measure quality on a held-out part before publishing (trains a second time).
    """

    factors: int = 64
    iterations: int = 16
    regularization: float = 0.95
    alpha: float = 3.0
    frequency_exponent: float = 1.0
    liked_from: float | None = None
    normalize: Normalization = "mean"
    graded: bool = False
    activity_discount: float = 0.5
    half_life_days: float | None = None
    min_user_ratings: int = 1
    min_item_ratings: int = 0
    text_weight: float = 0.5
    text_coverage: float = 0.33
    text_dims: int = 32
    content_weight: float = 0.1
    index: Annotated[IndexKind | None, Parameter(help="Kind of index. Default: measured.")] = None
    index_memory_mb: int = 2048
    recall_target: float = 0.99
    seed: int = 42
    evaluate: bool = True

    def __post_init__(self) -> None:
        _check("factors", 1 <= self.factors <= 1024, "in [1, 1024]", self.factors)
        _check("iterations", 1 <= self.iterations <= 1000, "in [1, 1000]", self.iterations)
        _check("regularization", 0 < self.regularization < 1e9, "positive", self.regularization)
        _check("alpha", 0 < self.alpha < 1e9, "positive", self.alpha)
        exponent = self.frequency_exponent
        _check("frequency-exponent", 0 <= exponent <= 1, "in [0, 1]", exponent)
        discount = self.activity_discount
        _check("activity-discount", 0 <= discount <= 1, "in [0, 1]", discount)
        half_life = self.half_life_days
        _check("half-life-days", half_life is None or 0 < half_life < 1e9, "positive", half_life)
        _check("min-user-ratings", self.min_user_ratings >= 1, "at least 1", self.min_user_ratings)
        _check("min-item-ratings", self.min_item_ratings >= 0, "at least 0", self.min_item_ratings)
        _check("text-weight", 0 <= self.text_weight <= 100, "in [0, 100]", self.text_weight)
        _check("text-coverage", 0 <= self.text_coverage <= 1, "in [0, 1]", self.text_coverage)
        _check("text-dims", 1 <= self.text_dims <= 1024, "in [1, 1024]", self.text_dims)
        _check("content-weight", 0 <= self.content_weight <= 1, "in [0, 1]", self.content_weight)
        _check("index-memory-mb", self.index_memory_mb >= 1, "at least 1", self.index_memory_mb)
        _check("recall-target", 0.5 <= self.recall_target <= 1, "in [0.5, 1]", self.recall_target)
        _check("seed", 0 <= self.seed < 2**31, "in [0, 2^31)", self.seed)

    def to_strings(self) -> dict[str, str]:
        """Return the choices as the manifest keeps them."""
        return {name: _plain(getattr(self, name)) for name in sorted(self.__dataclass_fields__)}


def _plain(value: Any) -> str:
    return value.value if isinstance(value, IndexKind) else str(value)


def _check(name: str, holds: bool, expected: str, found: object) -> None:
    if not holds:
        raise SettingsError(f"--{name} must be {expected}, got {found}")
