"""What callers who may ask for users are not told: who they are, who stands out, and any vector."""

import functools
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from hypothesis import given
from hypothesis import strategies as st

from ilk import SimilarityClient
from ilk.bundle import Bundle
from ilk.errors import InvalidRequest, NotFound, SettingsError
from ilk.query import answer
from ilk.types import (
    Examples,
    Filter,
    ItemId,
    Neighbors,
    PredictionMethod,
    Profile,
    Query,
    ShortfallReason,
    Target,
    Text,
    UserId,
)
from ilk.v1 import similarity_pb2 as pb
from server.access.callers import Caller, Callers, Scope, new_token, to_bytes
from server.bundles.answers import Answers
from server.bundles.cost import Costs
from server.calls.service import SERVICE
from server.messages.encoding import Encoder
from server.observability.metrics import Counts
from server.privacy.pseudonyms import Pseudonyms, read_pseudonyms
from server.privacy.users import UserPrivacy
from server.settings import ServerSettings
from tests.server.conftest import TIMEOUT_S, Serve

KEY = bytes(range(32))
NAMES = Pseudonyms(KEY)
CROWD = 20


def ids(found: Neighbors) -> list[str]:
    return [neighbor.id for neighbor in found.neighbors]


@pytest.fixture(scope="module")
def common(bundle: Bundle) -> tuple[str, ...]:
    """Items that many have rated."""
    n_raters = np.diff(bundle.ratings_by_item.indptr)
    return tuple(bundle.items.vocabulary.id_of(int(row)) for row in np.argsort(-n_raters)[:8])


@pytest.fixture(scope="module")
def rare(bundle: Bundle) -> str:
    """An item that fewer than a crowd have rated, but somebody has."""
    n_raters = np.diff(bundle.ratings_by_item.indptr)
    return bundle.items.vocabulary.id_of(
        int(np.flatnonzero((n_raters > 0) & (n_raters < CROWD))[0])
    )


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_a_pseudonym_is_read_back_by_its_key_alone(user_id: str) -> None:
    pseudonym = NAMES.of(user_id)
    assert Pseudonyms(KEY).of(user_id) == pseudonym != user_id
    assert NAMES.user_id(pseudonym) == user_id
    assert Pseudonyms(KEY[::-1]).user_id(pseudonym) is None


@given(st.text(max_size=80))
def test_what_is_no_pseudonym_is_nobodys(text: str) -> None:
    assert NAMES.user_id(text) is None


def test_a_pseudonym_tells_nothing_of_short_ids() -> None:
    lengths = {len(NAMES.of(user_id)) for user_id in ("1", "42", "138493", "é" * 7)}
    assert lengths == {43}
    assert len(NAMES.of("x" * 175).encode()) <= 256


@pytest.mark.parametrize("told", ["", "xyz", "ab" * 31, "ab" * 33])
def test_a_file_without_a_key_is_refused(told: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(told)
    with pytest.raises(SettingsError, match="openssl rand -hex 32"):
        read_pseudonyms(tmp_path / "key")


def test_users_are_told_by_pseudonyms_and_may_be_asked_with_them(
    bundle: Bundle, user_id: str
) -> None:
    hidden = UserPrivacy(NAMES)
    true = answer(bundle, Query(UserId(user_id), Target.USERS, neighbor_count=30))
    told = hidden.answer(bundle, Query(UserId(NAMES.of(user_id)), Target.USERS, neighbor_count=30))
    assert [NAMES.user_id(told_id) for told_id in ids(told)] == ids(true)
    assert [n.score for n in told.neighbors] == [n.score for n in true.neighbors]
    for pseudonym, true_id in zip(ids(told)[:3], ids(true), strict=False):
        items = hidden.answer(bundle, Query(UserId(pseudonym)))
        assert items == answer(bundle, Query(UserId(true_id)))


@pytest.mark.parametrize("target", Target)
def test_true_ids_are_unknown_where_users_have_pseudonyms(
    bundle: Bundle, user_id: str, target: Target
) -> None:
    hidden = UserPrivacy(NAMES)
    with pytest.raises(NotFound, match="unknown user"):
        hidden.answer(bundle, Query(UserId(user_id), target))
    (outcome,) = hidden.answer_many(bundle, [Query(UserId(user_id), target)])
    assert isinstance(outcome, NotFound)


def test_the_pseudonym_of_a_user_who_has_gone_tells_no_id(bundle: Bundle) -> None:
    gone = NAMES.of("user-that-left")
    with pytest.raises(NotFound) as told:
        UserPrivacy(NAMES).answer(bundle, Query(UserId(gone), Target.USERS))
    assert told.value.ids == (gone,)
    assert "user-that-left" not in str(told.value)


def test_filters_take_pseudonyms_and_no_true_ids(bundle: Bundle, item_id: str) -> None:
    hidden, audience = UserPrivacy(NAMES), Query(ItemId(item_id), Target.USERS)
    first, *_, last = ids(answer(bundle, audience))
    by_name = replace(audience, filter=Filter(include_ids=(NAMES.of(first), last)))
    assert ids(hidden.answer(bundle, by_name)) == [NAMES.of(first)]
    without = replace(audience, filter=Filter(exclude_ids=(NAMES.of(first), last)))
    told = ids(hidden.answer(bundle, without))
    assert NAMES.of(first) not in told
    assert NAMES.of(last) in told


@pytest.mark.parametrize("n_asked", [1, 7, 20, 21, 60])
@pytest.mark.parametrize("diversity", [0.0, 0.3])
def test_a_crowd_is_told_as_one(
    bundle: Bundle, common: tuple[str, ...], n_asked: int, diversity: float
) -> None:
    query = Query(
        Profile(liked_item_ids=common),
        Target.USERS,
        neighbor_count=n_asked,
        diversity=diversity,
        include_components=True,
    )
    n_whole = -(-n_asked // CROWD) * CROWD
    true = answer(bundle, replace(query, neighbor_count=n_whole))
    told = UserPrivacy(crowd=CROWD).answer(bundle, query)
    assert len(told.neighbors) == n_asked
    assert told.shortfall is None
    for at in range(0, n_whole, CROWD):
        crowd, shown = true.neighbors[at : at + CROWD], told.neighbors[at : at + CROWD]
        assert {n.id for n in shown} <= {n.id for n in crowd}
        assert len({(n.score, n.collaborative, n.content, n.inferred) for n in shown}) == 1
        assert shown[0].score == pytest.approx(np.mean([n.score for n in crowd]))


def test_the_order_within_a_crowd_says_nothing_of_who_is_nearer(
    bundle: Bundle, common: tuple[str, ...]
) -> None:
    """Two questions that put the same users into a crowd are answered in one order."""
    hidden, orders = UserPrivacy(crowd=CROWD), []
    for item_id in common:
        query = Query(ItemId(item_id), Target.USERS, neighbor_count=CROWD)
        orders.append(ids(hidden.answer(bundle, query)))
    for one in orders:
        for other in orders:
            shared = set(one) & set(other)
            assert [i for i in one if i in shared] == [i for i in other if i in shared]


@given(offset=st.integers(0, 90), n_asked=st.integers(1, 90))
def test_pages_of_crowds_fit_together(
    bundle: Bundle, common: tuple[str, ...], offset: int, n_asked: int
) -> None:
    hidden = UserPrivacy(NAMES, CROWD, 0.1)
    query = Query(Profile(liked_item_ids=common), Target.USERS)
    whole = hidden.answer(bundle, replace(query, neighbor_count=200)).neighbors
    page = hidden.answer(bundle, replace(query, offset=offset, neighbor_count=n_asked)).neighbors
    assert list(page) == list(whole[offset : offset + n_asked])


def test_users_too_few_for_a_crowd_are_withheld(bundle: Bundle, common: tuple[str, ...]) -> None:
    query = Query(Profile(liked_item_ids=common), Target.USERS, neighbor_count=1000)
    told = UserPrivacy(crowd=110).answer(bundle, query)
    # Of 600 users, five whole crowds.
    assert len(told.neighbors) == 550
    assert told.shortfall is not None
    assert told.shortfall.reason is ShortfallReason.WITHHELD
    assert (told.shortfall.requested, told.shortfall.returned) == (1000, 550)


def test_items_that_few_have_rated_do_not_count(
    bundle: Bundle, common: tuple[str, ...], rare: str
) -> None:
    hidden = UserPrivacy(crowd=CROWD)
    query = Query(Profile(liked_item_ids=common), Target.USERS)
    with_rare = replace(query, whom=Profile(liked_item_ids=(*common, rare)))
    told = hidden.answer(bundle, with_rare)
    assert told.ignored_ids == (rare,)
    assert ids(told) == ids(hidden.answer(bundle, query))
    examples = Query(Examples(common, (rare,)), Target.USERS)
    assert hidden.answer(bundle, examples).ignored_ids == (rare,)


def test_who_asks_with_rare_items_alone_is_told_of_nobody(bundle: Bundle, rare: str) -> None:
    hidden = UserPrivacy(crowd=CROWD)
    for whom in (ItemId(rare), Profile(liked_item_ids=(rare,)), Examples((rare,))):
        query = Query(whom, Target.USERS)
        told = hidden.answer(bundle, query)
        assert ids(told) == []
        assert told.bundle_version == bundle.version
        assert told.shortfall is not None
        assert told.shortfall.reason is ShortfallReason.WITHHELD
        assert hidden.answer_many(bundle, [query]) == [told]


def test_crowds_cannot_be_filtered(bundle: Bundle, item_id: str, user_id: str) -> None:
    hidden = UserPrivacy(crowd=CROWD)
    for wanted in (Filter(include_ids=(user_id,)), Filter(exclude_seen=True)):
        with pytest.raises(InvalidRequest, match="filter"):
            hidden.answer(bundle, Query(ItemId(item_id), Target.USERS, filter=wanted))
        items = Query(ItemId(item_id), filter=Filter(exclude_ids=(item_id,)))
        assert hidden.answer(bundle, items) == answer(bundle, items)


def test_scores_are_rounded_and_equal_ones_not_told_apart(
    bundle: Bundle, common: tuple[str, ...]
) -> None:
    query = Query(
        Profile(liked_item_ids=common), Target.USERS, neighbor_count=50, include_components=True
    )
    true = {n.id: n for n in answer(bundle, replace(query, neighbor_count=100)).neighbors}
    told = UserPrivacy(score_step=0.25).answer(bundle, query).neighbors
    assert len(told) == 50
    for neighbor in told:
        for name in ("score", "collaborative", "content"):
            value = getattr(neighbor, name)
            assert value == pytest.approx(round(value * 4) / 4, abs=1e-9)
            assert abs(value - getattr(true[neighbor.id], name)) <= 0.125 + 1e-6
    scores = [n.score for n in told]
    assert scores == sorted(scores, reverse=True)
    exact = [true[n.id].score for n in told]
    assert exact != sorted(exact, reverse=True)
    # Nor by asking for a re-ranking that changes nothing.
    for re_ranked in (replace(query, diversity=1e-12), replace(query, popularity_penalty=1e-12)):
        again = UserPrivacy(score_step=0.25).answer(bundle, re_ranked)
        assert ids(again) == [n.id for n in told]


def test_re_ranked_pages_of_rounded_scores_fit_together(
    bundle: Bundle, common: tuple[str, ...]
) -> None:
    hidden = UserPrivacy(score_step=0.05)
    query = Query(Profile(liked_item_ids=common), Target.USERS, diversity=0.5)
    whole = ids(hidden.answer(bundle, replace(query, neighbor_count=60)))
    for at in (0, 20, 40):
        page = hidden.answer(bundle, replace(query, offset=at, neighbor_count=20))
        assert ids(page) == whole[at : at + 20]


@pytest.mark.parametrize(
    "hidden",
    [UserPrivacy(NAMES), UserPrivacy(NAMES, CROWD), UserPrivacy(None, 1, 0.1)],
    ids=["pseudonyms", "crowds", "rounded"],
)
def test_batches_are_told_what_single_queries_are(
    hidden: UserPrivacy, bundle: Bundle, common: tuple[str, ...], rare: str, user_id: str
) -> None:
    known = NAMES.of(user_id) if hidden.pseudonyms else user_id
    whoms = (
        *(ItemId(common[0]), ItemId(rare), UserId(known), UserId("nobody")),
        *(Profile(liked_item_ids=common), Examples(common), Text(bundle.content_model.genres[0])),
    )
    queries = [Query(whom, target) for whom in whoms for target in Target]
    for query, outcome in zip(queries, hidden.answer_many(bundle, queries), strict=True):
        if isinstance(outcome, Neighbors):
            alone = hidden.answer(bundle, query)
            assert ids(outcome) == ids(alone)
            assert outcome.shortfall == alone.shortfall
        else:
            with pytest.raises(type(outcome)):
                hidden.answer(bundle, query)


@pytest.fixture(scope="module")
def tokens() -> dict[str, tuple[str, str]]:
    return {name: new_token() for name in ("shop", "research", "both")}


@pytest.fixture(scope="module")
def private_target(
    serve: Serve,
    sample_store: Path,
    tmp_path_factory: pytest.TempPathFactory,
    tokens: dict[str, tuple[str, str]],
) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("privacy")
    (folder / "key").write_text(KEY.hex() + "\n")
    scopes = {
        "shop": {Scope.QUERY},
        "research": {Scope.QUERY_USERS},
        "both": {Scope.QUERY, Scope.QUERY_USERS},
    }
    callers = [Caller(name, frozenset(scopes[name]), tokens[name][1]) for name in scopes]
    (folder / "callers").write_bytes(to_bytes(Callers(callers)))
    settings = ServerSettings(
        sample_store,
        port=0,
        grace_s=0.5,
        shadow_share=1,
        callers=folder / "callers",
        pseudonym_key=folder / "key",
        users_crowd=CROWD,
        users_score_step=0.05,
    )
    with serve(settings) as address:
        yield address


def test_each_caller_lives_among_true_ids_or_among_pseudonyms(
    private_target: str, tokens: dict[str, tuple[str, str]], user_id: str, item_id: str
) -> None:
    """Otherwise whoever has both could match them by what they are answered."""
    pseudonym = NAMES.of(user_id)
    with SimilarityClient(private_target, token=tokens["shop"][0], timeout_s=TIMEOUT_S) as shop:
        true = shop.recommend(user_id)
        stars = shop.predict_ratings(user_id, [item_id])
        with pytest.raises(NotFound):
            shop.recommend(pseudonym)
    with SimilarityClient(private_target, token=tokens["both"][0], timeout_s=TIMEOUT_S) as both:
        assert both.recommend(pseudonym) == true
        assert both.predict_ratings(pseudonym, [item_id]) == stars
        for asked in (
            lambda: both.recommend(user_id),
            lambda: both.similar_users(user_id),
            lambda: both.predict_ratings(user_id, [item_id]),
        ):
            with pytest.raises(NotFound, match=user_id):
                asked()
    with SimilarityClient(
        private_target, token=tokens["research"][0], timeout_s=TIMEOUT_S
    ) as research:
        told = research.similar_users(pseudonym, CROWD)
        assert len({n.score for n in told.neighbors}) == 1
        assert all(NAMES.user_id(n.id) for n in told.neighbors)
        queries = [Query(UserId(n.id), Target.USERS) for n in told.neighbors]
        for outcome in (
            *research.batch_find_neighbors(queries),
            *research.stream_find_neighbors(queries),
        ):
            assert isinstance(outcome, Neighbors)
            assert all(NAMES.user_id(n.id) for n in outcome.neighbors)


def test_who_is_asked_for_by_a_pseudonym_costs_what_they_have_rated(bundle: Bundle) -> None:
    answers = Answers(bundle, Encoder(bundle), Costs(bundle), 0, Counts())
    true_id = bundle.users.vocabulary.id_of(int(np.diff(bundle.ratings_by_user.indptr).argmax()))
    pb_of = functools.partial(pb.FindNeighborsRequest, include_explanation=True)
    true, told = (
        pb_of(user_id=known).SerializeToString() for known in (true_id, NAMES.of(true_id))
    )
    assert answers.question(told, UserPrivacy(NAMES)).cost == answers.question(true).cost


def test_predictions_by_a_pseudonym_are_held_against_what_the_user_has_rated(
    serve: Serve, bundle: Bundle, sample_store: Path, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text(KEY.hex())
    user = UserId(bundle.users.vocabulary.id_of(0))
    items = [bundle.items.vocabulary.id_of(row) for row in range(20)]
    of_predictions = functools.partial(
        Costs(bundle).of_predictions, n_items=len(items), method=PredictionMethod.COSINE_KNN
    )
    least, whole = of_predictions(UserId("nobody")), of_predictions(user)
    settings = ServerSettings(
        sample_store, port=0, pseudonym_key=tmp_path / "key", max_cost=(least + whole) / 2
    )
    pseudonym = NAMES.of(user.user_id)
    with (
        serve(settings) as address,
        SimilarityClient(address) as client,
        pytest.raises(InvalidRequest, match="multiplications"),
    ):
        client.predict_ratings(pseudonym, items, PredictionMethod.COSINE_KNN)


VECTORS = {FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE}


def fields_of(message: Descriptor, seen: set[str]) -> Iterator[FieldDescriptor]:
    seen.add(message.full_name)
    for field in message.fields:
        yield field
        if field.message_type is not None and field.message_type.full_name not in seen:
            yield from fields_of(field.message_type, seen)


@pytest.mark.parametrize("rpc", [method.name for method in SERVICE.methods])
def test_no_reply_has_room_for_a_vector(rpc: str) -> None:
    told = list(fields_of(SERVICE.methods_by_name[rpc].output_type, set()))
    assert told
    for field in told:
        many = field.is_repeated and field.cpp_type in VECTORS
        assert not many, f"{field.full_name} could hold a vector"
        assert field.type != FieldDescriptor.TYPE_BYTES, field.full_name


def test_no_reply_about_a_user_holds_part_of_their_vectors(
    bundle: Bundle, user_id: str, ask: Any
) -> None:
    query = pb.FindNeighborsRequest(
        user_id=user_id, include_components=True, include_explanation=True
    )
    users = pb.FindNeighborsRequest(
        user_id=user_id, target=pb.TARGET_USERS, include_components=True
    )
    replies = [
        ask("FindNeighbors", query.SerializeToString()).body,
        ask("FindNeighbors", users.SerializeToString()).body,
        ask("GetBundle", b"").body,
    ]
    for name in ("factors", "directions", "content"):
        vector = getattr(bundle.users, name)[bundle.users.vocabulary.row_of(user_id)]
        # One value may occur by chance, as 1.0 does; two in a row do not.
        for pair in pairwise(vector):
            if np.abs(pair).min() > 1e-3:
                for width in ("<f4", "<f8"):
                    assert all(np.array(pair, width).tobytes() not in body for body in replies)
