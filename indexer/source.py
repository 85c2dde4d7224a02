"""Knows where interactions come from: MovieLens, a pair of tables, given splits, or the sample.

It refuses to know what is in the files; `readers` and `sample` do.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ilk.errors import SettingsError
from indexer.interactions import Interactions, Items
from indexer.readers import GivenSplit, read_given, read_items, read_movielens, read_tables
from indexer.sample import load_sample


@dataclass(frozen=True)
class Source:
    """Which data to read; one of movielens, interactions and sample.

    Parameters
    ----------
    movielens
        Folder or zip of any data set that GroupLens has published.
    interactions
        CSV, TSV or Parquet: user, item, optionally rating and timestamp. Without a rating: clicks.
    items
        CSV, TSV or Parquet beside interactions: id, title, genres, optionally year and further text.
    rating_scale
        Lowest and highest stars of interactions. Default: as found.
    sample
        The embedded sample: real films, simulated users.
    skip_bad_rows
        Pass over malformed lines and count them, where the default is to stop at the first.
    """

    movielens: Path | None = None
    interactions: Path | None = None
    items: Path | None = None
    rating_scale: tuple[float, float] | None = None
    sample: Annotated[bool, Parameter(negative="")] = False
    skip_bad_rows: Annotated[bool, Parameter(negative="")] = False

    def __post_init__(self) -> None:
        if self._n_given > 1:
            raise SettingsError(
                f"give one of --movielens, --interactions and --sample, not {self._n_given}"
            )

    @property
    def _n_given(self) -> int:
        return (self.movielens is not None) + (self.interactions is not None) + self.sample

    def read(self) -> Interactions:
        """Return the interactions; DataError if they cannot be read, SettingsError if none are named."""
        if not self._n_given:
            raise SettingsError("give one of --movielens, --interactions and --sample")
        if (self.interactions is None) != (self.items is None):
            raise SettingsError("--interactions and --items go together")
        if self.rating_scale is not None and self.interactions is None:
            raise SettingsError(
                "--rating-scale goes with --interactions: the others have their own"
            )
        if self.movielens is not None:
            return read_movielens(self.movielens, skip_bad_rows=self.skip_bad_rows)
        if self.interactions is not None and self.items is not None:
            return read_tables(
                self.interactions,
                self.items,
                skip_bad_rows=self.skip_bad_rows,
                rating_scale=self.rating_scale,
            )
        return load_sample()

    def read_given(self, train: Path, test: Path | None = None) -> GivenSplit:
        """Return a split that these files spell out, with what the rest of the source says of items.

        Raises
        ------
        SettingsError
            If other interactions are named beside.
        DataError
            If a file cannot be read, or a pair is in both.
        """
        if self.interactions is not None:
            raise SettingsError("--train stands in place of --interactions; --items may go with it")
        return read_given(
            train,
            test,
            items=self._known_items(),
            rating_scale=self.rating_scale,
            skip_bad_rows=self.skip_bad_rows,
        )

    def _known_items(self) -> Items | None:
        if self.items is not None:
            return read_items(self.items, skip_bad_rows=self.skip_bad_rows)[0]
        return replace(self, rating_scale=None).read().items if self._n_given else None
