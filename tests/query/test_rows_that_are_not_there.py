"""An index that names rows outside the data is found out, and nobody is answered from it."""

import numpy as np
import pytest

from ilk.ann import Index, IndexKind, IndexSpec, Refined, RowNeighbors
from ilk.bundle import Bundle
from ilk.errors import BundleCorrupt
from ilk.query import answer
from ilk.space import SPACE_KEYS
from ilk.types import ItemId, Query, Target

KNOWN_ITEM = "the-matrix-1999"


@pytest.mark.parametrize("strange_row", [-7, -2, None, 1 << 20, 1 << 40])
@pytest.mark.parametrize("target", list(Target), ids=lambda target: target.value)
def test_a_row_outside_the_data_is_no_answer(
    strange_row: int | None, target: Target, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def misled(self: Index, queries: object, k: int, *_: object) -> RowNeighbors:
        rows = np.arange(100, 100 + k, dtype=np.int64)[None]
        rows[0, 1] = len(bundle.side(target)) if strange_row is None else strange_row
        return RowNeighbors(rows, np.linspace(1, 0.1, k, dtype=np.float32)[None])

    monkeypatch.setattr(Index, "nearest", misled)
    query = Query(ItemId(KNOWN_ITEM), target, content_weight=0.1, neighbor_count=5)
    with pytest.raises(BundleCorrupt, match="rows that are not there"):
        answer(bundle, query)


def test_no_vector_is_looked_for_behind_the_last_row(bundle: Bundle) -> None:
    space = bundle.spaces[SPACE_KEYS[0]]
    asked = np.ones((1, space.index.dim), dtype=np.float32)
    for behind in (0, 1):
        rows = np.array([[0, len(space) - 1 + behind]], dtype=np.int64)
        candidates = RowNeighbors(rows, np.ones((1, 2), dtype=np.float32))
        if behind:
            with pytest.raises(BundleCorrupt, match="rows that are not there"):
                space.rescored(asked, candidates, 2)
        else:
            assert set(space.rescored(asked, candidates, 2).rows[0].tolist()) == set(rows[0])


def test_lists_with_rows_that_are_not_there_are_not_searched() -> None:
    vectors = np.random.default_rng(1).standard_normal((300, 8), dtype=np.float32)
    index = Index.build(vectors, IndexSpec(IndexKind.IVF_PQ, 4), 1)
    assert Refined(index, vectors).nearest(vectors[:1], 20, 1, 4).rows.tolist() == [[0]]
    index.n_rows -= 1
    with pytest.raises(BundleCorrupt, match="rows that are not there"):
        Refined(index, vectors[:-1])
