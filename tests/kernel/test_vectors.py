"""Unit rows and blends, against sums written out."""

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ilk.vectors import blend, concatenate, norms, support, unit, unit_rows

quick = settings(deadline=None, max_examples=100)
vectors_of_5 = arrays(np.float32, 5, elements=st.floats(-100, 100, width=32))
matrices = arrays(np.float32, (4, 3), elements=st.floats(-100, 100, width=32))
EIGHTHS = [w / 8 for w in range(9)]


def blended_by_hand(
    a: npt.NDArray[np.float32],
    x: npt.NDArray[np.float32],
    b: npt.NDArray[np.float32],
    y: npt.NDArray[np.float32],
    w: float,
) -> tuple[float, float]:
    """Return the blended score in float64 and the sum of its terms' sizes."""
    terms = [(1 - w) * float(p) * float(q) for p, q in zip(a, x, strict=True)]
    terms += [w * float(p) * float(q) for p, q in zip(b, y, strict=True)]
    return math.fsum(terms), math.fsum(map(abs, terms))


@pytest.mark.parametrize("content_weight", EIGHTHS)
def test_a_blended_query_against_concatenated_rows_is_exactly_the_weighted_sum(
    content_weight: float,
) -> None:
    # Small integers and eighths have no rounding in float32: the identity must hold to the last bit.
    rng = np.random.default_rng(3)
    a, x, b, y = rng.integers(-50, 50, (4, 7)).astype(np.float32)
    query = blend(a, b, content_weight)[0].astype(np.float64)
    row = concatenate(x[None], y[None])[0].astype(np.float64)
    assert query @ row == blended_by_hand(a, x, b, y, content_weight)[0]


@quick
@given(vectors_of_5, vectors_of_5, vectors_of_5, vectors_of_5, st.floats(0, 1))
def test_blending_rounds_no_more_than_float32_does(
    a: npt.NDArray[np.float32],
    x: npt.NDArray[np.float32],
    b: npt.NDArray[np.float32],
    y: npt.NDArray[np.float32],
    content_weight: float,
) -> None:
    query, row = blend(a, b, content_weight), concatenate(x[None], y[None])
    assert query.shape == row.shape == (1, 10)
    assert query.dtype == row.dtype == np.float32
    assert query.flags.c_contiguous
    assert row.flags.c_contiguous
    expected, size = blended_by_hand(a, x, b, y, content_weight)
    got = query[0].astype(np.float64) @ row[0].astype(np.float64)
    assert got == pytest.approx(expected, abs=2.0**-22 * size + 1e-35)


@quick
@given(matrices)
def test_unit_rows_have_length_one_and_zero_rows_stay_zero(rows: npt.NDArray[np.float32]) -> None:
    before = rows.copy()
    units = unit_rows(rows)
    assert np.array_equal(rows, before)
    for row, unit_row, length in zip(rows.tolist(), units, norms(rows), strict=True):
        by_hand = math.sqrt(math.fsum(value * value for value in row))
        assert length == pytest.approx(by_hand, rel=1e-6)
        expected = [value / by_hand for value in row] if length else [0, 0, 0]
        assert unit_row.tolist() == pytest.approx(expected, rel=1e-5, abs=1e-38)


@quick
@given(arrays(np.float32, 3, elements=st.floats(-100, 100, width=32).map(lambda v: round(v, 3))))
def test_a_vector_and_a_row_come_to_length_one_alike(vector: npt.NDArray[np.float32]) -> None:
    np.testing.assert_allclose(unit(vector), unit_rows(vector[None])[0], rtol=1e-6)


@pytest.mark.parametrize(
    "scale",
    [
        1e15,
        # Whose squares a sum in float32 cannot hold.
        1e-25,
        1e25,
    ],
)
def test_a_vector_of_any_size_comes_to_length_one(scale: float) -> None:
    vector = np.array([3, 4], dtype=np.float32) * np.float32(scale)
    np.testing.assert_allclose(unit_rows(vector[None])[0], [0.6, 0.8], rtol=1e-6)
    np.testing.assert_allclose(unit(vector), [0.6, 0.8], rtol=1e-6)


def test_a_zero_vector_stays_zero() -> None:
    assert unit(np.zeros(3, dtype=np.float32)).tolist() == [0, 0, 0]


def test_support_is_the_shrinkage_formula_and_rises_from_above_zero_to_below_one() -> None:
    counts = np.arange(2000)
    trust = support(counts)
    assert trust.dtype == np.float32
    assert trust.tolist() == pytest.approx([(n + 1) / (n + 6) for n in range(2000)], rel=1e-6)
    assert np.all(np.diff(trust) > 0)
    assert trust[0] > 0
    assert trust[-1] < 1
    assert float(support(7)) == trust[7]
