"""Knows what benchmarks run on: MovieLens or the sample, and a bundle of either or one that is there.

It refuses to know what is measured.
"""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cyclopts import Parameter

from ilk.ann import IndexKind
from indexer.build import build
from indexer.interactions import Interactions
from indexer.progress import Progress
from indexer.settings import BuildSettings
from indexer.source import Source


@Parameter(name="*")
@dataclass(frozen=True)
class Data:
    """Ratings to learn from.

    Parameters
    ----------
    movielens
        Folder or zip of a MovieLens data set. Default: the embedded sample.
    """

    movielens: Path | None = None

    def read(self) -> Interactions:
        """Return them."""
        return Source(movielens=self.movielens, sample=self.movielens is None).read()


@Parameter(name="*")
@dataclass(frozen=True)
class Bundled(Data):
    """A bundle to ask.

    Parameters
    ----------
    movielens
        Folder or zip of a MovieLens data set to build it of. Default: the embedded sample.
    store
        Store whose live bundle is asked, in place of building one.
    """

    store: Path | None = None

    @contextlib.contextmanager
    def stored(self, index: IndexKind | None = None) -> Iterator[Path]:
        """Yield a store with the bundle; one that is built has ``index``, or what the indexer chooses."""
        if self.store is not None:
            yield self.store
            return
        with tempfile.TemporaryDirectory() as folder:
            settings = BuildSettings(evaluate=False, index=index)
            build(self.read(), Path(folder), settings, Progress())
            yield Path(folder)


SAMPLE: Final = Data()
BUNDLED: Final = Bundled()
