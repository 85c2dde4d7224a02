"""Knows which rows each space is made of and is asked by, and has their indices built side by side.

It refuses to know how an index is chosen.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed

from threadpoolctl import threadpool_limits

from ilk import ann
from ilk.ann import Index
from ilk.bundle.contents import Side
from ilk.bundle.manifest import IndexRecord
from ilk.space import SPACE_KEYS, SpaceKey
from ilk.types import Target
from ilk.vectors import Float32Matrix
from indexer.indexing.indices import build_index
from indexer.settings import BuildSettings

# With more rows than this, memory is scarcer than time.
_MOST_TOGETHER = 2_000_000

# An index, its record, and the records of what was rejected.
Chosen = tuple[Index, IndexRecord, list[IndexRecord]]


def build_indices(
    sides: Mapping[Target, Side],
    settings: BuildSettings,
    advance: Callable[[int], None],
) -> dict[str, Chosen]:
    """Return what `indexer.indexing.indices.build_index` gives for each space, by its name.

    Notes
    -----
    Much of it is done by one thread, and threads that share small steps wait for each other. So there
    is a thread for each space, as far as there are any, and each has its part of the others.
    """
    n_threads = ann.n_threads()
    n_together = min(n_threads, len(SPACE_KEYS))
    if sum(len(side.vocabulary) for side in sides.values()) > _MOST_TOGETHER:
        n_together = 1
    n_each = n_threads // n_together

    def chosen(key: SpaceKey) -> Chosen:
        with ann.threads(n_each):
            return build_space(key, sides, settings)

    with threadpool_limits(n_each, "blas"), ThreadPoolExecutor(n_together, "index") as executor:
        # The largest first, and affinity, of which more has to be measured: none is left to one thread
        # at the end.
        keys = sorted(SPACE_KEYS, key=lambda k: (-len(sides[k.target].vocabulary), k.by_likeness))
        building = {executor.submit(chosen, key): key for key in keys}
        for done, _ in enumerate(as_completed(building), start=1):
            advance(done)
        found = {key: future.result() for future, key in building.items()}
    return {key.name: found[key] for key in SPACE_KEYS}


def build_space(key: SpaceKey, sides: Mapping[Target, Side], settings: BuildSettings) -> Chosen:
    """Return what `indexer.indexing.indices.build_index` gives for one space."""
    other = Target.USERS if key.target is Target.ITEMS else Target.ITEMS
    found = sides[key.target]
    asking = found if key.by_likeness else sides[other]
    return build_index(key, *_vectors(key, found), _vectors(key, asking), settings)


def _vectors(key: SpaceKey, side: Side) -> tuple[Float32Matrix, Float32Matrix]:
    return (side.directions if key.by_likeness else side.factors), side.content
