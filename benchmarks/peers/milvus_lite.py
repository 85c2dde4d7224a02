"""Knows milvus-lite: Milvus's protocol over a small engine in Python; a floor, not Milvus.

It refuses to know how a service is measured (`service`).
"""

import subprocess
import sys
from pathlib import Path

from benchmarks.peers.milvus import MilvusTalk
from benchmarks.peers.service import BASE_REQUIREMENTS, main
from benchmarks.processes import free_port

REQUIREMENTS = (*BASE_REQUIREMENTS, "milvus-lite==3.2.2", "pymilvus==3.0.2")


class MilvusLite(MilvusTalk):
    """The server that ``milvus-lite server`` starts."""

    def start(self, folder: Path) -> None:
        """Start it."""
        port = free_port()
        program = Path(sys.executable).parent / "milvus-lite"
        self._pid = subprocess.Popen(
            [
                *(str(program), "server", "--data-dir", str(folder)),
                *("--host", "127.0.0.1", "--port", str(port)),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ).pid
        self.connect(port)


if __name__ == "__main__":
    main(MilvusLite())
