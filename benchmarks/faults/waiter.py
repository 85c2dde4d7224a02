"""Knows a server in this process, over a store that is being harmed, and asks it over the wire.

It refuses to know what the answers should be. The server looks at ``CURRENT`` only when told to, so that
whoever drives it knows what it serves.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from benchmarks.faults.oracle import Told, told_of
from ilk import SimilarityClient
from ilk.errors import IlkError
from ilk.types import Query
from server.processes.app import serving
from server.settings import ServerSettings

T = TypeVar("T")

_NEVER_S = 3600.0
_TIMEOUT_S = 60.0


class Waiter:
    """One server, one client, and one stream that stays open as long as they do; a context manager.

    Parameters
    ----------
    store
        What is served; it must hold a live version.
    queries
        What is asked, each time all of it.
    """

    def __init__(self, store: Path, queries: tuple[Query, ...]) -> None:
        self._queries = queries
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="waiter")
        self._thread.start()
        self._context = serving(
            ServerSettings(store, port=0, poll_interval_s=_NEVER_S, grace_s=1.0)
        )
        self._running = self._in_loop(self._context.__aenter__())
        self._client = SimilarityClient(f"127.0.0.1:{self._running.port}", timeout_s=_TIMEOUT_S)
        self._questions: queue.SimpleQueue[Query | None] = queue.SimpleQueue()
        self._stream = self._client.stream_find_neighbors(iter(self._questions.get, None))

    def __enter__(self) -> "Waiter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._questions.put(None)
        list(self._stream)
        self._client.close()
        self._in_loop(self._context.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def version(self) -> str:
        """The version that new queries are answered from."""
        return self._client.get_bundle().version

    def look(self) -> None:
        """Let the server look at ``CURRENT``, as SIGHUP does; returns at once."""
        self._running.look()

    def change_over(self, version: str) -> None:
        """Let the server look, and wait until it serves ``version``, which must be sound."""
        deadline_s = time.monotonic() + _TIMEOUT_S
        while self.version != version:
            self.look()
            assert time.monotonic() < deadline_s, f"{self.version} is still served, not {version}"
            time.sleep(0.005)

    def ask(self) -> list[tuple[str, int, Told]]:
        """Ask alone, in a batch and in the open stream; return versions, places of queries, answers.

        Raises
        ------
        IlkError
            If a query failed: none may.
        """
        alone = [self._client.find_neighbors(query) for query in self._queries]
        batch = self._client.batch_find_neighbors(self._queries)
        for query in self._queries:
            self._questions.put(query)
        streamed = [next(self._stream) for _ in self._queries]
        heard = []
        for answers in (alone, batch, streamed):
            for at, answer in enumerate(answers):
                if isinstance(answer, IlkError):
                    raise answer
                heard.append((answer.bundle_version, at, told_of(answer)))
        assert len({version for version, _, _ in heard[len(alone) :][: len(batch)]}) == 1
        return heard

    def _in_loop(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_TIMEOUT_S)
