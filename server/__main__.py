"""Knows the command line of the server: ``python -m server --store store``."""

import asyncio
import logging
import os
import sys
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.config import Env, Toml

from ilk import exits
from server.app import run
from server.settings import ServerSettings

app = App(
    name="server",
    help="Answer nearest-neighbor queries over gRPC from the current bundle of a store.",
    config=[
        Env("ILK_SERVER_", command=False),
        Toml(os.environ.get("ILK_CONFIG", "ilk.toml"), root_keys=["server"]),
    ],
    version_flags=[],
)


@app.default
def serve(settings: Annotated[ServerSettings | None, Parameter(name="*")] = None) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    try:
        import uvloop
    except ImportError:  # Windows has none
        asyncio.run(run(settings or ServerSettings()))
    else:
        uvloop.run(run(settings or ServerSettings()))


if __name__ == "__main__":
    sys.exit(exits.run(app))
