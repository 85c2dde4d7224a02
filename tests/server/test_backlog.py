"""Who has waited too long is let go unread, and who came in a hurry to an idle server is not."""

import math
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from server.calls.guard import EXPIRED, SHEDDING, Guard
from server.load.backlog import is_in_vain
from server.load.traffic import Traffic
from server.observability.metrics import Counts

Code = grpc.StatusCode


@dataclass
class Came:
    """A call that came out of the transport."""

    left_s: float | None
    waited_s: float

    def time_remaining(self) -> float | None:
        return self.left_s

    def longest_wait_s(self) -> float:
        return self.waited_s


@pytest.mark.parametrize(
    ("left_s", "waited_s", "in_vain"),
    [
        (0.0, 0.0, True),
        (0.0009, 0.0, True),
        (0.002, 0.0, False),
        (0.002, 0.049, False),
        (0.002, 0.051, True),
        (0.019, 10.0, True),
        (0.021, 10.0, False),
        (math.inf, 10.0, False),
    ],
)
def test_what_has_little_time_left_is_in_vain_where_it_may_have_waited(
    left_s: float, waited_s: float, in_vain: bool
) -> None:
    assert is_in_vain(Came(left_s, waited_s), left_s) is in_vain


@pytest.mark.parametrize(
    ("came", "ended_by", "shed", "expired"),
    [
        (Came(0.0, 0.0), EXPIRED, {}, {"arrival": 1}),
        (Came(0.01, 1.0), SHEDDING, {"late": 1}, {}),
        (Came(0.01, 0.0), None, {}, {}),
        (Came(None, 1.0), None, {}, {}),
        # What grpc.aio brings, of which it tells nothing.
        (None, None, {}, {}),
    ],
)
def test_what_is_in_vain_ends_unread_and_is_counted(
    came: Came | None, ended_by: object, shed: dict[str, int], expired: dict[str, int]
) -> None:
    counts = Counts()
    guard = Guard(Traffic(1), counts)
    assert guard.refusal(None, came) is ended_by
    assert (dict(counts.shed), dict(counts.expired)) == (shed, expired)


def test_refusals_say_what_they_are() -> None:
    assert (SHEDDING.status.code, EXPIRED.status.code) == (
        Code.RESOURCE_EXHAUSTED,
        Code.DEADLINE_EXCEEDED,
    )
    metadata: dict[str, Any] = dict(SHEDDING.status.trailing_metadata or ())
    assert metadata["grpc-retry-pushback-ms"] == "100"
