"""What `indexer inspect` prints of a bundle."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from ilk.bundle import Bundle
from ilk.bundle.manifest import IndexRecord
from ilk.types import MeasuredRecall
from indexer.inspection import _choices, draw_recall, inspect_bundle


def test_a_bundle_is_shown_with_its_indices_recall_and_settings(
    sample_store: Path, bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inspect_bundle(sample_store, None) == bundle.manifest
    shown = capsys.readouterr().out
    assert f"Bundle {bundle.version}" in shown
    for title in ("Indices measured", "Recall by content weight", "Settings", "Provenance"):
        assert title in shown
    for record in bundle.manifest.indices.values():
        assert record.name in shown
    # A table that is too wide for a page is cut in the middle of what it says.
    assert "…" not in shown
    assert len(re.findall("items.likeness", shown)) == shown.count("items.like") > 2


@pytest.mark.parametrize(("costs_us", "shown"), [((30.0, 40.0), 8), ((40.0, 30.0), 12), ((), 8)])
def test_the_cheapest_effort_that_keeps_the_promise_is_shown(
    costs_us: tuple[float, ...], shown: int, bundle: Bundle
) -> None:
    rows = tuple(
        MeasuredRecall("items.likeness", "IVF9", effort, 0.1, 0.999, 0.999, cpu_us=effort)
        for effort in (8, 12)
    )
    record = IndexRecord("IVF", "IVF9,Flat", 1, 0.0, rows, costs_us)
    table = _choices(replace(bundle.manifest, indices={"items.likeness": record}))
    efforts, used_us = (list(table.columns[at].cells) for at in (-2, -1))
    assert efforts[0] == used_us[0] == str(shown)


def test_recall_is_drawn_against_cost(bundle: Bundle, tmp_path: Path) -> None:
    drawn = draw_recall(bundle.manifest, tmp_path / "plots")
    assert drawn.read_bytes().startswith(b"\x89PNG")
