"""Knows how a person is told what is going on: bars on a terminal, lines in a log.

It refuses to know what is going on.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars


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

    @contextlib.contextmanager
    def step(self, name: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """Show one step; the callable given takes the number of units done so far."""
        name = self._prefix + name
        if not self._console.is_terminal:
            started = time.monotonic()
            yield lambda _: None
            self._console.print(f"{name}: {time.monotonic() - started:.1f} s", highlight=False)
            return
        columns = (TextColumn("{task.description:<20}"), BarColumn(), MofNCompleteColumn())
        with Bars(*columns, TimeElapsedColumn(), console=self._console) as bars:
            task = bars.add_task(name, total=total or 1)
            yield lambda done: bars.update(task, completed=done)
            bars.update(task, completed=total or 1)


def note(text: str) -> None:
    """Say something to the person on stderr."""
    sys.stderr.write(text + "\n")
