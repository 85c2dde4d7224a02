"""Reads data sets: MovieLens in every published layout, generic tables, and the official downloads."""

from indexer.readers.fetch import fetch
from indexer.readers.movielens import read_movielens
from indexer.readers.tabular import read_tables

__all__ = ["fetch", "read_movielens", "read_tables"]
