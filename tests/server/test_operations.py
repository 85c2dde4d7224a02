"""What the operations page, the dashboard and the alerts speak of is what a server has."""

import json
import re
import urllib.request
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from server.observability.exposition import Fleet, metrics_port
from server.observability.metrics import Counts, Snapshot
from server.settings import ServerSettings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
DASHBOARD = json.loads((ROOT / "deploy" / "grafana-dashboard.json").read_text(encoding="utf-8"))
ALERTS = yaml.safe_load((ROOT / "deploy" / "alerts.yaml").read_text(encoding="utf-8"))
NAME = re.compile(r"\bilk_[a-z_]+")


@pytest.fixture(scope="module")
def labels() -> dict[str, set[str]]:
    """Return the labels by name of all samples of a server that has done everything at least once."""
    counts = Counts()
    calls = counts.of("FindNeighbors", "item")
    calls.statuses["OK"] = calls.queries["OK"] = 1
    calls.requested = calls.returned = 10
    for duration_s in (0.01, 100.0):
        calls.latency.observe(duration_s)
        calls.search.observe(duration_s)
    counts.shed["queue"] = counts.expired["queue"] = 1
    fleet = Fleet({0: Snapshot(counts, 1, 0.0, 1, "v", 0.0, 0.0, 0.0)})
    with (
        metrics_port("127.0.0.1", 0, lambda: fleet) as port,
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as told,
    ):
        lines = told.read().decode().splitlines()
    return {
        re.split(r"[{ ]", line)[0]: set(re.findall(r'[{,](\w+)="', line))
        for line in lines
        if not line.startswith("#")
    }


@pytest.fixture(scope="module")
def names(labels: dict[str, set[str]]) -> set[str]:
    """Return the names of all these samples."""
    return set(labels)


def test_the_page_names_every_metric(names: set[str]) -> None:
    histograms = re.compile("_(bucket|count|sum)$")
    of_histograms = {histograms.sub("", n) for n in names if n.endswith("_bucket")}
    plain = {n for n in names if histograms.sub("", n) not in of_histograms}
    assert of_histograms | plain == set(NAME.findall(PAGE))


def test_the_page_names_every_setting_and_its_default() -> None:
    table = PAGE.partition("## Settings")[2].partition("##")[0]
    told = dict(re.findall(r"^\| `--([a-z-]+)`[^|]*\| ([^|]+) \|", table, re.M))
    for field in fields(ServerSettings):
        flag = field.name.replace("_", "-")
        assert f"`--{flag}`" in table
        if flag in told and isinstance(field.default, (int, float)) and field.default is not True:
            expected = "off" if field.default is False else f"{field.default:g}"
            assert told[flag].replace("e+", "e") == expected.replace("e+", "e"), flag


def test_the_dashboard_shows_only_what_there_is(names: set[str]) -> None:
    asked = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    assert len(asked) > 15
    assert {name for expr in asked for name in NAME.findall(expr)} <= names


def test_the_dashboard_and_the_alerts_part_by_labels_that_there_are(
    labels: dict[str, set[str]],
) -> None:
    (group,) = ALERTS["groups"]
    asked = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    for expr in (*asked, *(rule["expr"] for rule in group["rules"])):
        parted = {
            label.strip() for by in re.findall(r"by \(([^)]*)\)", expr) for label in by.split(",")
        }
        parted |= set(re.findall(r"[{,](\w+)[=!]", expr))
        # Prometheus itself adds the first two.
        there = {"job", "instance"}.union(*(labels[name] for name in NAME.findall(expr)))
        assert parted <= there, expr


def test_the_dashboards_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells


Series = dict[str, dict[str, float]]


def fires(expr: str, rates: Series) -> bool:
    """Whether an alert fires that is made of sums of rates, by metric and its one label that matters."""

    def total(found: re.Match[str]) -> str:
        of = rates.get(found["metric"], {})
        return str(sum(rate for value, rate in of.items() if value != found["without"]))

    pattern = r'sum\(rate\((?P<metric>\w+)(\{\w+!="(?P<without>\w+)"\})?\[5m\]\)\)'
    told = re.sub(pattern, total, expr).replace("or vector(0)", "")
    assert "ilk_" not in told
    return bool(eval(told))


SHEDDING: dict[str, tuple[Series, bool]] = {
    "nothing is turned away": ({"calls": {"OK": 100}, "shed": {"queue": 0.01}}, False),
    "one caller is over its rate": (
        {"calls": {"OK": 100, "RESOURCE_EXHAUSTED": 50}, "shed": {"rate": 50, "queue": 0}},
        False,
    ),
    "in a queue": (
        {"calls": {"OK": 100, "RESOURCE_EXHAUSTED": 2}, "shed": {"queue": 2}},
        True,
    ),
    "unread": ({"calls": {"OK": 100}, "shed": {"in flight": 2}}, True),
    "all, unread": ({"shed": {"in flight": 2}}, True),
    # Were those in both counters counted twice, it would seem less than it is.
    "hardly enough": (
        {"calls": {"OK": 98.5, "RESOURCE_EXHAUSTED": 1}, "shed": {"deadline": 1}},
        True,
    ),
}


@pytest.mark.parametrize(("rates", "expected"), SHEDDING.values(), ids=SHEDDING)
def test_somebody_is_woken_when_calls_are_turned_away_for_load(
    rates: Series, expected: bool
) -> None:
    (group,) = ALERTS["groups"]
    (expr,) = (rule["expr"] for rule in group["rules"] if rule["alert"] == "IlkSheds")
    named = {f"ilk_{name}_total": of for name, of in rates.items()}
    assert fires(expr, named) is expected


def test_alerts_watch_only_what_there_is_and_say_what_to_do(names: set[str]) -> None:
    (group,) = ALERTS["groups"]
    for rule in group["rules"]:
        assert set(NAME.findall(rule["expr"])) <= names, rule["alert"]
        assert rule["expr"].count("(") == rule["expr"].count(")")
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"].keys() == {"summary", "action"}
