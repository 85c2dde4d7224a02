"""The least that any build must do: pyarrow reads the ratings, plain ``implicit`` fits the same matrix.

Run as ``python -m benchmarks.scale.plain WORLD``; prints JSON. Only reading and fitting are timed.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from pyarrow import csv as arrow_csv

from benchmarks.ranking import fit_plainly, training_matrix
from benchmarks.spending import spent_in
from indexer.readers import read_movielens
from indexer.settings import BuildSettings


def main(world: Path) -> None:
    """Print what each of the two spent, by name."""
    read = spent_in(lambda: arrow_csv.read_csv(world / "ratings.csv"))
    settings = BuildSettings()
    matrix = training_matrix(read_movielens(world), settings)
    fit = spent_in(lambda: fit_plainly(matrix, settings))
    print(json.dumps({"read": asdict(read), "fit": asdict(fit)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
