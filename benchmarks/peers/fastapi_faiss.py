"""Knows the naive baseline: FastAPI and uvicorn around faiss's HNSW with M 16 (`naive_app`).

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

REQUIREMENTS = (*BASE_REQUIREMENTS, "faiss-cpu>=1.15", "fastapi", "uvicorn[standard]", "httpx")


class FastApiFaiss:
    """One uvicorn process; it starts when there is an index to serve."""

    tunable = True

    def start(self, folder: Path) -> None:
        """Remember where; the server wants its index first."""
        self._index = folder / "items.faiss"
        self._pid: int | None = None

    def load(self, items: Matrix, queries: Matrix) -> None:
        """Build the index and start the server on it."""
        import faiss
        import httpx

        index = faiss.IndexHNSWFlat(items.shape[1], 16, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = 200
        index.add(items)
        faiss.write_index(index, str(self._index))
        port = free_port()
        self._pid = subprocess.Popen(
            [
                *(sys.executable, "-m", "uvicorn", "benchmarks.peers.naive_app:app"),
                *("--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"),
            ],
            env={**os.environ, "NAIVE_INDEX": str(self._index)},
        ).pid
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)
        wait_until(lambda: self._client.get("/health").raise_for_status(), "uvicorn")
        self._queries = queries.tolist()

    def search(self, asked: Sequence[int], effort: int) -> Sequence[Sequence[int]]:
        """Post one vector or several."""
        vectors = [self._queries[at] for at in asked]
        body = {"vectors": vectors, "k": K, "effort": effort}
        answer = self._client.post("/search", json=body)
        return [found["ids"] for found in answer.raise_for_status().json()]

    def pids(self) -> list[int]:
        """Return uvicorn."""
        return [] if self._pid is None else [self._pid]

    def stop(self) -> None:
        """End it."""
        for pid in self.pids():
            end(pid)


if __name__ == "__main__":
    main(FastApiFaiss())
