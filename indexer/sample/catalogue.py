"""Knows the films of the sample: facts about them, and how the simulation places them.

It refuses to know users. Titles, years and genres are facts and are published; taste groups, fame
and acclaim are the simulation's own judgement and stay inside it.

``films.csv`` holds one film a line, genres and groups separated by ``|``. Its first group is what a
film is, the others are what it is also like; ``saga`` ties sequels together and may be empty.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
import numpy.typing as npt

from indexer.interactions import Items

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# How much a film belongs to the groups it is only also like; to its first it belongs by 1.
_ALSO_LIKE = 0.6


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Films by row.

    Attributes
    ----------
    items
        What the indexer sees.
    group_names
        ``n_groups`` sorted names of taste groups, such as ``"studio-ghibli"``.
    groups
        Shape ``(n_items, n_groups)``: 1 for a film's first group, less for its others, else 0.
    genres
        Shape ``(n_items, n_genres)``; a film's genres share 1 equally.
    sagas
        Shape ``(n_items, n_sagas)``: 1 for the saga a film belongs to, if any.
    fame
        Shape ``(n_items,)``, from 6, known to everyone, to 1, known to few; 0 is rated by nobody.
    acclaim
        Shape ``(n_items,)``, from 1, poor, to 5, a classic.
    """

    items: Items
    group_names: list[str]
    groups: Floats
    genres: Floats
    sagas: Floats
    fame: Ints
    acclaim: Ints


def load_catalogue() -> Catalogue:
    """Return the films that come with the package."""
    text = files(__package__).joinpath("films.csv").read_text(encoding="utf-8")
    films = list(csv.DictReader(text.splitlines()))
    genre_labels = [tuple(film["genres"].split("|")) for film in films]
    group_names, groups = _label_matrix([film["groups"].split("|") for film in films], _ALSO_LIKE)
    _, genres = _label_matrix(genre_labels, 1.0)
    _, sagas = _label_matrix([[film["saga"]] if film["saga"] else [] for film in films], 1.0)
    return Catalogue(
        items=Items(
            item_ids=[film["item_id"] for film in films],
            titles=[film["title"] for film in films],
            years=np.array([int(film["year"]) for film in films], dtype=np.int16),
            genres=genre_labels,
            texts={},
        ),
        group_names=group_names,
        groups=groups,
        genres=genres / genres.sum(axis=1, keepdims=True),
        sagas=sagas,
        fame=np.array([int(film["fame"]) for film in films], dtype=np.int64),
        acclaim=np.array([int(film["acclaim"]) for film in films], dtype=np.int64),
    )


def _label_matrix(labels: Sequence[Sequence[str]], others: float) -> tuple[list[str], Floats]:
    """Return the distinct labels, and per film 1 for its first and ``others`` for the rest."""
    names = sorted({name for film in labels for name in film})
    matrix = np.zeros((len(labels), len(names)))
    for row, film in enumerate(labels):
        for place, name in enumerate(film):
            matrix[row, names.index(name)] = others if place else 1.0
    return names, matrix
