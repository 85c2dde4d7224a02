"""Which codes a row gets: those that err across it, for errors along it are missing from scores."""

import numpy as np
import numpy.typing as npt
import pytest

from ilk.ann import IndexKind, IndexSpec, coding
from ilk.ann.coding import codes_of
from ilk.vectors import unit_rows
from tests.kernel.test_codes import coding_kinds, held_by_candidates

Vectors = npt.NDArray[np.float32]

N_ROWS, DIM, N_FACTORS, SEED = 2_000, 16, 10, 5
of_each_width = pytest.mark.parametrize("dims", [1, 2])


def made(dims: int) -> tuple[Vectors, Vectors]:
    """Return rows, and values that codes of so many dimensions stand for."""
    rng = np.random.default_rng(SEED)
    rows = rng.standard_normal((N_ROWS, DIM), dtype=np.float32)
    return rows, rng.standard_normal((DIM // dims, 16, dims), dtype=np.float32)


def said(codes: npt.NDArray[np.uint8], values: Vectors) -> Vectors:
    return np.concatenate([values[at][codes[:, at]] for at in range(len(values))], axis=1)


def squares(rows: Vectors) -> npt.NDArray[np.float32]:
    total: npt.NDArray[np.float32] = np.square(rows).sum(axis=1)
    return total


@of_each_width
def test_where_directions_do_not_count_codes_are_the_nearest(
    dims: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coding, "_ALONG", (1.0, 1.0))
    rows, values = made(dims)
    parts = rows.reshape(N_ROWS, len(values), 1, dims)
    nearest = np.square(parts - values).sum(axis=3).argmin(axis=2)
    np.testing.assert_array_equal(codes_of(rows, rows, values, N_FACTORS), nearest)


@of_each_width
@pytest.mark.parametrize("of", [slice(0, N_FACTORS), slice(N_FACTORS, DIM)])
def test_codes_err_across_factors_and_across_content(
    dims: int, of: slice, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, values = made(dims)
    towards = unit_rows(rows[:, of])

    def erring() -> tuple[float, float]:
        errors = (rows - said(codes_of(rows, rows, values, N_FACTORS), values))[:, of]
        along = np.einsum("ij,ij->i", errors, towards)
        return float(np.abs(along).mean()), float(squares(errors).mean())

    along, altogether = erring()
    monkeypatch.setattr(coding, "_ALONG", (1.0, 1.0))
    along_nearest, altogether_nearest = erring()
    assert along < 0.7 * along_nearest
    assert altogether_nearest < altogether


@of_each_width
def test_no_other_code_errs_less(dims: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coding, "_ROUNDS", 20)
    rows, values = made(dims)
    codes = codes_of(rows, rows, values, N_FACTORS)

    def losses(codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        errors, total = rows - said(codes, values), np.zeros(N_ROWS, dtype=np.float32)
        for of, along in ((slice(0, N_FACTORS), 4), (slice(N_FACTORS, DIM), 16)):
            error = np.einsum("ij,ij->i", errors[:, of], unit_rows(rows[:, of]))
            total += squares(errors[:, of]) + (along - 1) * np.square(error)
        return total

    least = losses(codes)
    for at in (0, len(values) - 1):
        for code in range(16):
            other = codes.copy()
            other[:, at] = code
            assert (least <= losses(other) + 1e-4).all()


def test_what_tells_rows_from_their_lists_errs_across_the_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows, values = made(1)
    residuals = rows - np.random.default_rng(SEED + 1).standard_normal(rows.shape, dtype=np.float32)

    def along() -> float:
        errors = residuals - said(codes_of(residuals, rows, values, DIM), values)
        return float(np.abs(np.einsum("ij,ij->i", errors, unit_rows(rows))).mean())

    across = along()
    monkeypatch.setattr(coding, "_ALONG", (1.0, 1.0))
    assert across < 0.7 * along()


@of_each_width
def test_rows_that_are_coded_together_do_not_matter(dims: int) -> None:
    rows, values = made(dims)
    together = codes_of(rows, rows, values, N_FACTORS)
    alone = [codes_of(row, row, values, N_FACTORS)[0] for row in rows[:20, None]]
    np.testing.assert_array_equal(together[:20], alone)


@pytest.mark.parametrize("n_factors", [0, 5, DIM])
def test_factors_may_be_none_or_all_or_share_a_code_with_content(n_factors: int) -> None:
    rows, values = made(2)
    codes = codes_of(rows, rows, values, n_factors)
    assert codes.shape == (N_ROWS, DIM // 2)
    assert codes.max() == 15


def test_a_row_of_nothing_gets_the_nearest_codes() -> None:
    _, values = made(1)
    nothing = np.zeros((1, DIM), dtype=np.float32)
    nearest = np.abs(values[:, :, 0]).argmin(axis=1)
    np.testing.assert_array_equal(codes_of(nothing, nothing, values, N_FACTORS)[0], nearest)


@coding_kinds
@of_each_width
def test_so_fewer_candidates_hold_the_best(
    kind: IndexKind, dims: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(SEED)
    # Of 48 dimensions a few are shared by all near ones: queries look as the rows do that they find.
    tastes = rng.standard_normal((30, 48), dtype=np.float32)
    apart = rng.standard_normal((8_000, 48), dtype=np.float32) * np.float32(0.6)
    rows = unit_rows(tastes[rng.integers(0, 30, 8_000)] + apart)
    queries = rows[:200]
    of_kind = IndexSpec(kind, n_lists=4, dims_per_code=dims, n_factors=48)
    across = held_by_candidates(16, rows, queries, of_kind)
    monkeypatch.setattr(coding, "_ALONG", (1.0, 1.0))
    assert across > held_by_candidates(16, rows, queries, of_kind) + 0.01
