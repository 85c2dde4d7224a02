"""Knows how a person is told what is going on: bars on a terminal, lines in a log.

It refuses to know what is going on.
"""

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars


class Advance(Protocol):
    """Told how far a step has come."""

    def __call__(self, done: int, said: str = "") -> None:
        """Show that ``done`` units are done, and what there is to say of it, if anything."""


class Progress:
    """Shows steps on stderr: a bar each on a terminal, a line each elsewhere.

    Parameters
    ----------
    quiet
        Show nothing.
    prefix
        Said before the name of each step.
    """

    def __init__(self, *, quiet: bool = False, prefix: str = "") -> None:
        self._quiet = quiet
        self._prefix = prefix
        self._console = Console(stderr=True, quiet=quiet)

    def within(self, name: str) -> "Progress":
        """Return progress whose steps belong to a larger one."""
        return Progress(quiet=self._quiet, prefix=f"{self._prefix}{name}: ")

    def say(self, text: str) -> None:
        """Say something between steps."""
        self._console.print(self._prefix + text, highlight=False, soft_wrap=True, markup=False)

    @contextlib.contextmanager
    def step(self, name: str, total: int | None = None) -> Iterator[Advance]:
        """Show one step; what is given takes the number of units done so far.

        What is said beside it stands behind the bar on a terminal; elsewhere it is a line of its own.
        """
        if self._console.is_terminal:
            with self._bar(self._prefix + name, total) as advance:
                yield advance
            return
        started = time.monotonic()

        def tell(done: int, said: str = "") -> None:
            if said:
                self.say(f"{name} {done}" + (f"/{total}" if total else "") + f": {said}")

        yield tell
        self.say(f"{name}: {time.monotonic() - started:.1f} s")

    @contextlib.contextmanager
    def _bar(self, name: str, total: int | None) -> Iterator[Advance]:
        columns = (TextColumn("{task.description:<20}"), BarColumn(), MofNCompleteColumn())
        said_last = TextColumn("{task.fields[said]}", markup=False)
        with Bars(*columns, TimeElapsedColumn(), said_last, console=self._console) as bars:
            task = bars.add_task(name, total=total or 1, said="")

            def show(done: int, said: str = "") -> None:
                bars.update(task, completed=done)
                if said:
                    bars.update(task, said=said)

            yield show
            bars.update(task, completed=total or 1)


def note(text: str) -> None:
    """Say something to the person on stderr."""
    sys.stderr.write(text + "\n")
