"""What serving is held against: the bare index, asked as served queries ask it."""

from collections import Counter
from dataclasses import replace

import pytest

from benchmarks import serving
from ilk.ann import Index
from ilk.bundle import Bundle
from ilk.query.plan import Plan, make_plan
from ilk.types import ItemId, Query
from ilk.v1 import similarity_pb2 as pb


def test_the_bare_index_is_asked_at_each_querys_own_effort(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = bundle.items.vocabulary.ids.to_list()[:4]
    asked: Counter[tuple[int, int]] = Counter()

    def planned(bundle: Bundle, query: Query) -> Plan:
        assert isinstance(query.whom, ItemId)
        return replace(make_plan(bundle, query), effort=8 if query.whom.item_id == ids[0] else 2)

    def nearest(_: Index, queries: object, k: int, effort: int) -> None:
        asked[len(queries), effort] += 1  # type: ignore[arg-type]

    monkeypatch.setattr(serving, "make_plan", planned)
    monkeypatch.setattr(Index, "nearest", nearest)
    bodies = [pb.FindNeighborsRequest(item_id=item_id).SerializeToString() for item_id in ids]
    serving.bare_search_us(bundle, bodies)
    assert set(asked) == {(1, 8), (3, 2)}
    assert len(set(asked.values())) == 1
