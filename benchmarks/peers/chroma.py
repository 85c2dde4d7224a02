"""Knows Chroma: ``chroma run`` with HNSW of 16 neighbors, asked over HTTP.

It refuses to know how a service is measured (`service`).
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.program import end, wait_until
from benchmarks.peers.service import BASE_REQUIREMENTS, K, Matrix, main
from benchmarks.processes import free_port

REQUIREMENTS = (*BASE_REQUIREMENTS, "chromadb==1.5.9")
_LOADED_AT_ONCE = 5000


class Chroma:
    """The server that ``chroma run`` starts."""

    tunable = True

    def start(self, folder: Path) -> None:
        """Start it on what the folder holds."""
        import chromadb
        from chromadb.config import Settings

        self._folder, port = folder, free_port()
        program = Path(sys.executable).parent / "chroma"
        self._process = subprocess.Popen(
            [
                str(program),
                "run",
                "--path",
                str(folder),
                "--host",
                "127.0.0.1",
                "--port",
                str(port),
            ],
            env={**os.environ, "ANONYMIZED_TELEMETRY": "False"},
            stdout=subprocess.DEVNULL,
            cwd=folder,
        )
        settings = Settings(anonymized_telemetry=False)
        where = {"host": "127.0.0.1", "port": port, "settings": settings}
        wait_until(lambda: chromadb.HttpClient(**where).heartbeat(), "chroma")
        self._client = chromadb.HttpClient(**where)

    def load(self, items: Matrix, queries: Matrix) -> None:
        """Add the items."""
        hnsw = {"space": "ip", "max_neighbors": 16, "ef_construction": 200, "ef_search": 10}
        self._items = self._client.create_collection(
            "items", configuration={"hnsw": hnsw}, embedding_function=None
        )
        for start in range(0, len(items), _LOADED_AT_ONCE):
            part = items[start : start + _LOADED_AT_ONCE]
            ids = [str(row) for row in range(start, start + len(part))]
            self._items.add(ids=ids, embeddings=part)
        self._queries = queries
        self._effort = 10

    def search(self, asked: Sequence[int], effort: int) -> Sequence[Sequence[int]]:
        """Ask for one or several in one request."""
        if effort != self._effort:
            self._set_effort(effort)
        answer = self._items.query(
            query_embeddings=self._queries[list(asked)], n_results=K, include=["distances"]
        )
        return [[int(item_id) for item_id in ids] for ids in answer["ids"]]

    def _set_effort(self, effort: int) -> None:
        """Change ef_search; a server heeds it only when it opens the collection."""
        self._items.modify(configuration={"hnsw": {"ef_search": effort}})
        self.stop()
        self.start(self._folder)
        self._items = self._client.get_collection("items", embedding_function=None)
        self._effort = effort

    def pids(self) -> list[int]:
        """Return the server."""
        return [self._process.pid]

    def stop(self) -> None:
        """End it."""
        end(self._process.pid)


if __name__ == "__main__":
    main(Chroma())
