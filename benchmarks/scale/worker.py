"""One worker process: opens a bundle, answers, and says how long that took and what memory is its own.

Run as ``python -m benchmarks.scale.worker STORE QUESTIONS``; prints a line of JSON after the first
answer and one after all of them, then waits for its standard input to end.
"""

import json
import sys
import time
from pathlib import Path

from ilk import ann
from ilk.bundle import open_bundle
from ilk.query import answer
from ilk.types import ItemId, Query, Target, UserId


def main(store: Path, n_questions: int) -> None:
    """Answer ``n_questions`` of each kind, for rows spread over the whole bundle."""
    ann.use_threads(1)
    started = time.perf_counter()
    bundle = open_bundle(store)
    opened_s = time.perf_counter() - started
    users, items = bundle.users.vocabulary, bundle.items.vocabulary
    answer(bundle, Query(UserId(users.id_of(len(users) // 2)), Target.ITEMS))
    print(json.dumps({"open_s": opened_s, "answer_s": time.perf_counter() - started}), flush=True)
    for at in range(n_questions):
        user_id = UserId(users.id_of(at * len(users) // n_questions))
        item_id = ItemId(items.id_of(at * len(items) // n_questions))
        for target in Target:
            answer(bundle, Query(user_id, target))
            answer(bundle, Query(item_id, target))
    print(json.dumps(memory_bytes()), flush=True)
    sys.stdin.read()


def memory_bytes() -> dict[str, int]:
    """Return this process's memory by kind, as Linux tells it."""
    kinds: dict[str, int] = {}
    for line in Path("/proc/self/smaps_rollup").read_text(encoding="utf-8").splitlines()[1:]:
        name, size, *_ = line.split()
        kinds[name.rstrip(":")] = int(size) * 1024
    return kinds


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
