"""Knows how single calls that are there at once share one search.

It refuses to wait for more of them: those that gRPC's core has ready when the first is read are answered
together, and a call that comes alone is answered alone.
"""

import asyncio
from collections.abc import Sequence
from time import perf_counter
from typing import Any

from ilk.errors import DeadlineExceeded
from server.bundles.answers import Question
from server.bundles.live import Served
from server.calls.call import Call
from server.load.backlog import TOO_LATE_S
from server.observability.metrics import Counts
from server.status import EXPIRED
from server.wire.pause import Pause

# The weight of the newest search in the time that is expected of the next.
_NEWEST = 0.2


class _Turn(Pause):
    """One call's place in the next search."""

    __slots__ = ("call", "question", "served")

    def __init__(self, served: Served, question: Question, call: Call) -> None:
        self.served = served
        self.question = question
        self.call = call


class Gathering:
    """Answers plain queries of callers who are told everything.

    Parameters
    ----------
    counts
        Where calls are counted that were dropped because nobody waited for them any more.
    """

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._turns: list[_Turn] = []
        # What a call is expected to take once its turn has come, with all that is its own share.
        self._each_s = 0.0

    def takes(self, question: Question, call: Call) -> bool:
        """Whether a question may be answered here, and gains by it: a call that is alone does not."""
        if question.asked.shape is None or call.privacy is not None:
            return False
        context: Any = call.context
        # The contexts of grpc.aio know nothing of it: tasks run its handlers.
        if not getattr(context, "may_pause", False):
            return False
        return bool(self._turns) or context.has_company()

    async def find(self, served: Served, question: Question, call: Call) -> None:
        """Answer a question, once the calls that are there have been read.

        Raises
        ------
        NotFound, InvalidRequest
            As :func:`ilk.query.answer`.
        DeadlineExceeded
            When the call's turn came, its time had run out, or would have before its answer was there.
        """
        if not self._turns:
            # The loop comes to it when the core has nothing more, or has had many a turn.
            asyncio.get_running_loop().call_soon(self._answer_all)
        turn = _Turn(served, question, call)
        self._turns.append(turn)
        await turn

    def _answer_all(self) -> None:
        turns, self._turns = self._turns, []
        by_bundle: dict[int, list[_Turn]] = {}
        # Answers leave when all have been searched for.
        needed_s = TOO_LATE_S + self._each_s * len(turns)
        for turn in turns:
            too_late = _why_too_late(turn.call, needed_s)
            if too_late is None:
                by_bundle.setdefault(id(turn.served), []).append(turn)
            else:
                self._counts.expired["queue"] += 1
                turn.fail(too_late)
        n_begun = sum(map(len, by_bundle.values()))
        started_s = perf_counter()
        for alike in by_bundle.values():
            _answer_together(alike)
        # Where none began it falls too: a wrong expectation must not stay.
        self._each_s += _NEWEST * ((perf_counter() - started_s) / max(n_begun, 1) - self._each_s)


def _why_too_late(call: Call, needed_s: float) -> BaseException | None:
    """Return what a call ends with that nobody will wait for so long; None where somebody does."""
    if call.context.cancelled():
        return asyncio.CancelledError()
    left_s = call.context.time_remaining()
    return DeadlineExceeded(EXPIRED) if left_s is not None and left_s <= needed_s else None


def _answer_together(turns: list[_Turn]) -> None:
    started_s = perf_counter()
    faults = _faults(turns[0].served, [turn.question for turn in turns])
    share_s = (perf_counter() - started_s) / len(turns)
    for turn, fault in zip(turns, faults, strict=True):
        if fault is not None:
            turn.fail(fault)
        else:
            turn.call.search_s = share_s
            turn.resume(None)


def _faults(served: Served, questions: Sequence[Question]) -> Sequence[Exception | None]:
    """Answer the questions, and return what each ends with; an unforeseen error befalls nobody else."""
    if len(questions) > 1:
        try:
            served.answers.find_many(questions)
        except Exception:  # noqa: BLE001 - whose fault it is shows below
            return [_fault(served, question) for question in questions]
        return [question.error for question in questions]
    return [_fault(served, questions[0])]


def _fault(served: Served, question: Question) -> Exception | None:
    try:
        served.answers.find(question)
    except Exception as error:  # noqa: BLE001 - raised again in the call's own handler
        return error
    return None
