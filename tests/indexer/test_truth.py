"""Exact answers, which indices are held against: at every blend those of comparing one by one."""

import numpy as np
import pytest

from indexer.indexing import truth
from indexer.indexing.truth import best_scores

BLENDS = (0.0, 0.3, 1.0)


@pytest.mark.parametrize("n_rows", [7, 64, 1000])
def test_the_best_scores_are_those_of_sorting_all_of_them(
    n_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(truth, "_CHUNK_ROWS", 64)
    rng = np.random.default_rng(n_rows)
    factors, content = (rng.standard_normal((n_rows, dim), dtype=np.float32) for dim in (6, 3))
    asking = tuple(rng.standard_normal((9, dim), dtype=np.float32) for dim in (6, 3))
    found = best_scores((factors, content), (asking[0], asking[1]), BLENDS, k=5)
    for weight in BLENDS:
        scores = (1 - weight) * asking[0] @ factors.T + weight * asking[1] @ content.T
        expected = -np.sort(-scores, axis=1)[:, :5]
        np.testing.assert_allclose(found[weight], expected, rtol=1e-5, atol=1e-5)


def test_equal_rows_are_each_counted() -> None:
    ones = np.ones((5, 2), dtype=np.float32)
    found = best_scores((ones, ones), (ones[:1], ones[:1]), (0.5,), k=4)
    assert found[0.5].tolist() == [[2.0] * 4]
