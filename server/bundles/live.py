"""Knows which bundle is being served, and swaps in the next one without a failed call.

It refuses to know rpcs. A query takes the live bundle once and keeps it: an answer is from exactly one
bundle, and the old one is unmapped when its last query lets go of it.
"""

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from ilk.bundle import Bundle, Store, open_bundle
from ilk.errors import BundleCorrupt, BundleError, BundleMissing, BundleUnsupported
from ilk.query import answer
from ilk.titles import TitleNames
from ilk.types import ItemId, Query, RefusedBundle, UserId
from server.bundles.answers import Answers
from server.bundles.cost import Costs
from server.bundles.titles import TitleSearch
from server.load.admission import Lane
from server.messages.encoding import Encoder
from server.observability.logs import cause_of
from server.observability.metrics import Counts

log = logging.getLogger("ilk.server")

_MAX_REFUSALS = 10


@dataclass(frozen=True, slots=True)
class Served:
    """A bundle and what is derived from it for serving.

    Attributes
    ----------
    since_s
        When it went live, in Unix seconds.
    lanes
        Where the usual work of each rpc waits, once somebody has worked that out. It stands here and
        not with who asks: a bundle that was followed by another is held by its last query alone.
    """

    bundle: Bundle
    titles: TitleSearch
    costs: Costs
    answers: Answers
    since_s: float
    lanes: dict[str, Lane | None] = field(default_factory=dict)


class Live:
    """The bundle being served.

    Parameters
    ----------
    store
        The folder of bundles.
    poll_interval_s
        How often ``CURRENT`` is looked at.
    counts
        Where swaps and refusals are counted.
    memory_bytes
        What answers may take that are remembered (`answers`).
    """

    def __init__(
        self,
        store: Path,
        poll_interval_s: float,
        counts: Counts | None = None,
        memory_bytes: float = 0,
    ) -> None:
        self._counts = counts or Counts()
        self._memory_bytes = memory_bytes
        self._store = Store(store)
        self._poll_interval_s = poll_interval_s
        self._served: Served | None = None
        self._refusals: deque[RefusedBundle] = deque(maxlen=_MAX_REFUSALS)
        # What CURRENT names and was refused, and whether for good.
        self._refusal: tuple[str, bool] | None = None
        self._why = ""
        self._stopped = False
        self._wake = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="bundle-watcher", daemon=True)

    @property
    def refused(self) -> list[RefusedBundle]:
        """The versions that were refused, the last one first."""
        return list(reversed(self._refusals))

    def start(self, fallback_version: str | None = None) -> None:
        """Open the current bundle, then watch for the next; errors of the first opening are raised.

        Parameters
        ----------
        fallback_version
            Opened instead if the current bundle is refused: other workers serve it.
        """
        if fallback_version is None:
            self._swap_in()
        else:
            self.refresh()
            if self._served is None:
                self._swap_in(fallback_version)
        self._watcher.start()

    def look(self) -> None:
        """Let the watcher look at ``CURRENT`` now, and try again what it refused; returns at once."""
        self._refusal = None
        self._wake.set()

    def close(self) -> None:
        """Stop watching."""
        self._stopped = True
        self._wake.set()
        if self._watcher.is_alive():
            self._watcher.join()

    def get(self) -> Served:
        """Return what is live; BundleMissing if nothing is."""
        if self._served is None:
            raise BundleMissing("no bundle is loaded yet")
        return self._served

    def refresh(self) -> None:
        """Swap in what ``CURRENT`` names, if that is new and sound; else go on serving.

        What is unsound is refused for good; what is not there, or cannot be opened for now, is tried
        again with each look.
        """
        named = ""
        try:
            named = self._store.current_version()
            if self._served is not None and named == self._served.bundle.version:
                self._refusal = None
            elif self._refusal != (named, True):
                self._swap_in(named)
                self._counts.swaps += 1
                self._refusal = None
        except Exception as error:  # noqa: BLE001 - the old bundle must go on serving, whatever is wrong
            if named == self._named_now():
                self._refuse(named, error)
            else:  # what it named may have been deleted since
                self._wake.set()

    def _named_now(self) -> str:
        try:
            return self._store.current_version()
        except (BundleError, OSError):
            return ""

    def _refuse(self, version: str, error: Exception) -> None:
        refusal, why = (version, not _may_pass(error)), str(error)
        # A version that was told of is; what names none may be wrong in another way.
        if refusal == self._refusal and (version or why == self._why):
            return
        self._refusal, self._why = refusal, why
        self._counts.refusals += 1
        self._refusals.append(RefusedBundle(version, time.time(), self._reason(error)))
        log.error(
            "%s is refused; the old bundle goes on serving\n%s",
            version or "CURRENT",
            cause_of(error),
            extra={"version": version},
        )

    def _reason(self, error: Exception) -> str:
        """Return what callers may read of why: nothing of the server's folders."""
        if isinstance(error, BundleCorrupt | BundleUnsupported):
            return str(error).replace(str(self._store.path), "the store")
        if isinstance(error, BundleError):
            return "what names the live version names nothing that can be opened"
        if _may_pass(error):
            return "it cannot be opened for now; it is tried again and again"
        return "an unforeseen fault; the server's log holds it"

    def _watch(self) -> None:
        while True:
            self._wake.wait(self._poll_interval_s)
            self._wake.clear()
            if self._stopped:
                return
            self.refresh()

    def _swap_in(self, version: str | None = None) -> None:
        """Serve a version; without one, what ``CURRENT`` names."""
        bundle = open_bundle(self._store.path, version)
        # Bundles of before hold no names.
        names = bundle.title_names or TitleNames.of(bundle.catalogue.titles.to_list())
        # The first searches touch the pages that every search touches.
        answer(bundle, Query(ItemId(bundle.items.vocabulary.id_of(0))))
        answer(bundle, Query(UserId(bundle.users.vocabulary.id_of(0))))
        costs = Costs(bundle)
        answers = Answers(bundle, Encoder(bundle), costs, self._memory_bytes, self._counts)
        titles = TitleSearch(names, bundle.catalogue.years)
        self._served = Served(bundle, titles, costs, answers, time.time())
        log.info("serving bundle %s", bundle.version, extra={"version": bundle.version})


def _may_pass(error: Exception) -> bool:
    """Whether the same version may be opened later: nothing was found to be wrong with it."""
    if isinstance(error, BundleCorrupt | BundleUnsupported):
        return False
    return isinstance(error, BundleError | OSError | MemoryError)
