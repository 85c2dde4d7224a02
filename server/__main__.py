"""Knows the command line of the server: ``python -m server --store store``."""

import signal
import sys

# From the first moment, before the rest is read in: until there is a bundle to look after, there is none
# to look for, and the signal would end whom nobody told otherwise.
_outlives_terminal = False
if __name__ == "__main__" and sys.platform != "win32":
    _outlives_terminal = signal.signal(signal.SIGHUP, signal.SIG_IGN) is signal.SIG_IGN

import dataclasses
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.config import Env, Toml

from ilk import __version__
from ilk.program import choices, exits, settings_file
from server import connections
from server.observability import logs
from server.processes.front import Alone
from server.processes.signals import Terminal
from server.processes.supervisor import Supervisor
from server.settings import ServerSettings
from server.transports import usable

_VARIABLES = "ILK_SERVER_"

app = App(
    name="server",
    help="Answer nearest-neighbor queries over gRPC from the current bundle of a store.",
    config=[
        Env(_VARIABLES, command=False),
        Toml(settings_file.PATH, root_keys=["server"]),
        choices.expect_whole,
    ],
    version=__version__,
)


@app.default
def serve(settings: Annotated[ServerSettings | None, Parameter(name="*")] = None) -> None:
    """Serve until SIGTERM or Ctrl-C; SIGHUP looks for a new bundle at once.

    When the terminal it was started from is closed it ends too, but under nohup.
    """
    terminal = Terminal(outlived=_outlives_terminal)
    # As process 1 of a container, a signal that nobody handles is not even deadly.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(exits.DONE))
    connections.allow_many()
    settings = settings or ServerSettings()
    logs.configure(settings.log_format)
    settings = dataclasses.replace(settings, transport=usable(settings.transport))
    if settings.workers > 1:
        Supervisor(settings, terminal.is_closed).run()
    else:
        # Imported late: a supervisor has no use for the numerics.
        from server.processes.app import start

        start(settings, Alone(settings), is_closed=terminal.is_closed)


def check_settings() -> None:
    """Refuse what would be passed over: SettingsError."""
    choices.expect_variables(app, _VARIABLES)
    settings_file.expect()
    settings_file.expect_known()


if __name__ == "__main__":
    sys.exit(exits.run(app, before=check_settings))
