"""Knows `implicit`, and is the only door to it: confidences in, ALS factors out.

It refuses to know stars, ids and content. A second implementation (another engine) is one file with
:func:`fit`'s signature.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from implicit.cpu import _als
from threadpoolctl import threadpool_limits

from ilk.errors import DataError
from ilk.foldin import FoldIn, common_taste, frequency_penalty
from ilk.vectors import Float32Matrix, norms
from indexer.settings import BuildSettings

# One in the first half of the sweeps, whose end is far from settled, then one less than implicit takes;
# each goes on from where the one before ended. What fewer cost in quality is in ADR 5.
_EARLY_CG_STEPS = 1
_CG_STEPS = 2
# Steps that settle a row for good, as a few rows that are also solved directly must confirm. Solving all
# directly takes three times as long.
_SETTLING_STEPS = 8
_CONFIRMING_ROWS = 256
_SETTLED = 1e-4
_SHARED_FROM = 5_000
_INITIAL_SPREAD = 0.1


@dataclass(frozen=True, slots=True)
class Factors:
    """What training gives.

    Attributes
    ----------
    users, items
        Shapes ``(n_users, n_factors)`` and ``(n_items, n_factors)``, float32; zero rows where there
        was no positive. Users' are their own: nothing that they have in common is added.
    fold_in
        The user half-step for the fixed ``items``: it gives every trained user's row again.
    """

    users: Float32Matrix
    items: Float32Matrix
    fold_in: FoldIn


def fit(
    confidences: sp.csr_matrix,
    settings: BuildSettings,
    on_iteration: Callable[[int], None] = lambda _: None,
) -> Factors:
    """Factorise the confidences by ALS with frequency-scaled regularization.

    Parameters
    ----------
    confidences
        Shape ``(n_users, n_items)``, float32: ``c > 1`` of each positive, nothing elsewhere. Rows and
        columns in falling order of their number of positives.
    settings
        Factors, iterations, regularization, alpha, exponent, seed.
    on_iteration
        Called with the number of sweeps done.

    Raises
    ------
    DataError
        If there is no positive at all, or too little regularization to solve for the factors.

    Notes
    -----
    Hu, Koren & Volinsky 2008 with the regularization of Rendle et al. 2022: ``implicit`` has one λ
    for all rows, so its solver is called once for each λ, the rows' being rounded. Bit-identical for
    a seed, whatever the number of threads.
    """
    by_user = confidences.astype(np.float32).tocsr()
    by_user.sort_indices()
    n_users = int(np.count_nonzero(_counts(by_user)))
    n_items = int(np.count_nonzero(np.bincount(by_user.indices)))
    if not by_user.nnz:
        raise DataError("the ratings", "hold no positive; lower --liked-from")
    by_user = by_user[:n_users, :n_items]
    by_item = by_user.T.tocsr()
    rng = np.random.default_rng(settings.seed)
    users, items = (_start(rng, n, settings.factors) for n in (n_users, n_items))
    scale = _penalty_scale(by_user, settings)
    user_step = _HalfStep(by_user, scale, n_items / settings.alpha, settings)
    item_step = _HalfStep(by_item, scale, n_users / settings.alpha, settings)
    # Seen ten times slower with BLAS threads beside the solver's own.
    with threadpool_limits(1, "blas"):
        for sweep in range(settings.iterations):
            n_steps = _EARLY_CG_STEPS if sweep < settings.iterations // 2 else _CG_STEPS
            user_step.improve(users, items, n_steps)
            item_step.improve(items, users, n_steps)
            on_iteration(sweep + 1)
        try:
            user_step.solve(users, items)
        except ValueError as error:
            raise DataError(
                "the ratings", "do not tell all factors apart; raise --regularization"
            ) from error
        gram = items.T.astype(np.float64) @ items.astype(np.float64)
        fold_in = FoldIn(gram, scale, n_items / settings.alpha, settings.frequency_exponent)
        fold_in = replace(fold_in, common=common_taste(gram, users, fold_in.penalty(1)))
    return Factors(
        _padded(users, confidences.shape[0]), _padded(items, confidences.shape[1]), fold_in
    )


def _penalty_scale(by_user: sp.csr_matrix, settings: BuildSettings) -> float:
    """Return the factor that makes a typical row's λ ``settings.regularization`` times the noise.

    Noise is about the largest singular value of a matrix of independent entries with as many
    positives of such confidence: √(entries of a row) + √(entries of a column), Chatterjee, "Matrix
    Estimation by Universal Singular Value Thresholding", Annals of Statistics 2015. ALS shrinks each
    singular value by λ, the geometric mean of the two sides'; a λ of that size leaves signal.
    """
    n_users, n_items = by_user.shape
    noise = np.sqrt(by_user.data.sum(dtype=np.float64)) * (n_users**-0.5 + n_items**-0.5)
    of_user = by_user.nnz / n_users + n_items / settings.alpha
    of_item = by_user.nnz / n_items + n_users / settings.alpha
    typical = (of_user * of_item) ** (settings.frequency_exponent / 2)
    return float(settings.regularization * noise / typical)


class _HalfStep:
    """Solves one side for the other, the rows of one λ at a time."""

    def __init__(
        self, matrix: sp.csr_matrix, scale: float, unseen_weight: float, settings: BuildSettings
    ) -> None:
        counts, first_of_count = np.unique(-_counts(matrix), return_index=True)
        penalties = [
            frequency_penalty(-n, scale, unseen_weight, settings.frequency_exponent)
            for n in counts.tolist()
        ]
        # Rows come in falling order of frequency, so that those of one λ are a run of rows.
        changes = np.flatnonzero(np.diff(penalties, prepend=np.inf))
        starts = first_of_count[changes].tolist()
        self._runs = [
            (slice(a, b), _rows(matrix, a, b), penalties[at])
            for a, b, at in zip(starts, [*starts[1:], matrix.shape[0]], changes, strict=True)
        ]

    def improve(self, own: Float32Matrix, other: Float32Matrix, n_steps: int) -> None:
        """Take a few steps of conjugate gradients, in place (Takács, Pilászy & Tikk 2011)."""
        for run, matrix, penalty in self._runs:
            _als.least_squares_cg(matrix, own[run], other, penalty, _threads(matrix), n_steps)

    def solve(self, own: Float32Matrix, other: Float32Matrix) -> None:
        """Solve exactly, in place."""
        for run, matrix, penalty in self._runs:
            system = other, penalty, _threads(matrix)
            if len(own[run]) > 16 * _CONFIRMING_ROWS:
                _als.least_squares_cg(matrix, own[run], *system, _SETTLING_STEPS)
                if _settled(matrix, own[run], *system):
                    continue
            _als.least_squares(matrix, own[run], *system)


def _settled(
    matrix: sp.csr_matrix, own: Float32Matrix, other: Float32Matrix, penalty: float, n_threads: int
) -> bool:
    """Return whether rows, evenly drawn, are what solving them directly gives."""
    rows = np.linspace(0, len(own) - 1, _CONFIRMING_ROWS).astype(np.int64)
    solved = own[rows]
    _als.least_squares(matrix[rows], solved, other, penalty, n_threads)
    return bool((norms(solved - own[rows]) <= _SETTLED * norms(solved)).all())


def _threads(matrix: sp.csr_matrix) -> int:
    """Return 0 (all cores) for a run worth sharing; a small one costs less than the waiting."""
    return 0 if matrix.nnz >= _SHARED_FROM else 1


def _counts(matrix: sp.csr_matrix) -> npt.NDArray[np.int64]:
    return np.diff(matrix.indptr).astype(np.int64)


def _rows(matrix: sp.csr_matrix, start: int, stop: int) -> sp.csr_matrix:
    """Return rows ``[start, stop)`` as a view: no copy of the entries."""
    entries = slice(matrix.indptr[start], matrix.indptr[stop])
    return sp.csr_matrix(
        (
            matrix.data[entries],
            matrix.indices[entries],
            matrix.indptr[start : stop + 1] - matrix.indptr[start],
        ),
        shape=(stop - start, matrix.shape[1]),
    )


def _start(rng: np.random.Generator, n_rows: int, n_factors: int) -> Float32Matrix:
    values = rng.standard_normal((n_rows, n_factors), dtype=np.float32)
    values *= np.float32(_INITIAL_SPREAD / np.sqrt(n_factors))
    return values


def _padded(factors: Float32Matrix, n_rows: int) -> Float32Matrix:
    padded = np.zeros((n_rows, factors.shape[1]), dtype=np.float32)
    padded[: len(factors)] = factors
    return padded
