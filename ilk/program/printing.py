"""Knows how a program that prints for people ends, whatever becomes of who reads.

It refuses to know what is printed, and the command line's library: the client comes without.
"""

import os
import sys
from collections.abc import Callable

INTERRUPTED, FAILED = 130, 3


def run_printing(program: Callable[[], int]) -> int:
    """Run ``program`` and return its exit status, or another where it was not let finish.

    A title that the terminal's encoding lacks is shown with question marks, not as a traceback.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        status = program()
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        # A reader that has seen enough, such as `head`, is no fault.
        if not isinstance(error, BrokenPipeError):
            sys.stderr.write(f"the system refuses: {error}\n")
        # Python's own flush at exit must not fail too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return status
