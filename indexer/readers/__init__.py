"""Reads data sets: MovieLens in every published layout, generic tables, and the official downloads."""

from indexer.readers.fetch import fetch
from indexer.readers.given import GivenSplit, read_given
from indexer.readers.movielens import read_movielens
from indexer.readers.tabular import read_items, read_tables

__all__ = ["GivenSplit", "fetch", "read_given", "read_items", "read_movielens", "read_tables"]
