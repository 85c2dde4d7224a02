"""Which candidate is kept, by what was measured of it first and in the end."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ilk.ann import Index, IndexKind, IndexSpec
from ilk.bundle.manifest import IndexRecord
from ilk.space import SpaceKey
from ilk.types import Target
from indexer.indexing import indices
from indexer.indexing.indices import build_index
from indexer.indexing.measuring import Measured
from indexer.settings import BuildSettings

# From simple to intricate, and in the order in which they are measured.
FLAT, PQ, IVF = SIMPLE_FIRST = IndexKind.FLAT, IndexKind.PQ, IndexKind.IVF
# By kind: what a usual query costs, and whether other blends hold too.
Costs = dict[IndexKind, tuple[float, bool]]


class Bench:
    """Measures as it is told to.

    Attributes
    ----------
    asked
        The kinds that were measured at the usual blend, each time, with the bound given.
    """

    shape = (4_500, 8)
    vectors = np.zeros((4_500, 8), dtype=np.float32)

    def __init__(self, costs: Costs) -> None:
        self.costs = costs
        self.asked: list[tuple[IndexKind, float]] = []

    def likely_us(self, spec: IndexSpec) -> float:
        return list(self.costs).index(spec.kind)

    def least_us(self, spec: IndexSpec) -> float:
        return 1.0

    def measure(self, spec: IndexSpec, most_us: float) -> Measured:
        self.asked.append((spec.kind, most_us))
        cost_us, _ = self.costs[spec.kind]
        found = Index.build(self.vectors[:1], IndexSpec(), 0)
        record = IndexRecord(spec.kind.value, spec.kind.value, 0, 0.0, ())
        usual_us = cost_us if cost_us <= most_us else np.inf
        return Measured(spec, found, record, whole=False, cost_us=usual_us, recall=0.95)

    def completed(self, found: Measured, most_us: float) -> Measured:
        cost_us, holds = self.costs[found.spec.kind]
        if holds:
            return replace(found, whole=True)
        return replace(found, whole=True, cost_us=np.inf, recall=0.5 + cost_us / 1000)


def kept(monkeypatch: pytest.MonkeyPatch, costs: Costs) -> tuple[str, list[str], Bench]:
    """Return the kind that is kept, those that are not, and the bench that they were measured with."""
    bench = Bench(costs)

    class Made:
        @staticmethod
        def of(*_: Any) -> Bench:
            return bench

    monkeypatch.setattr(
        indices, "_TRIED", tuple((IndexSpec(kind), 0, 1 << 62) for kind in SIMPLE_FIRST)
    )
    monkeypatch.setattr(indices, "Bench", Made)
    monkeypatch.setattr(indices, "measure", Bench.measure)
    monkeypatch.setattr(indices, "completed", Bench.completed)
    none = np.zeros((0, 4), dtype=np.float32)
    key = SpaceKey(Target.ITEMS, by_likeness=True)
    _, record, rejected = build_index(key, none, none, (none, none), BuildSettings())
    return record.kind, [r.kind for r in rejected], bench


def test_the_cheapest_is_kept_and_each_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = {PQ: (10.0, True), FLAT: (90.0, True), IVF: (70.0, True)}
    kind, rejected, bench = kept(monkeypatch, costs)
    assert (kind, sorted(rejected)) == ("PQ", ["Flat", "IVF"])
    assert [measured for measured, _ in bench.asked] == [PQ, FLAT, IVF]
    # Once it is known what the first costs, others are followed no further than that.
    assert bench.asked[0][1] > 1_000 > 2 * bench.asked[1][1]


def test_what_was_cut_short_is_measured_again_when_the_cheapest_does_not_hold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    costs = {PQ: (10.0, False), FLAT: (90.0, True), IVF: (30.0, True)}
    kind, rejected, bench = kept(monkeypatch, costs)
    assert (kind, sorted(rejected)) == ("IVF", ["Flat", "PQ"])
    assert [measured for measured, _ in bench.asked] == [PQ, FLAT, IVF, FLAT, IVF]


def test_where_none_holds_the_one_that_comes_nearest_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    costs = {PQ: (10.0, False), FLAT: (20.0, False), IVF: (30.0, False)}
    kind, rejected, _ = kept(monkeypatch, costs)
    assert (kind, sorted(rejected)) == ("IVF", ["Flat", "PQ"])


@pytest.mark.parametrize(
    ("other", "kept"), [(IndexSpec(PQ, dims_per_code=1), True), (IndexSpec(IVF), False)]
)
def test_only_another_kind_must_be_cheaper_by_far(other: IndexSpec, kept: bool) -> None:
    simple, bench = IndexSpec(PQ), Bench({PQ: (10.0, True), IVF: (10.0, True)})
    measured = {simple: bench.measure(simple, 1e3), other: bench.measure(other, 1e3)}
    measured[other] = replace(measured[other], cost_us=9.0)
    assert (indices._cheapest([simple, other], measured).spec == other) is kept


@pytest.mark.parametrize(("cost_us", "n_tried"), [(20.0, 1), (5.0, 2)])
def test_more_lists_are_tried_where_fewer_are_the_cheapest(
    cost_us: float, n_tried: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fewer, more = IndexSpec(IVF), IndexSpec(IVF, lists_per_root=4)
    bench = Bench({IVF: (cost_us, True), PQ: (10.0, True)})
    bench.size_bytes = lambda spec: 1  # type: ignore[attr-defined]
    monkeypatch.setattr(indices, "measure", Bench.measure)
    measured: dict[IndexSpec, Measured] = {}
    unbuilt = indices._measure_each(bench, [IndexSpec(PQ), fewer, more], measured)  # type: ignore[arg-type]
    assert [kind for kind, _ in bench.asked].count(IVF) == n_tried
    assert len(unbuilt) == 2 - n_tried
