"""Tables for people: alignment, marks, and what is said below them."""

import pytest

from ilk.terminal import tables
from ilk.types import (
    BundleInfo,
    Item,
    MeasuredRecall,
    Neighbor,
    Neighbors,
    RatingPrediction,
    RefusedBundle,
    Shortfall,
    ShortfallReason,
    TitleMatch,
)

TOY_STORY = Item("1", "Toy Story", 1995, ("Animation", "Comedy"), 215, 3.92)
SPIRITED_AWAY = Item("5618", "千と千尋の神隠し", 2001, ("Animation",), 87, 4.16)
UNDATED = Item("9", "Undated", None, (), 0, None)
ITEMS = {item.id: item for item in (TOY_STORY, SPIRITED_AWAY, UNDATED)}


def neighbors(*near: Neighbor, shortfall: Shortfall | None = None) -> Neighbors:
    return Neighbors(near, "v1", 0.25, shortfall)


def test_neighbors_stand_in_aligned_columns() -> None:
    answer = neighbors(
        Neighbor("1", 0.91234, collaborative=0.5, content=1.0),
        Neighbor("9", -0.5, collaborative=-0.25, content=0.0),
    )
    assert tables.render_neighbors(answer, ITEMS).splitlines() == [
        "#  title      year  genres               score  collaborative  content",
        "1  Toy Story  1995  Animation, Comedy   0.9123         0.5000   1.0000",
        "2  Undated                             -0.5000        -0.2500   0.0000",
        "",
        "content weight 0.25, bundle v1",
    ]


def test_wide_titles_do_not_push_columns_out_of_line() -> None:
    answer = neighbors(Neighbor("5618", 1.0), Neighbor("1", 0.5))
    lines = tables.render_neighbors(answer, ITEMS).splitlines()[:3]
    starts = [
        tables.display_width(line[: line.index(year)])
        for line, year in zip(lines, ("year", "2001", "1995"), strict=True)
    ]
    assert len(set(starts)) == 1


@pytest.mark.parametrize(
    ("text", "width"), [("", 0), ("abc", 3), ("千と", 4), ("e\u0301", 1), ("ｱ", 1), ("한", 2)]
)
def test_width_is_counted_in_terminal_columns(text: str, width: int) -> None:
    assert tables.display_width(text) == width


@pytest.mark.parametrize("char", ["x", "千", "e\u0301"])
@pytest.mark.parametrize("length", [43, 44, 45, 200])
def test_long_titles_are_cut_to_fit(char: str, length: int) -> None:
    table = tables.render_items([Item("1", char * length)])
    title = table.splitlines()[1].split()[1]
    assert tables.display_width(title) <= tables.MAX_TITLE_WIDTH
    fits = tables.display_width(char * length) <= tables.MAX_TITLE_WIDTH
    assert title == char * length if fits else title.endswith("…")
    assert tables.display_width(title) >= min(length, tables.MAX_TITLE_WIDTH - 1)


def test_control_characters_cannot_steer_the_terminal() -> None:
    hostile = "\x1b[2J\r\n\u202e"
    shortfall = Shortfall(2, 1, ShortfallReason.FILTERED, hostile)
    answer = Neighbors((Neighbor(hostile, 1.0),), hostile, 0.0, shortfall, (hostile,))
    for shown in (tables.render_neighbors(answer, {}), tables.render_user_neighbors(answer)):
        assert all(line.isprintable() for line in shown.split("\n"))
        assert "?[2J" in shown


def test_components_not_asked_for_have_no_column() -> None:
    shown = tables.render_neighbors(neighbors(Neighbor("1", 1.0)), ITEMS)
    assert "collaborative" not in shown


def test_unrelated_and_inferred_neighbors_are_marked() -> None:
    answer = neighbors(
        Neighbor("a", 0.5),
        Neighbor("b", -0.5, unrelated=True),
        Neighbor("c", 0.5, inferred=True),
        Neighbor("d", -0.5, unrelated=True, inferred=True),
    )
    lines = tables.render_user_neighbors(answer).splitlines()[1:5]
    ends = [line.partition("5000")[2].strip() for line in lines]
    assert ends == ["", "(unrelated)", "(inferred)", "(unrelated, inferred)"]


def test_an_item_nothing_is_known_of_is_shown_by_its_id() -> None:
    assert "item-77" in tables.render_neighbors(neighbors(Neighbor("item-77", 1.0)), {})


def test_shortfall_ignored_ids_and_simulation_are_said_below() -> None:
    shortfall = Shortfall(10, 1, ShortfallReason.FILTERED, "1 of 10: the filter lets 1 pass")
    answer = Neighbors((Neighbor("1", 1.0),), "v1", 0.0, shortfall, ("x", "y"))
    assert tables.render_neighbors(answer, ITEMS, simulated=True).splitlines()[-3:] == [
        "1 of 10: the filter lets 1 pass",
        "ignored, not in the bundle: x, y",
        "content weight 0, bundle v1, simulated users",
    ]


def test_no_neighbors_are_said_to_be_none() -> None:
    shown = tables.render_user_neighbors(neighbors())
    assert shown.splitlines() == ["no neighbors", "", "content weight 0.25, bundle v1"]


def test_a_prediction_without_neighbors_is_marked_as_a_mean() -> None:
    told = [RatingPrediction("1", 4.256, 12), RatingPrediction("9", 3.0, 0)]
    shown = tables.render_predictions(told, ITEMS, simulated=True).splitlines()
    assert shown[1].split() == ["Toy", "Story", "1995", "Animation,", "Comedy", "4.26", "12"]
    assert shown[2].endswith("3.00          0  (no neighbors: a mean)")
    assert shown[-1] == "simulated users"


def test_matches_show_ids_and_how_well_they_match() -> None:
    shown = tables.render_matches([TitleMatch(TOY_STORY, 0.875)]).splitlines()
    assert shown[0].split() == ["id", "title", "year", "genres", "ratings", "mean", "match"]
    assert shown[1].split()[-3:] == ["215", "3.92", "0.88"]


def bundle(**fields: object) -> BundleInfo:
    facts = {"version": "v1", "format_version": 1, "created_at_s": 1_700_000_000.0}
    counts = {"user_count": 1234, "item_count": 5, "rating_count": 6, "genres": ("Drama",)}
    scale = {"rating_scale": None, "default_content_weight": 0.3, "default_recall": 0.95}
    return BundleInfo(**(facts | counts | scale | fields))  # type: ignore[arg-type]


def test_a_bundle_is_shown_with_its_facts() -> None:
    shown = tables.render_bundle(
        bundle(source="made up", quality={"ndcg@10": 0.25, "test_users": 261.0})
    )
    assert "2023-11-14 22:13 UTC" in shown
    assert "1,234" in shown
    assert "none: clicks" in shown
    assert "ndcg@10         0.2500" in shown
    assert "test_users      261\n" in shown + "\n"
    assert "simulated" not in shown
    assert "recall@100" not in shown


def test_recall_is_shown_by_rising_content_weight() -> None:
    recall = tuple(MeasuredRecall("items.affinity", "Flat", 0, w, 1.0, 1.0) for w in (0.1, 0, 0.3))
    shown = tables.render_bundle(bundle(recall=recall)).splitlines()[-3:]
    assert [line.split()[3] for line in shown] == ["0", "0.1", "0.3"]


def test_what_is_live_and_what_was_refused_is_shown() -> None:
    refused = (RefusedBundle("v2", 1_700_000_000.0, "gram.npy is missing"),)
    shown = tables.render_bundle(bundle(live_since_s=1_700_000_060.0, refused=refused))
    assert "live since      2023-11-14 22:14 UTC" in shown
    assert "refused         v2 at 2023-11-14 22:13 UTC: gram.npy is missing" in shown


def test_a_simulated_bundle_says_so_and_shows_stars_and_measured_recall() -> None:
    recall = (MeasuredRecall("items.affinity", "IVF16", 8, 0.5, 0.991, 0.95),)
    shown = tables.render_bundle(bundle(simulated=True, rating_scale=(0.5, 5.0), recall=recall))
    assert "1,234 (simulated users)" in shown
    assert "0.5 to 5" in shown
    assert shown.splitlines()[-1].split() == [
        "items.affinity",
        "IVF16",
        "8",
        "0.5",
        "0.991",
        "0.950",
    ]
