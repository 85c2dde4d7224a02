"""What is asked again is answered as before, with no search, and takes the memory it may take."""

import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ilk.bundle import Bundle
from ilk.errors import IlkError, NotFound
from ilk.query import answer
from ilk.types import Examples, Filter, ItemId, Query, Target, UserId
from server.answers import Answered, Answers
from server.encoding import Encoder
from server.metrics import Counts
from server.privacy.users import UserPrivacy

PLENTY = 1e9


@pytest.fixture
def counts() -> Counts:
    return Counts()


@pytest.fixture
def make(bundle: Bundle, counts: Counts) -> Callable[[float], Answers]:
    return lambda memory_bytes: Answers(bundle, Encoder(bundle), memory_bytes, counts)


@pytest.fixture
def ids(bundle: Bundle) -> list[str]:
    return bundle.items.vocabulary.ids.to_list()


def test_what_is_asked_again_is_answered_with_no_search(
    make: Callable[[float], Answers], counts: Counts, ids: list[str], monkeypatch: Any
) -> None:
    answers = make(PLENTY)
    first = answers.to(Query(ItemId(ids[3])))
    monkeypatch.setattr("server.answers.answer", None)
    assert answers.to(Query(ItemId(ids[3]))) is first
    assert answers.has(Query(ItemId(ids[3])))
    assert counts.remembered == 1


def test_a_batch_searches_only_for_what_is_new(
    make: Callable[[float], Answers], counts: Counts, ids: list[str], monkeypatch: Any
) -> None:
    asked: list[Query] = []

    def noted(bundle: Bundle, queries: list[Query]) -> list[Any]:
        asked.extend(queries)
        return [answer(bundle, query) for query in queries]

    monkeypatch.setattr("server.answers.answer_many", noted)
    answers, queries = make(PLENTY), [Query(ItemId(i)) for i in ids[:6]]
    known = answers.to(queries[2])
    outcomes = answers.to_many(queries)
    assert outcomes[2] is known
    assert asked == queries[:2] + queries[3:]
    assert answers.to_many(queries) == outcomes
    assert len(asked) == 5
    assert counts.remembered == 7


@given(
    asked=st.lists(
        st.tuples(
            st.integers(0, 140),
            st.sampled_from([ItemId, UserId]),
            st.fixed_dictionaries(
                {
                    "target": st.sampled_from(Target),
                    "content_weight": st.sampled_from([None, 0.0, 0.3, 1.0]),
                    "neighbor_count": st.integers(1, 12),
                    "offset": st.integers(0, 2),
                    "include_components": st.booleans(),
                }
            ),
        ),
        max_size=40,
    ),
    memory_bytes=st.sampled_from([0.0, 4e3, 2e4, PLENTY]),
)
def test_whatever_is_remembered_the_answers_are_the_kernels(
    bundle: Bundle, asked: list[tuple[int, Any, dict[str, Any]]], memory_bytes: float
) -> None:
    encoder = Encoder(bundle)
    answers = Answers(bundle, encoder, memory_bytes, Counts())
    for row, kind, wishes in asked:
        side = bundle.items if kind is ItemId else bundle.users
        query = Query(kind(side.vocabulary.id_of(row % len(side))), **wishes)
        truth = answer(bundle, query)
        (of_batch,) = answers.to_many([query])
        for outcome in (answers.to(query), of_batch, answers.to(query)):
            assert isinstance(outcome, Answered)
            assert outcome.found == truth
            assert answers.written(outcome) == encoder.response(truth)


@pytest.mark.parametrize(
    "change",
    [
        {"target": Target.USERS},
        {"content_weight": 0.5},
        {"neighbor_count": 9},
        {"offset": 1},
        {"filter": Filter(min_year=1990)},
        {"diversity": 0.5},
        {"include_components": True},
    ],
    ids=str,
)
def test_queries_that_differ_are_answered_apart(
    make: Callable[[float], Answers], bundle: Bundle, ids: list[str], change: dict[str, Any]
) -> None:
    answers = make(PLENTY)
    answers.to(Query(ItemId(ids[0])))
    query = Query(ItemId(ids[0]), **change)
    assert not answers.has(query)
    assert answers.to(query).found == answer(bundle, query)


def test_what_callers_tell_of_people_is_not_remembered(
    make: Callable[[float], Answers], counts: Counts, ids: list[str]
) -> None:
    answers = make(PLENTY)
    query = Query(Examples((ids[0], ids[1])))
    answers.to(query)
    answers.to(query)
    assert not answers.has(query)
    assert not counts.remembered


def test_what_is_kept_from_a_caller_does_not_come_from_memory(
    make: Callable[[float], Answers], counts: Counts, ids: list[str]
) -> None:
    answers, query = make(PLENTY), Query(ItemId(ids[0]), Target.USERS)
    plain, coarse = answers.to(query), answers.to(query, UserPrivacy(score_step=0.25))
    assert all(n.score % 0.25 == 0 for n in coarse.found.neighbors)
    assert answers.to_many([query], UserPrivacy(score_step=0.25))[0] is not plain
    assert answers.to(query) is plain
    assert counts.remembered == 1


def test_errors_are_found_anew(make: Callable[[float], Answers]) -> None:
    answers, nobody = make(PLENTY), Query(ItemId("nobody"))
    for _ in range(2):
        with pytest.raises(NotFound):
            answers.to(nobody)
        assert isinstance(answers.to_many([nobody])[0], IlkError)


def test_what_is_asked_for_often_outlives_what_is_not(
    make: Callable[[float], Answers], ids: list[str]
) -> None:
    answers, often = make(100_000), Query(ItemId(ids[0]))
    answers.to(often)
    for at in range(1, 150):
        answers.to(Query(ItemId(ids[at])))
        answers.to(often)
    assert answers.has(often)
    assert answers.has(Query(ItemId(ids[149])))
    assert not answers.has(Query(ItemId(ids[1])))


@pytest.mark.parametrize("neighbor_count", [1, 10, 100])
def test_memory_stays_within_what_was_allowed(
    make: Callable[[float], Answers], ids: list[str], neighbor_count: int
) -> None:
    allowed = 400_000
    answers = make(allowed)
    asked = [
        Query(ItemId(item_id), content_weight=weight / 8, neighbor_count=neighbor_count)
        for weight in range(8)
        for item_id in ids[:140]
    ]
    for query in asked[:50]:
        answers.written(answers.to(query))
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    answers = make(allowed)
    for query in asked:
        answers.written(answers.to(query))
    gc.collect()
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert allowed / 8 < taken < 1.25 * allowed


def test_without_memory_nothing_is_remembered(
    make: Callable[[float], Answers], counts: Counts, ids: list[str]
) -> None:
    answers, query = make(0), Query(ItemId(ids[0]))
    assert answers.to(query) is not answers.to(query)
    assert not counts.remembered
