"""What the supervisor and a worker tell one another: it arrives as it was, and as nothing else."""

import dataclasses
import typing
from collections import Counter
from multiprocessing import connection
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.observability.metrics import Calls, Counts, Histogram, Snapshot
from server.processes import plain
from server.processes.link import Failed, Orders, Report, give_orders, hear, take_orders, tell
from server.settings import ServerSettings

counters = st.dictionaries(st.text(max_size=3), st.integers(0, 1 << 60), max_size=3).map(Counter)
histograms = st.builds(
    Histogram, st.lists(st.integers(0, 9), max_size=4), st.floats(0, 1e9, allow_nan=False)
)
calls = st.builds(Calls, counters, counters, histograms, histograms, st.integers(), st.integers())
counts = st.builds(
    Counts,
    st.dictionaries(st.tuples(st.text(max_size=3), st.text(max_size=3)), calls, max_size=3),
    counters,
    counters,
)


@settings(deadline=None, max_examples=50)
@given(counted=counts, serving=st.booleans(), word=st.text())
def test_a_report_arrives_as_it_was_sent(counted: Counts, serving: bool, word: str) -> None:
    given_names = {f.name for f in dataclasses.fields(Snapshot)}
    hints = typing.get_type_hints(Snapshot)
    values = {name: hints[name](1) for name in given_names if hints[name] in (int, float)}
    values |= {name: word for name in given_names if hints[name] is str}
    report = Report(serving, Snapshot(**{**values, "counts": counted}))
    ours, theirs = connection.Pipe()
    with ours, theirs:
        tell(theirs, report)
        assert hear(ours) == report
        tell(theirs, Failed(3, word))
        assert hear(ours) == Failed(3, word)


def test_orders_arrive_as_they_were_given() -> None:
    chosen = ServerSettings(
        Path("a/store"), port=7, metrics_port=8, max_cost=1e9, log_format="json"
    )
    ours, theirs = connection.Pipe()
    with ours, theirs:
        for orders in (Orders(1, chosen, None, 3), Orders(2, ServerSettings(), "v1", 4)):
            give_orders(ours, orders)
            assert take_orders(theirs) == orders


def test_the_end_of_the_other_is_heard() -> None:
    ours, theirs = connection.Pipe()
    theirs.close()
    with ours, pytest.raises(EOFError):
        hear(ours)


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b'{"no_such_field": 1}', b"\x80\x04K\x01."])
def test_what_is_no_value_of_the_type_is_refused(data: bytes) -> None:
    with pytest.raises((ValueError, TypeError, KeyError, AttributeError)):
        plain.read(Failed, data)


def test_a_pair_keeps_its_length() -> None:
    assert plain.read(tuple[int, str], plain.written((1, "x"))) == (1, "x")
    with pytest.raises(ValueError, match="zip"):
        plain.read(tuple[int, str], b"[1]")
