"""What finding titles by their letters costs, and misses, beside comparing with every name (ADR 25).

It refuses to know servers: searches run in this process, on one thread.
"""

import random
import time
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

from ilk import ann
from ilk.bundle import open_bundle
from ilk.titles import TitleNames, normalized
from server.bundles.titles import TitleSearch

_N_MATCHES = 10
_COMPARE_ALL = 1 << 40
_LETTERS = "aeioubcdlmnrst"


def measure(store: Path, n_few: int, n_all: int, seed: int = 0) -> dict[str, float]:
    """Return what ``n_few`` searches cost, and how the first ``n_all`` differ from comparing with all."""
    ann.use_threads(1)
    bundle = open_bundle(store)
    titles, rng = bundle.catalogue.titles.to_list(), random.Random(seed)
    began_s = time.process_time()
    names = TitleNames.of(titles)
    made_s = time.process_time() - began_s
    search = TitleSearch(names)
    texts = [_typed(normalized(rng.choice(titles)), rng) for _ in range(n_few)]
    few, few_ms = _answers(search, texts)
    with mock.patch("server.bundles.titles.MOST_COMPARED", _COMPARE_ALL):
        every, every_ms = _answers(search, texts[:n_all])
    pairs = list(zip(few, every, strict=False))
    missed = [match[1] for ours, all_ in pairs for match in all_ if match not in ours]
    return {
        "titles": len(titles),
        "names": len(names.names),
        "names made: CPU, s": made_s,
        "search: CPU, ms": few_ms,
        "comparing with all: CPU, ms": every_ms,
        "best match alike": sum(a[:1] == b[:1] for a, b in pairs) / len(pairs),
        "answers of ten alike": sum(a == b for a, b in pairs) / len(pairs),
        "best score that was missed": max(missed, default=0.0),
    }


def _answers(
    search: TitleSearch, texts: Sequence[str]
) -> tuple[list[list[tuple[int, float]]], float]:
    began_s = time.process_time()
    answers = [search.search(text, _N_MATCHES) for text in texts]
    return answers, 1e3 * (time.process_time() - began_s) / len(texts)


def _typed(name: str, rng: random.Random) -> str:
    """Return what somebody may type who looks for a title."""
    if not name:
        return "a"
    at, words = rng.randrange(len(name)), name.split()
    ways = (
        name,
        name[:at] + rng.choice(_LETTERS) + name[at + 1 :],
        name[:at] + name[at + 1 :],
        name.replace(" ", ""),
        " ".join(rng.sample(words, len(words))),
        " ".join(words[: -(-len(words) // 2)]),
    )
    return rng.choice(ways)
