"""The tour that ``make demo`` gives: build a bundle, serve it, ask it everything, stop it.

Everything is real: the indexer and the server run as programs of their own, and every table below is
what the client was told over gRPC.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ilk import SimilarityClient
from ilk.errors import IlkError
from ilk.program.printing import FAILED, run_printing
from ilk.terminal.tables import (
    render_bundle,
    render_neighbors,
    render_predictions,
    render_user_neighbors,
)
from ilk.types import (
    Examples,
    Filter,
    ItemId,
    Neighbors,
    Profile,
    Query,
    Rating,
    Target,
    Text,
    UserId,
)
from loadtest.own_server import served

FILMS = ("Toy Story", "The Matrix", "Spirited Away")
_SHOWN = 6


def main(source: Sequence[str]) -> int:
    """Give the tour over the data that ``source``, flags of ``indexer build``, names."""
    with tempfile.TemporaryDirectory(prefix="ilk-demo-") as folder:
        store = Path(folder) / "store"
        command = [sys.executable, "-m", "indexer", "build", *source, "--store", str(store)]
        # The new version's name, which the indexer prints, says nothing to someone on a tour.
        if subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode:
            return FAILED
        with served(store) as address, SimilarityClient(address) as client:
            Tour(client).give()
    return 0


class Tour:
    """Asks one server every kind of question and prints the answers.

    Parameters
    ----------
    client
        Connected to the server.
    """

    def __init__(self, client: SimilarityClient) -> None:
        self._client = client
        self._info = client.get_bundle()

    def give(self) -> None:
        """Ask and print."""
        _say(render_bundle(replace(self._info, recall=())))
        for title in FILMS:
            self._films_like(title)
        user_id = self._a_busy_user()
        self._users_like(user_id)
        self._recommended(f"Recommended to user {user_id}", UserId(user_id), exclude_seen=True)
        self._newcomers()
        self._from_examples()
        self._from_words("animation fantasy")
        self._audience("The Matrix")
        self._stars(user_id)

    def _films_like(self, title: str) -> None:
        for name, weight in (("pure collaborative", 0.0), ("hybrid", 0.3), ("pure content", 1.0)):
            query = Query(
                ItemId(self._id(title)),
                content_weight=weight,
                neighbor_count=_SHOWN,
                include_components=True,
            )
            self._show(f"Films like {title}: {name}", self._client.find_neighbors(query))

    def _users_like(self, user_id: str) -> None:
        found = self._client.similar_users(user_id, _SHOWN, include_components=True)
        self._show(f"Users like {user_id}", found, users=True)

    def _newcomers(self) -> None:
        named = (("Alien", 5.0), ("The Matrix", 4.5), ("Titanic", 1.0))
        ratings = tuple(Rating(self._id(title), stars) for title, stars in named)
        told = ", ".join(f"{title} {stars:g}" for title, stars in named)
        self._recommended(f"For a newcomer who rated {told}", Profile(ratings), exclude_seen=True)
        genres = ("Animation", "Comedy")
        profile = Profile(favorite_genres=genres)
        self._recommended(f"For a newcomer who only named {' and '.join(genres)}", profile)

    def _recommended(
        self, headline: str, whom: UserId | Profile, *, exclude_seen: bool = False
    ) -> None:
        query = Query(
            whom,
            filter=Filter(exclude_seen=exclude_seen),
            neighbor_count=_SHOWN,
            include_components=True,
        )
        self._show(headline, self._client.find_neighbors(query))

    def _from_examples(self) -> None:
        positive, negative = ("Alien", "The Shining"), ("Toy Story",)
        examples = Examples(tuple(map(self._id, positive)), tuple(map(self._id, negative)))
        query = Query(examples, neighbor_count=_SHOWN, include_components=True)
        headline = f"Like {' and '.join(positive)}, unlike {' and '.join(negative)}"
        self._show(headline, self._client.find_neighbors(query))

    def _from_words(self, words: str) -> None:
        query = Query(Text(words), neighbor_count=_SHOWN, include_components=True)
        self._show(f"Near to the words {words!r}", self._client.find_neighbors(query))

    def _audience(self, title: str) -> None:
        query = Query(
            ItemId(self._id(title)),
            Target.USERS,
            filter=Filter(exclude_seen=True),
            neighbor_count=_SHOWN,
            include_components=True,
        )
        headline = f"An audience for {title}: users nearest to it who have not rated it"
        self._show(headline, self._client.find_neighbors(query), users=True)

    def _stars(self, user_id: str) -> None:
        ids = [self._id(title) for title in (*FILMS, "Titanic", "Alien")]
        predictions = self._client.predict_ratings(user_id, ids)
        _headline(f"Stars that user {user_id} would give")
        _say(render_predictions(predictions, self._client.get_items(ids)))

    def _a_busy_user(self) -> str:
        """Return the user whom Toy Story is nearest to: one with ratings to show."""
        return self._client.audience(self._id("Toy Story"), 1).neighbors[0].id

    def _id(self, title: str) -> str:
        matches = self._client.search_titles(title, 1)
        if not matches:
            raise IlkError(f"the data has no film like {title!r}; the tour needs it")
        return matches[0].item.id

    def _show(self, headline: str, answer: Neighbors, *, users: bool = False) -> None:
        _headline(headline)
        if users:
            _say(render_user_neighbors(answer, simulated=self._info.simulated))
        else:
            items = self._client.get_items(n.id for n in answer.neighbors)
            _say(render_neighbors(answer, items, simulated=self._info.simulated))


def _headline(text: str) -> None:
    _say(f"\n\n{text}\n{'=' * len(text)}")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def run() -> int:
    """Give the tour that the process's command line asks for; its server ends with it."""
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _end)
    parser = argparse.ArgumentParser(
        prog="python -m examples.demo",
        description="Build a bundle, serve it, ask it everything, and stop it.",
        epilog="Options say which data: --sample, --movielens PATH or others of 'indexer build'.",
        allow_abbrev=False,
    )
    _, source = parser.parse_known_args()
    try:
        return main(source)
    except IlkError as error:
        sys.stderr.write(f"{error}\n")
        return FAILED


def _end(number: int, _: object) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(run_printing(run))
