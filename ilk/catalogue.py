"""Knows how a bundle's rows are shown to people: items with titles, the bundle with its figures.

It refuses to know likeness.
"""

import math
from collections.abc import Sequence

from ilk.bundle import Bundle
from ilk.types import BundleInfo, Item


def item_at(bundle: Bundle, row: int) -> Item:
    """Return what is known of the item in ``row``."""
    catalogue = bundle.catalogue
    start, stop = catalogue.genre_indptr.item(row), catalogue.genre_indptr.item(row + 1)
    genres = bundle.content_model.genres
    ratings = bundle.ratings_by_item.span(row)
    mean = catalogue.mean_stars.item(row)
    of_stars = bundle.preference.scale is not None and not math.isnan(mean)
    return Item(
        id=bundle.items.vocabulary.id_of(row),
        title=catalogue.titles[row],
        year=catalogue.years.item(row) or None,
        genres=tuple(genres[code] for code in catalogue.genre_codes[start:stop].tolist()),
        rating_count=ratings.stop - ratings.start,
        mean_rating=mean if of_stars else None,
    )


def find_items(bundle: Bundle, item_ids: Sequence[str]) -> tuple[list[Item], list[str]]:
    """Return the items known, in order, and the ids that are not."""
    found, unknown = [], []
    for item_id in item_ids:
        row = bundle.items.vocabulary.row_of(item_id)
        if row < 0:
            unknown.append(item_id)
        else:
            found.append(item_at(bundle, row))
    return found, unknown


def describe(bundle: Bundle) -> BundleInfo:
    """Return what the bundle says of itself, for callers."""
    manifest = bundle.manifest
    return BundleInfo(
        version=manifest.version,
        format_version=manifest.format_version,
        created_at_s=manifest.created_at_s,
        user_count=manifest.n_users,
        item_count=manifest.n_items,
        rating_count=manifest.n_ratings,
        genres=bundle.content_model.genres,
        rating_scale=bundle.preference.scale,
        default_content_weight=manifest.default_content_weight,
        default_recall=manifest.default_recall,
        recall=tuple(row for record in manifest.indices.values() for row in record.recall),
        quality=manifest.quality,
        source=manifest.source,
        simulated=manifest.simulated,
        settings=manifest.settings,
    )
