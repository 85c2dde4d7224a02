"""Knows a small world to try Ilk on: real films, simulated users.

It refuses to know real users and other people's data sets. :mod:`indexer.sample.simulate` describes
the simulated model.
"""

from indexer.sample.simulate import load_sample

__all__ = ["load_sample"]
