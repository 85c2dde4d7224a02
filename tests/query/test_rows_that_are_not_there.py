"""An index that names rows outside the data is found out, and nobody is answered from it."""

import numpy as np
import pytest

from ilk.ann import Index, RowNeighbors
from ilk.bundle import Bundle
from ilk.errors import BundleCorrupt
from ilk.query import answer
from ilk.types import ItemId, Query, Target

KNOWN_ITEM = "the-matrix-1999"


@pytest.mark.parametrize("strange_row", [-7, -2, 1 << 20, 1 << 40])
@pytest.mark.parametrize("target", list(Target), ids=lambda target: target.value)
def test_a_row_outside_the_data_is_no_answer(
    strange_row: int, target: Target, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def misled(self: Index, queries: object, k: int, *_: object) -> RowNeighbors:
        rows = np.arange(100, 100 + k, dtype=np.int64)[None]
        rows[0, 1] = strange_row
        return RowNeighbors(rows, np.linspace(1, 0.1, k, dtype=np.float32)[None])

    monkeypatch.setattr(Index, "nearest", misled)
    query = Query(ItemId(KNOWN_ITEM), target, content_weight=0.1, neighbor_count=5)
    with pytest.raises(BundleCorrupt, match="rows that are not there"):
        answer(bundle, query)
