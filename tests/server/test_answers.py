"""What is asked again is answered as before, with no search, and takes the memory it may take."""

import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ilk.bundle import Bundle
from ilk.client.wire.requests import query_request
from ilk.errors import NotFound
from ilk.query import answer
from ilk.types import Examples, Filter, ItemId, Query, Target, UserId
from ilk.v1 import similarity_pb2 as pb
from server.bundles.answers import Answers, Question
from server.bundles.cost import Costs
from server.messages.encoding import Encoder
from server.observability.metrics import Counts
from server.privacy.users import UserPrivacy

PLENTY = 1e9


def asked(query: Query) -> bytes:
    return query_request(query).SerializeToString()


def ask(answers: Answers, query: Query, privacy: UserPrivacy | None = None) -> Question:
    question = answers.question(asked(query), privacy)
    if question.found is None:
        answers.find(question, privacy)
    return question


def ask_many(answers: Answers, queries: list[Query]) -> list[Question]:
    questions = [answers.question(asked(query)) for query in queries]
    answers.find_many([question for question in questions if question.found is None])
    return questions


def is_remembered(answers: Answers, query: Query) -> bool:
    return answers.question(asked(query)).found is not None


@pytest.fixture
def counts() -> Counts:
    return Counts()


@pytest.fixture
def make(bundle: Bundle, counts: Counts) -> Callable[[float], Answers]:
    return lambda memory: Answers(bundle, Encoder(bundle), Costs(bundle), memory, counts)


@pytest.fixture
def ids(bundle: Bundle) -> list[str]:
    return bundle.items.vocabulary.ids.to_list()


def test_what_is_asked_again_is_answered_with_no_search(
    make: Callable[[float], Answers], counts: Counts, ids: list[str], monkeypatch: Any
) -> None:
    answers = make(PLENTY)
    first = ask(answers, Query(ItemId(ids[3])))
    monkeypatch.setattr("server.bundles.answers.answer", None)
    monkeypatch.setattr("server.messages.requests.parse_alike", None)
    assert ask(answers, Query(ItemId(ids[3]))) is first
    assert counts.remembered == 1


def test_a_batch_searches_only_for_what_is_new(
    make: Callable[[float], Answers], counts: Counts, ids: list[str], monkeypatch: Any
) -> None:
    sought: list[Query] = []

    def noted(bundle: Bundle, query: Query, ids: list[str]) -> list[Any]:
        sought.extend(map(query.about, ids))
        return [answer(bundle, query, its_id) for its_id in ids]

    monkeypatch.setattr("server.bundles.answers.answer_alike", noted)
    answers, queries = make(PLENTY), [Query(ItemId(i)) for i in ids[:6]]
    known = ask(answers, queries[2])
    questions = ask_many(answers, queries)
    assert questions[2] is known
    assert sought == queries[:2] + queries[3:]
    assert ask_many(answers, queries) == questions
    assert len(sought) == 5
    assert counts.remembered == 7


def test_requests_that_mean_the_same_are_answered_the_same(
    make: Callable[[float], Answers], ids: list[str]
) -> None:
    answers = make(PLENTY)
    plain = pb.FindNeighborsRequest(item_id=ids[3])
    told = pb.FindNeighborsRequest(item_id=ids[3], target=pb.TARGET_ITEMS, neighbor_count=10)
    questions = [answers.question(message.SerializeToString()) for message in (plain, told)]
    answers.find_many(questions)
    assert questions[0].query == questions[1].query
    assert questions[0].found == questions[1].found


some_queries = st.lists(
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
)


@given(
    asked_of=some_queries,
    memory_bytes=st.sampled_from([0.0, 4e3, 2e4, PLENTY]),
)
def test_whatever_is_remembered_the_answers_are_the_kernels(
    bundle: Bundle, asked_of: list[tuple[int, Any, dict[str, Any]]], memory_bytes: float
) -> None:
    encoder = Encoder(bundle)
    answers = Answers(bundle, encoder, Costs(bundle), memory_bytes, Counts())
    for row, kind, wishes in asked_of:
        side = bundle.items if kind is ItemId else bundle.users
        query = Query(kind(side.vocabulary.id_of(row % len(side))), **wishes)
        # Equal for the kernel: a weight on the wire has fewer digits.
        truth = answer(bundle, answers.question(asked(query)).query)
        (of_batch,) = ask_many(answers, [query])
        for question in (ask(answers, query), of_batch, ask(answers, query)):
            assert question.found == truth
            assert answers.written(question) == encoder.response(truth)


@given(asked_of=some_queries, wishes=st.none() | st.just({"content_weight": 0.3}))
def test_what_is_asked_together_may_be_alike_or_not(
    bundle: Bundle,
    asked_of: list[tuple[int, Any, dict[str, Any]]],
    wishes: dict[str, Any] | None,
) -> None:
    answers = Answers(bundle, Encoder(bundle), Costs(bundle), 0, Counts())
    queries = []
    for row, kind, own_wishes in asked_of:
        side = bundle.items if kind is ItemId else bundle.users
        whom = kind(side.vocabulary.id_of(row % len(side)))
        queries.append(Query(whom, **(wishes or own_wishes)))
    for question in ask_many(answers, queries):
        alone = answer(bundle, question.query)
        assert [n.id for n in question.answer.neighbors] == [n.id for n in alone.neighbors]
        assert question.answer.content_weight == alone.content_weight


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
    ask(answers, Query(ItemId(ids[0])))
    query = Query(ItemId(ids[0]), **change)
    assert not is_remembered(answers, query)
    assert ask(answers, query).found == answer(bundle, query)


def test_what_callers_tell_of_people_is_not_remembered(
    make: Callable[[float], Answers], counts: Counts, ids: list[str]
) -> None:
    answers = make(PLENTY)
    query = Query(Examples((ids[0], ids[1])))
    ask(answers, query)
    ask(answers, query)
    assert not is_remembered(answers, query)
    assert not counts.remembered


def test_what_is_kept_from_a_caller_does_not_come_from_memory(
    make: Callable[[float], Answers], counts: Counts, ids: list[str]
) -> None:
    answers, query = make(PLENTY), Query(ItemId(ids[0]), Target.USERS)
    privacy = UserPrivacy(score_step=0.25)
    plain, coarse = ask(answers, query), ask(answers, query, privacy)
    assert all(n.score % 0.25 == 0 for n in coarse.answer.neighbors)
    many = [answers.question(asked(query), privacy)]
    answers.find_many(many, privacy)
    assert many[0].found == coarse.found
    assert ask(answers, query) is plain
    assert counts.remembered == 1


def test_what_was_kept_from_a_caller_is_not_what_others_are_told(
    make: Callable[[float], Answers], bundle: Bundle, ids: list[str]
) -> None:
    answers, query = make(PLENTY), Query(ItemId(ids[0]), Target.USERS)
    ask(answers, query, UserPrivacy(score_step=0.25))
    assert ask(answers, query).found == answer(bundle, query)


def test_errors_are_found_anew(make: Callable[[float], Answers]) -> None:
    answers, nobody = make(PLENTY), Query(ItemId("nobody"))
    for _ in range(2):
        with pytest.raises(NotFound):
            ask(answers, nobody)
        (question,) = ask_many(answers, [nobody])
        assert isinstance(question.error, NotFound)
        assert question.found is None


def test_what_is_asked_for_often_outlives_what_is_not(
    make: Callable[[float], Answers], ids: list[str]
) -> None:
    answers, often = make(100_000), Query(ItemId(ids[0]))
    ask(answers, often)
    for at in range(1, 150):
        ask(answers, Query(ItemId(ids[at])))
        ask(answers, often)
    assert is_remembered(answers, often)
    assert is_remembered(answers, Query(ItemId(ids[149])))
    assert not is_remembered(answers, Query(ItemId(ids[1])))


@pytest.mark.parametrize("neighbor_count", [1, 10, 100])
def test_memory_stays_within_what_was_allowed(
    make: Callable[[float], Answers], ids: list[str], neighbor_count: int
) -> None:
    allowed = 400_000
    answers = make(allowed)
    queries = [
        Query(ItemId(item_id), content_weight=weight / 8, neighbor_count=neighbor_count)
        for weight in range(8)
        for item_id in ids[:140]
    ]
    for query in queries[:50]:
        answers.written(ask(answers, query))
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    answers = make(allowed)
    for query in queries:
        answers.written(ask(answers, query))
    gc.collect()
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert allowed / 8 < taken < 1.25 * allowed


def test_a_request_that_is_mostly_padding_is_not_remembered(
    make: Callable[[float], Answers], counts: Counts, ids: list[str]
) -> None:
    answers = make(PLENTY)
    unknown = pb.StreamFindNeighborsRequest(request_id="x" * 600).SerializeToString()
    # Field 1 of that message, as field 500 of the other.
    padding = b"\xa2\x1f" + unknown[1:]
    for _ in range(2):
        question = answers.question(asked(Query(ItemId(ids[0]))) + padding)
        assert question.found is None
        answers.find(question)
    assert not counts.remembered


def test_without_memory_nothing_is_remembered(
    make: Callable[[float], Answers], counts: Counts, ids: list[str]
) -> None:
    answers, query = make(0), Query(ItemId(ids[0]))
    assert ask(answers, query) is not ask(answers, query)
    assert not counts.remembered
