"""Knows how a program of ours ends: 0 done, 2 wrong usage, 3 failure, the reason on stderr.

It refuses to know what the program does.
"""

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
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return FAILURE
    return DONE
