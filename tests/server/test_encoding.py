"""Answers written as bytes are the messages that protobuf would have written."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ilk.bundle import Bundle
from ilk.query.found import FoundNeighbors
from ilk.types import Neighbors, Shortfall, ShortfallReason, Target
from ilk.v1 import similarity_pb2 as pb
from server.messages.encoding import Encoder, delimited
from server.messages.responses import neighbors_message

float32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
SHORTFALL = Shortfall(10, 3, ShortfallReason.FILTERED, "3 of 10: the filter lets 3 pass")


@pytest.fixture(scope="module")
def encoder(bundle: Bundle) -> Encoder:
    return Encoder(bundle)


def read(encoder: Encoder, answer: Neighbors) -> pb.FindNeighborsResponse:
    return pb.FindNeighborsResponse.FromString(encoder.response(answer))


@given(
    target=st.sampled_from(Target),
    found=st.lists(st.tuples(st.integers(0, 150), float32), max_size=12),
    weight=st.floats(0, 1),
    shortfall=st.none() | st.just(SHORTFALL),
    ignored=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), max_size=2),
)
def test_an_answer_reads_as_its_message(
    bundle: Bundle,
    encoder: Encoder,
    target: Target,
    found: Sequence[tuple[int, float]],
    weight: float,
    shortfall: Shortfall | None,
    ignored: list[str],
) -> None:
    side = bundle.side(target)
    near = FoundNeighbors.of(side, [row % len(side) for row, _ in found], [s for _, s in found])
    answer = Neighbors(near, bundle.version, weight, shortfall, tuple(ignored))
    assert read(encoder, answer) == neighbors_message(answer)


@pytest.mark.parametrize("target", Target)
def test_every_row_is_written_under_its_own_id(
    bundle: Bundle, encoder: Encoder, target: Target
) -> None:
    side = bundle.side(target)
    near = FoundNeighbors.of(side, list(range(len(side))), np.linspace(2, 1, len(side)).tolist())
    told = read(encoder, Neighbors(near, bundle.version, 0.1)).neighbors
    assert [n.id for n in told] == side.vocabulary.ids.to_list()
    assert [n.inferred for n in told] == side.inferred.tolist()
    assert not any(n.unrelated for n in told)


@given(st.sampled_from([0, 1, 127, 128, 16_383, 16_384, 300_000]))
def test_a_body_of_any_size_is_delimited(size: int) -> None:
    body = b"x" * size
    told = pb.StreamFindNeighborsResponse.FromString(delimited(b"\x0a", body))
    assert told.request_id == body.decode()
