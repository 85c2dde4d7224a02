"""Items and the bundle are shown as the data has them."""

from typing import TYPE_CHECKING

import numpy as np
import pytest

from ilk.bundle import Bundle
from ilk.catalogue import describe, find_items, item_at
from indexer.interactions import Interactions
from indexer.settings import BuildSettings

if TYPE_CHECKING:
    from tests.query.oracle import Oracle


def test_every_item_is_shown_with_what_the_data_says_of_it(crowd: "Oracle") -> None:
    titles = dict(zip(crowd.data.items.item_ids, crowd.data.items.titles, strict=True))
    for row, item_id in enumerate(crowd.items.ids):
        item = item_at(crowd.bundle, row)
        stars = list(crowd.raters[item_id].values())
        assert (item.id, item.title) == (item_id, titles[item_id])
        assert item.year == (crowd.years[item_id] or None)
        assert sorted(item.genres) == sorted(crowd.genres[item_id])
        assert item.rating_count == len(stars)
        assert item.mean_rating == (pytest.approx(np.mean(stars), abs=1e-5) if stars else None)


def test_every_odd_kind_of_item_is_in_the_crowd(crowd: "Oracle") -> None:
    items = [item_at(crowd.bundle, row) for row in range(len(crowd.items.ids))]
    assert any(item.year is None for item in items)
    assert any(not item.genres for item in items)
    assert any(not item.rating_count and item.mean_rating is None for item in items)


def test_clicks_have_counts_but_no_mean(clicks_bundle: Bundle) -> None:
    item = item_at(clicks_bundle, 0)
    assert item.rating_count > 0
    assert item.mean_rating is None


def test_items_are_found_in_the_order_asked_for_and_the_others_listed(bundle: Bundle) -> None:
    found, unknown = find_items(bundle, ["jaws-1975", "x", "alien-1979", "jaws-1975", "y", "x"])
    assert [item.id for item in found] == ["jaws-1975", "alien-1979", "jaws-1975"]
    assert (found[0].title, found[0].year) == ("Jaws", 1975)
    assert unknown == ["x", "y", "x"]


def test_the_bundle_says_what_it_was_built_from(bundle: Bundle, sample: Interactions) -> None:
    info = describe(bundle)
    assert info.version == bundle.version
    assert (info.user_count, info.item_count, info.rating_count) == (
        sample.n_users,
        sample.n_items,
        len(sample),
    )
    assert info.genres == tuple(sorted({g for genres in sample.items.genres for g in genres}))
    assert info.rating_scale == sample.rating_scale
    assert (info.default_content_weight, info.default_recall) == (
        BuildSettings().content_weight,
        BuildSettings().recall_target,
    )
    assert info.simulated
    assert info.source == sample.source
    assert info.settings["factors"] == "16"
    assert {row.space for row in info.recall} == {
        "items.likeness",
        "items.affinity",
        "users.likeness",
        "users.affinity",
    }


def test_a_bundle_of_clicks_has_no_scale(clicks_bundle: Bundle) -> None:
    assert describe(clicks_bundle).rating_scale is None
