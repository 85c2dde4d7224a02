"""Knows Milvus 2.3, the real server, in its stand-alone form: HNSW with M 16, asked over gRPC.

It refuses to know how a service is measured (`service`).
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.network import enter_own_network
from benchmarks.peers.program import end, wait_until
from benchmarks.peers.service import BASE_REQUIREMENTS, K, Matrix, main
from benchmarks.processes import free_port

REQUIREMENTS = (*BASE_REQUIREMENTS, "milvus==2.3.5", "pymilvus==3.0.2")
_LOADED_AT_ONCE = 5000


class MilvusTalk:
    """How any Milvus is loaded and asked."""

    tunable = True
    _pid: int

    def connect(self, port: int) -> None:
        """Wait for the server on a loopback port."""
        from pymilvus import MilvusClient

        uri = f"http://127.0.0.1:{port}"
        wait_until(lambda: MilvusClient(uri=uri).list_collections(), "milvus")
        self._client = MilvusClient(uri=uri)

    def load(self, items: Matrix, queries: Matrix) -> None:
        """Insert the items, index them, load the collection."""
        from pymilvus import DataType, MilvusClient

        schema = MilvusClient.create_schema(auto_id=False)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("v", DataType.FLOAT_VECTOR, dim=items.shape[1])
        built = self._client.prepare_index_params()
        hnsw = {"M": 16, "efConstruction": 200}
        built.add_index("v", index_type="HNSW", metric_type="IP", params=hnsw)
        self._client.create_collection("items", schema=schema)
        for start in range(0, len(items), _LOADED_AT_ONCE):
            part = items[start : start + _LOADED_AT_ONCE]
            rows = [{"id": start + at, "v": item} for at, item in enumerate(part)]
            self._client.insert("items", rows)
        self._client.flush("items")
        self._client.create_index("items", built)
        self._client.load_collection("items")
        self._queries = queries

    def search(self, asked: Sequence[int], effort: int) -> Sequence[Sequence[int]]:
        """Ask for one or several in one call."""
        answer = self._client.search(
            "items",
            data=[self._queries[at] for at in asked],
            limit=K,
            search_params={"metric_type": "IP", "params": {"ef": effort}},
            consistency_level="Eventually",
        )
        return [[hit["id"] for hit in hits] for hits in answer]

    def pids(self) -> list[int]:
        """Return the server."""
        return [self._pid]

    def stop(self) -> None:
        """End it and its child."""
        end(self._pid)


class Milvus(MilvusTalk):
    """The server of PyPI's package ``milvus``."""

    def start(self, folder: Path) -> None:
        """Start it, in a network of its own: some of its parts listen on every address."""
        enter_own_network()
        port = free_port()
        program = Path(sys.executable).parent / "milvus-server"
        self._pid = subprocess.Popen(
            [sys.executable, str(program), "--data", str(folder), "--proxy-port", str(port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ).pid
        self.connect(port)


if __name__ == "__main__":
    main(Milvus())
