"""When calls are due, what they ask about, and how often each kind is sent."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ilk.errors import SettingsError
from ilk.v1 import similarity_pb2 as pb
from loadtest import arrivals
from loadtest.draw import Draw
from loadtest.kinds import KINDS, Size, bodies
from loadtest.mix import DEFAULT_MIX, parse_mix, possible, why_left_out
from loadtest.settings import LoadSettings
from loadtest.world import World

WORLD = World(tuple(f"i{n}" for n in range(50)), ("u0", "u1"), ("Drama",), (0.5, 5.0), "v")
RATES = st.floats(1, 500)
DURATIONS = st.floats(0.1, 5)


@given(RATES, DURATIONS, st.integers(0, 2**31))
def test_poisson_calls_are_due_in_order_and_within_the_step(
    rate: float, duration_s: float, seed: int
) -> None:
    due_s = arrivals.poisson(rate, duration_s, np.random.default_rng(seed))
    assert np.all(np.diff(due_s) >= 0)
    assert np.all((due_s >= 0) & (due_s < duration_s))


def test_poisson_calls_come_at_the_rate_with_the_variance_of_a_poisson_process() -> None:
    rng = np.random.default_rng(1)
    counts = np.array([len(arrivals.poisson(50, 2, rng)) for _ in range(2000)])
    assert np.mean(counts) == pytest.approx(100, rel=0.02)
    assert np.var(counts) == pytest.approx(100, rel=0.15)


@given(RATES, DURATIONS, st.integers(1, 8))
def test_parts_of_a_constant_schedule_merge_into_even_spacing(
    rate: float, duration_s: float, n_parts: int
) -> None:
    parts = [arrivals.constant(rate, duration_s, part, n_parts) for part in range(n_parts)]
    merged = np.sort(np.concatenate(parts))
    np.testing.assert_allclose(np.diff(merged), 1 / rate)
    assert abs(len(merged) - rate * duration_s) <= 1


@pytest.mark.parametrize("zipf", [0.0, 1.0, 1.5])
def test_items_are_drawn_by_their_rank(zipf: float) -> None:
    draw = Draw(WORLD, zipf, np.random.default_rng(0))
    counts = Counter(draw.item() for _ in range(40_000))
    weights = np.arange(1, 51) ** -zipf
    drawn = np.array([counts[item_id] for item_id in WORLD.items]) / 40_000
    np.testing.assert_allclose(drawn, weights / weights.sum(), atol=0.01)


@given(st.integers(0, 60), st.sampled_from([0.0, 1.0, 10.0]), st.integers(0, 2**31))
def test_several_items_are_different_and_as_many_as_wanted(n: int, zipf: float, seed: int) -> None:
    drawn = Draw(WORLD, zipf, np.random.default_rng(seed)).items(n)
    assert set(drawn) <= set(WORLD.items)
    assert len(set(drawn)) == len(drawn) == min(n, len(WORLD.items))


def test_a_newcomer_tells_3_to_29_ratings() -> None:
    draw = Draw(WORLD, 1.0, np.random.default_rng(0))
    told = bodies(KINDS["profile"], draw, Size(neighbor_count=10, batch_size=16), 1000)
    counts = [len(pb.FindNeighborsRequest.FromString(body).profile.ratings) for body in told]
    assert set(counts) == set(range(3, 30))


def test_one_seed_draws_the_same_twice() -> None:
    first, second = (Draw(WORLD, 1.0, np.random.default_rng(7)) for _ in range(2))
    assert [first.item() for _ in range(99)] == [second.item() for _ in range(99)]


@given(st.integers(0, 2**31))
def test_stars_are_on_the_scale(seed: int) -> None:
    stars = Draw(WORLD, 1.0, np.random.default_rng(seed)).stars()
    assert 0.5 <= stars <= 5.0
    assert (2 * stars).is_integer()


def test_a_mix_is_read() -> None:
    assert parse_mix("item=3,user") == {"item": 3.0, "user": 1.0}


@pytest.mark.parametrize("text", ["", "nonsense=1", "item=x", "item=0", "item=-1", "item=inf"])
def test_a_mix_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="--mix"):
        parse_mix(text)


def test_the_default_mix_has_every_kind() -> None:
    assert DEFAULT_MIX.keys() == KINDS.keys()


def test_kinds_without_data_are_left_out() -> None:
    bare = World(("i",), (), (), None, "v")
    kept, left_out = possible(DEFAULT_MIX, bare)
    assert sorted(left_out) == ["audience", "peers", "predict", "text", "user"]
    assert kept.keys() | set(left_out) == DEFAULT_MIX.keys()
    with pytest.raises(SettingsError, match="user"):
        possible({"user": 1.0}, bare)


def test_kinds_are_left_out_for_what_is_withheld_or_for_what_is_not_there() -> None:
    refused = World(("i",), (), (), (0.5, 5.0), "v", "it lacks the scope query-users")
    _, left_out = possible(DEFAULT_MIX, refused)
    assert why_left_out(left_out, refused) == (
        "it lacks the scope query-users (for user, audience, peers, predict); "
        "the server's bundle has no data for text"
    )
    with pytest.raises(SettingsError, match="lacks the scope query-users"):
        possible({"user": 1.0}, refused)


@pytest.mark.parametrize(
    "wrong",
    [
        {"rates": ()},
        {"rates": (0.0,)},
        {"rates": (float("nan"),)},
        {"duration_s": 0.0},
        {"timeout_s": float("inf")},
        {"warmup_s": -1.0},
        {"processes": 0},
        {"connections": 0},
        {"batch_size": 1001},
        {"neighbor_count": 0},
        {"zipf": -0.1},
        {"seed": -1},
    ],
    ids=str,
)
def test_settings_out_of_range_name_their_flag(wrong: dict[str, object]) -> None:
    (name,) = wrong
    with pytest.raises(SettingsError, match=f"--{name.replace('_', '-')}"):
        LoadSettings(**wrong)  # type: ignore[arg-type]
