"""Knows how a program of ours ends: 0 done, 2 wrong usage, 3 failure, the reason on stderr.

It refuses to know what the program does.
"""

import os
import sys
from collections.abc import Callable, Sequence

from cyclopts import App, CycloptsError

from ilk.errors import IlkError, SettingsError

DONE, USAGE, FAILURE = 0, 2, 3


def run(
    app: App,
    arguments: Sequence[str] | None = None,
    *,
    before: Callable[[], None] = lambda: None,
) -> int:
    """Run a command line (``sys.argv`` if None) and return its exit code.

    ``before`` is called first; what it raises ends the program as what the command raises does.
    """
    _open_streams()
    # Else it would end without a word.
    app.suppress_keyboard_interrupt = False
    try:
        before()
        app(
            sys.argv[1:] if arguments is None else list(arguments),
            exit_on_error=False,
            print_error=True,
            result_action="return_value",
        )
    except CycloptsError:
        return USAGE
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return USAGE
    except IlkError as error:
        sys.stderr.write(f"{error}\n")
        return FAILURE
    except OSError as error:
        sys.stderr.write(f"the system refuses: {error}\n")
        return FAILURE
    except MemoryError as error:
        sys.stderr.write(f"there is not enough memory: {error}\n")
        return FAILURE
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return FAILURE
    return DONE


def _open_streams() -> None:
    """Give a program that was started without them its standard streams.

    Else what is opened next becomes stderr, and whoever writes there writes into it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - open to the end
