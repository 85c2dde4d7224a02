"""Knows how callers keep a server busy, with the client and the policy that are documented.

It refuses to know what the answers should be; whoever asks for load says what to do with them.
"""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from ilk import SimilarityClient

# Asks once with the client; returns what became of it, by name.
Ask = Callable[[SimilarityClient, int], str]


class Callers:
    """Threads that ask without end, in turn over the clients given."""

    def __init__(
        self, clients: Sequence[SimilarityClient], n_callers: int, ask: Ask, pause_s: float
    ) -> None:
        self._ask = ask
        self._pause_s = pause_s
        self._done = threading.Event()
        self._lock = threading.Lock()
        self.ended: Counter[str] = Counter()
        self.threads = [
            threading.Thread(
                target=self._run, args=(n, clients[n % len(clients)]), name=f"caller-{n}"
            )
            for n in range(n_callers)
        ]

    @property
    def n_asked(self) -> int:
        """How many questions have ended so far."""
        with self._lock:
            return self.ended.total()

    def stop(self) -> None:
        """Ask no more, and wait for what is under way."""
        self._done.set()
        for thread in self.threads:
            thread.join()

    def _run(self, number: int, client: SimilarityClient) -> None:
        n = number
        while not self._done.is_set():
            how = self._ask(client, n)
            with self._lock:
                self.ended[how] += 1
            n += len(self.threads)
            time.sleep(self._pause_s)


@contextlib.contextmanager
def load(
    address: str, ask: Ask, n_callers: int = 8, pause_s: float = 0.002, n_clients: int | None = None
) -> Iterator[Callers]:
    """Keep callers asking until the context ends.

    Parameters
    ----------
    pause_s
        After each answer; it leaves the server time to change.
    n_clients
        How many clients, each with a connection, the callers share. Default: one each.
    """
    with contextlib.ExitStack() as opened:
        clients = [
            opened.enter_context(SimilarityClient(address, timeout_s=10))
            for _ in range(n_clients or n_callers)
        ]
        callers = Callers(clients, n_callers, ask, pause_s)
        for thread in callers.threads:
            thread.start()
        try:
            yield callers
        finally:
            callers.stop()
