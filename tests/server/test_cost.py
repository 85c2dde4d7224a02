"""What queries are said to cost: of an index, what the build measured; of all else, every row."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ilk.ann import Index, IndexKind, IndexSpec, least_us
from ilk.bundle import Bundle
from ilk.bundle.manifest import IndexRecord
from ilk.query.plan import room_for
from ilk.space import Space, SpaceKey
from ilk.types import (
    EXACT,
    Accuracy,
    Examples,
    Filter,
    ItemId,
    MeasuredRecall,
    PredictionMethod,
    Profile,
    Query,
    Rating,
    Target,
    UserId,
)
from ilk.vectors import concatenate
from server.bundles.cost import Costs

AFFINITY = SpaceKey(Target.ITEMS, by_likeness=False)
CHEAP, DEAR = Accuracy.at_recall(0.9), Accuracy.at_recall(0.99)
# By effort: the recall that was measured, and the share of comparing with all rows that it takes.
MEASURED = {4: (0.95, 0.25), 16: (0.995, 0.5)}


@pytest.fixture(scope="module")
def listed(bundle: Bundle) -> Bundle:
    """The sample's bundle, its items searched by affinity through lists that were measured."""
    space = bundle.spaces[AFFINITY]
    index = Index.build(concatenate(space.factors, space.content), IndexSpec(IndexKind.IVF), 0)
    every_us = least_us(IndexSpec(), (len(space), index.dim), 1)
    rows, costs_us = [], []
    for effort, (recall, share) in MEASURED.items():
        for weight in (0.0, 0.1, 0.5):
            rows.append(
                MeasuredRecall(AFFINITY.name, "IVF", effort, weight, recall, recall, cpu_us=1.0)
            )
            costs_us.append(share * every_us)
    record = IndexRecord("IVF", "IVF", 1, 0.0, tuple(rows), tuple(costs_us))
    found = Space(AFFINITY, space.factors, space.content, index, tuple(rows))
    manifest = replace(bundle.manifest, indices={**bundle.manifest.indices, AFFINITY.name: record})
    spaces = {**bundle.spaces, AFFINITY: found}
    return replace(bundle, manifest=manifest, spaces=spaces)


def of_search(bundle: Bundle, query: Query) -> float:
    """Return what a query's search is said to cost, as a share of comparing with all rows."""
    costs, space = Costs(bundle), bundle.spaces[AFFINITY]
    every = len(space) * space.index.dim
    return 1 + (costs.of(query) - costs.of(replace(query, accuracy=EXACT))) / every


def test_a_search_costs_what_was_measured_of_the_least_effort_that_holds(
    listed: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = Query(UserId("1"), content_weight=0.1, accuracy=CHEAP)
    assert of_search(listed, query) == pytest.approx(0.25, abs=0.01)
    assert of_search(listed, replace(query, accuracy=DEAR)) == pytest.approx(0.5, abs=0.01)
    # Whom nobody knows is looked for all the same, and harder.
    newcomer = replace(query, whom=Profile(ratings=(Rating("the-matrix-1999", 5.0),)))
    every = len(listed.items) * listed.spaces[AFFINITY].index.dim
    for harder, share in ((1, 0.25), (3, 0.75), (6, 1)):
        monkeypatch.setattr("server.bundles.cost.HARDER", harder)
        more = Costs(listed).of(newcomer) - listed.manifest.n_factors**2 - Costs(listed).of(query)
        assert more == pytest.approx((share - 0.25) * every, abs=0.01 * every)


@pytest.mark.parametrize(
    "more",
    [
        {"accuracy": EXACT},
        {"accuracy": Accuracy.at_recall(0.999)},
        {"content_weight": 0.7},
        {"filter": Filter(any_genres=("Drama",))},
        {"filter": Filter(include_ids=("the-matrix-1999",))},
        {"filter": Filter(exclude_ids=tuple(map(str, range(1026))))},
        {"diversity": 0.5},
        {"popularity_penalty": 0.5},
    ],
    ids=str,
)
def test_what_may_be_compared_with_every_row_costs_every_row(
    listed: Bundle, more: dict[str, Any]
) -> None:
    query = Query(UserId("1"), content_weight=0.1, accuracy=CHEAP)
    assert of_search(listed, replace(query, **more)) == pytest.approx(1)


@pytest.mark.parametrize(
    "wanted", [Filter(exclude_seen=True), Filter(exclude_ids=("a", "b"))], ids=str
)
def test_what_only_passes_over_a_few_costs_what_the_index_takes(
    listed: Bundle, wanted: Filter
) -> None:
    query = Query(UserId("1"), content_weight=0.1, accuracy=CHEAP, filter=wanted)
    assert of_search(listed, query) == pytest.approx(0.25, abs=0.01)


def test_who_has_seen_much_costs_every_row(listed: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    user = listed.users.vocabulary.id_of(0)
    n_seen = listed.ratings_by_user.count(0)
    query = Query(
        UserId(user), content_weight=0.1, accuracy=CHEAP, filter=Filter(exclude_seen=True)
    )
    for most, share in ((room_for(n_seen), 0.25), (room_for(n_seen) - 1, 1)):
        monkeypatch.setattr("server.bundles.cost.MAX_OVERFETCH", most)
        assert of_search(listed, query) == pytest.approx(share, abs=0.01)
    seen = tuple(Rating(listed.items.vocabulary.id_of(row), 5.0) for row in range(n_seen))
    newcomer = replace(query, whom=Profile(ratings=seen))
    monkeypatch.setattr("server.bundles.cost.HARDER", 1)
    unseen = replace(newcomer, filter=Filter())
    assert Costs(listed).of(newcomer) > Costs(listed).of(unseen)


def test_users_who_have_not_rated_what_many_have_cost_every_row(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    too_few = room_for(bundle.ratings_by_item.count(0)) - 1
    monkeypatch.setattr("server.bundles.cost.MAX_OVERFETCH", too_few)
    costs, item = Costs(bundle), bundle.items.vocabulary.id_of(0)
    every = Query(ItemId(item), Target.USERS, accuracy=EXACT)
    for whom in (ItemId(item), Examples((item,))):
        unseen = Query(whom, Target.USERS, filter=Filter(exclude_seen=True))
        assert costs.of(unseen) >= costs.of(every)


def of(**asked: Any) -> Query:
    return Query(UserId("1"), **asked)


def examples(n: int, **asked: Any) -> Query:
    return Query(Examples(("the-matrix-1999",) * n), Target.USERS, **asked)


IDS = tuple(map(str, range(1000)))


@pytest.mark.parametrize(
    ("less", "more"),
    [
        (of(accuracy=EXACT), of(popularity_penalty=0.5)),
        (of(popularity_penalty=0.5), of(popularity_penalty=0.5, diversity=0.5)),
        (of(diversity=0.5, neighbor_count=50), of(diversity=0.5, neighbor_count=60)),
        (of(diversity=0.5, neighbor_count=50), of(diversity=0.5, neighbor_count=50, offset=10)),
        (of(diversity=0.5, neighbor_count=200), of(diversity=0.5, neighbor_count=201)),
        (of(accuracy=EXACT), of(include_components=True)),
        (of(include_components=True), of(include_explanation=True)),
        (of(filter=Filter(include_ids=IDS[1:])), of(filter=Filter(include_ids=IDS))),
        (of(filter=Filter(exclude_ids=IDS[1:])), of(filter=Filter(exclude_ids=IDS))),
        (examples(1), examples(2)),
        (examples(2), examples(2, filter=Filter(exclude_seen=True))),
    ],
    ids=lambda _: "",
)
def test_what_takes_more_costs_more(bundle: Bundle, less: Query, more: Query) -> None:
    assert Costs(bundle).of(less) < Costs(bundle).of(more)


def test_what_shares_a_shape_costs_the_same_whoever_was_first(bundle: Bundle) -> None:
    """A shape is remembered: what was found out of one who asks must not be told of others."""
    ids = [bundle.users.vocabulary.id_of(row) for row in (5, len(bundle.users) - 1)]
    unseen = [Query(UserId(user), filter=Filter(exclude_seen=True)) for user in ids]
    forwards, backwards = Costs(bundle), Costs(bundle)
    told = [forwards.of(query) for query in unseen]
    assert told == [backwards.of(query) for query in reversed(unseen)][::-1]


def test_where_few_can_be_among_the_best_that_is_what_an_exact_answer_costs(
    listed: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = Query(UserId("1"), content_weight=0.1, accuracy=EXACT)
    every = Costs(listed).of(query)
    monkeypatch.setattr("ilk.space._MANY_ITEMS", len(listed.items))
    space = listed.spaces[AFFINITY]
    assert every - Costs(listed).of(query) == pytest.approx(
        0.64 * len(space) * space.index.dim, abs=2
    )
    # By likeness nearly all can be, unless content weighs more.
    alike = replace(query, whom=ItemId("the-matrix-1999"))
    assert Costs(listed).of(alike) > Costs(listed).of(replace(alike, content_weight=0.5))


def test_each_is_told_by_the_space_that_is_searched(listed: Bundle) -> None:
    query = Query(ItemId("the-matrix-1999"), content_weight=0.1, accuracy=CHEAP)
    for whom in (query.whom, Examples(positive_item_ids=("the-matrix-1999",))):
        assert of_search(listed, replace(query, whom=whom)) == pytest.approx(1)


def test_the_well_known_cost_what_such_were_measured_to_need(listed: Bundle) -> None:
    space = listed.spaces[AFFINITY]
    rows = tuple(
        replace(row, others_at_10=row.recall_at_10, well_known_at_10=1.0) for row in space.recall
    )
    known = Space(AFFINITY, space.factors, space.content, space.index, rows)
    bundle = replace(listed, spaces={**listed.spaces, AFFINITY: known})
    id_of, n_users = bundle.users.vocabulary.id_of, len(bundle.users)
    query = Query(UserId("1"), content_weight=0.1, accuracy=DEAR)
    for row, share in ((0, 0.25), (n_users // 10 - 1, 0.25), (n_users // 10, 0.5)):
        asked = replace(query, whom=UserId(id_of(row)))
        assert of_search(bundle, asked) == pytest.approx(share, abs=0.01)
    assert of_search(bundle, replace(query, whom=UserId("nobody"))) == pytest.approx(0.5, abs=0.01)


def test_a_bundle_that_holds_no_costs_is_told_by_its_rows(listed: Bundle) -> None:
    record = replace(listed.manifest.indices[AFFINITY.name], costs_us=())
    indices = {**listed.manifest.indices, AFFINITY.name: record}
    old = replace(listed, manifest=replace(listed.manifest, indices=indices))
    query = Query(UserId("1"), content_weight=0.1, accuracy=CHEAP)
    assert of_search(old, query) == pytest.approx(1)


def test_more_shapes_than_are_remembered_cost_the_same(listed: Bundle) -> None:
    costs = Costs(listed)
    queries = [Query(UserId("1"), content_weight=n / 5_000) for n in range(2_000)]
    assert [costs.of(query) for query in queries] == [costs.of(query) for query in queries]


def test_reasons_cost_what_was_rated_for_each_neighbor(bundle: Bundle) -> None:
    costs, ids = Costs(bundle), bundle.users.vocabulary
    n_factors = bundle.manifest.n_factors
    counts = np.diff(bundle.ratings_by_user.indptr)
    for row in (int(counts.argmin()), int(counts.argmax())):
        plain = Query(UserId(ids.id_of(row)), include_components=True)
        for n in (10, 200):
            asked = replace(plain, neighbor_count=n)
            more = costs.of(replace(asked, include_explanation=True)) - costs.of(asked)
            assert more >= counts[row] * n * n_factors
    profile = Profile(ratings=tuple(Rating(str(n), 5.0) for n in range(300)))
    asked = Query(profile, include_components=True)
    assert costs.of(replace(asked, include_explanation=True)) > costs.of(asked) + 300 * n_factors


def test_predictions_cost_what_was_rated_too(bundle: Bundle) -> None:
    costs = Costs(bundle)
    few, many = (
        Profile(ratings=tuple(Rating(str(n), 5.0) for n in range(size))) for size in (3, 300)
    )
    for method in PredictionMethod:
        told = [costs.of_predictions(whom, 10, method) for whom in (UserId("nobody"), few, many)]
        assert told == sorted(set(told))
        assert costs.of_predictions(few, 20, method) > told[1]


def test_whatever_a_profile_holds_of_items_is_part_of_its_cost(bundle: Bundle) -> None:
    costs, ids = Costs(bundle), ("the-matrix-1999",) * 500
    rated = Profile(ratings=tuple(Rating(item_id, 5.0) for item_id in ids))
    for profile in (Profile(liked_item_ids=ids), Profile(disliked_item_ids=ids)):
        assert costs.of(Query(profile)) == costs.of(Query(rated))
    assert costs.of(Query(rated)) > costs.of(Query(Profile(favorite_genres=("Drama",))))


def test_what_is_like_another_query_costs_what_who_asks_has_rated(bundle: Bundle) -> None:
    costs = Costs(bundle)
    user = bundle.users.vocabulary.id_of(int(np.diff(bundle.ratings_by_user.indptr).argmax()))
    asked = Query(UserId(user), neighbor_count=200, include_explanation=True)
    assert costs.of(asked.about("anybody"), user) == costs.of(asked)
