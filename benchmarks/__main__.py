"""Runs the benchmarks: ``python -m benchmarks --movielens ../ml-latest-small`` (default: the sample)."""

import sys
from json import dumps
from pathlib import Path

from cyclopts import App

from benchmarks import (
    exact,
    habits,
    libraries,
    limits,
    overload,
    promise,
    ranking,
    reidentification,
    services,
    serving,
    stars,
    titles,
)
from benchmarks.data import BUNDLED, SAMPLE, Bundled, Data
from ilk.ann import IndexKind
from ilk.bundle import open_bundle
from ilk.program import exits
from ilk.space import SPACE_KEYS
from indexer.progress import Progress
from indexer.settings import BuildSettings

app = App(
    name="benchmarks", help="Measure Ilk beside its limits and peers, in one run.", version_flags=[]
)


@app.default
@app.command(name="serving")
def run_serving(
    *,
    bundled: Bundled = BUNDLED,
    calls: int = 5000,
    rounds: int = 3,
) -> None:
    """Build a bundle and measure serving; what runs when no benchmark is named.

    Parameters
    ----------
    calls
        Unary calls per round.
    rounds
        Rounds, interleaved; medians are shown.
    """
    with bundled.stored() as store:
        for name, figure in serving.measure(store, calls, rounds).items():
            print(f"{name:<46} {figure:10.2f}")


@app.command(name="stars")
def run_stars(*, data: Data = SAMPLE, folds: int = 5) -> None:
    """Predict stars beside Surprise, which is installed into an environment of its own.

    Parameters
    ----------
    folds
        Parts that the ratings are dealt into; each is predicted from the others.
    """
    compared = stars.compare(data.read(), BuildSettings(), Progress(), n_folds=folds)
    print("\n".join(stars.table(compared)))


@app.command(name="ranking")
def run_ranking(*, data: Data = SAMPLE, splits: int = 5, rounds: int = 3) -> None:
    """Rank for users held out beside tuned EASE, and time training beside plain implicit.

    Parameters
    ----------
    splits
        Random splits to average over.
    rounds
        Trainings of each kind, interleaved; medians are shown.
    """
    interactions, settings = data.read(), BuildSettings()
    users, figures = ranking.compare(interactions, settings, Progress(), n_splits=splits)
    print("\n".join(ranking.table(users, figures, settings.seed)))
    for name, figure in ranking.cost(interactions, settings, n_rounds=rounds).items():
        print(f"{name:<46} {figure:10.2f}")


@app.command(name="services")
def run_services(
    *,
    data: Data = SAMPLE,
    factors: bool = True,
    rows: int = 100_000,
    dim: int = 128,
    recall: float = 0.98,
    index: IndexKind | None = None,
    peers: tuple[str, ...] = services.PEERS,
    json: Path | None = None,
) -> None:
    """Compare with other services at equal recall: server CPU per query, and latency.

    Parameters
    ----------
    factors
        Compare on the factors of that data.
    rows
        Vectors of the second comparison, which are drawn; 0: none.
    dim
        Their dimensions.
    recall
        What Ilk is asked for; the others are tuned to what its answers then have.
    index
        Kind of index of Ilk. Default: what the indexer chooses.
    peers
        Which to run.
    json
        File for every figure.
    """
    found = {}
    if factors:
        found["factors"] = services.compare_on_factors(data.read(), recall, index, peers)
    if rows:
        name = f"{rows} x {dim}"
        found[name] = services.compare_on_clusters(rows, dim, recall, index, peers)
    for name, compared in found.items():
        print(f"\n{name}")
        print("\n".join(services.table(compared)))
    if json is not None:
        json.write_text(dumps(found, indent=1) + "\n", encoding="utf-8")


@app.command(name="overload")
def run_overload(
    *,
    bundled: Bundled = BUNDLED,
    workload: str = "mix",
    throttled: bool = True,
    multiples: tuple[float, ...] = (2, 5, 10),
    duration_s: float = 60,
    timeout_s: float = 1,
) -> None:
    """Offer one worker several times what it can bear.

    Parameters
    ----------
    workload
        single, batch or mix.
    throttled
        Let callers hold themselves back as Ilk's clients do.
    multiples
        Of its capacity.
    duration_s
        How long each is offered.
    timeout_s
        The deadline of every call.
    """
    plan = overload.Plan(workload, throttled, multiples, duration_s, timeout_s)
    with bundled.stored() as store:
        print("\n".join(overload.table(*overload.measure(store, plan))))


@app.command(name="promise")
def run_promise(
    *,
    bundled: Bundled = BUNDLED,
    index: IndexKind | None = None,
    cases: int = 10_000,
    strangers: int = 2_500,
    seed: int = 1,
) -> None:
    """Ask random queries at random recalls, blends and filters, and hold the answers against all rows.

    Parameters
    ----------
    index
        Kind of index to build. Default: what the indexer chooses.
    cases
        Of each space, where a user or an item of the bundle asks.
    strangers
        The same, where a profile, examples or a text do.
    seed
        Of the cases.
    """
    with bundled.stored(index) as store:
        print(f"seed {seed}")
        print("\n".join(promise.table(promise.measure(store, cases, strangers, seed))))


@app.command(name="habits")
def run_habits(*, data: Data = SAMPLE, splits: int = 5) -> None:
    """Rank with stars read by everybody's bar and by each user's own, for real and for stern users.

    Parameters
    ----------
    splits
        Random splits to average over.
    """
    settings = BuildSettings()
    compared = habits.compare(data.read(), settings, Progress(), n_splits=splits)
    print("\n".join(habits.table(compared, settings.seed)))


@app.command(name="libraries")
def run_libraries(
    *,
    bundled: Bundled = BUNDLED,
    spaces: tuple[str, ...] = tuple(key.name for key in SPACE_KEYS),
    content_weight: float = 0.1,
    queries: int = 200,
    peers: tuple[str, ...] = tuple(libraries.PEERS),
    plots: Path | None = None,
) -> None:
    """Search beside other libraries at equal recall, each in an environment of its own.

    Parameters
    ----------
    spaces
        Which of the four.
    content_weight
        The blend of the queries.
    queries
        How many.
    peers
        Which libraries.
    plots
        Folder for curves of queries per second against recall.
    """
    with bundled.stored() as store:
        found = libraries.compare(store, spaces, content_weight, queries, peers)
        name = open_bundle(store).manifest
    print("\n".join(libraries.table(found)))
    if plots is not None:
        title = f"{name.n_users} users x {name.n_items} items"
        for file in libraries.draw(found, title, plots):
            print(f"drawn: {file}")


@app.command(name="reidentification")
def run_reidentification(
    *,
    bundled: Bundled = BUNDLED,
    known: int = 8,
    tries: int = 2,
    patient: int = 200,
    liked: bool = False,
    seed: int = 1,
) -> None:
    """Look for users by a few films they are known to have rated, with each protection on.

    Parameters
    ----------
    known
        Films known of each user.
    tries
        Times that films are drawn for each user.
    patient
        Tries of the one who asks again and again.
    liked
        Films are known to be liked; else their stars are known.
    seed
        Of what is drawn.
    """
    with bundled.stored() as store:
        plan = reidentification.Plan(known, tries, patient, liked)
        found = reidentification.measure(open_bundle(store), plan, seed)
        print("\n".join(reidentification.table(found, plan, seed)))


@app.command(name="limits")
def run_limits(
    *,
    bundled: Bundled = BUNDLED,
    rate: float = 200,
    limit: float = 50,
    multiple: float = 10,
    rounds: int = 5,
    duration_s: float = 4,
) -> None:
    """Let a noisy caller ask many times what it may, and time another's calls.

    Parameters
    ----------
    rate
        Calls a second of the quiet caller.
    limit
        Calls a second that the noisy one may make.
    multiple
        How many times that it makes.
    rounds
        Interleaved; medians are shown.
    duration_s
        Of each part of a round.
    """
    with bundled.stored() as store:
        plan = limits.Plan(rate, limit, multiple, rounds, duration_s)
        cost, measured = limits.measure(store, plan)
        print("\n".join(limits.table(cost, plan, measured)))


@app.command(name="exact")
def run_exact(*, bundled: Bundled = BUNDLED, queries: int = 40, seed: int = 1) -> None:
    """Answer exactly, beside comparing with every row.

    Parameters
    ----------
    queries
        Of each kind.
    seed
        Of who asks.
    """
    with bundled.stored() as store:
        print("\n".join(exact.table(exact.measure(store, queries, seed))))


@app.command(name="titles")
def run_titles(*, bundled: Bundled = BUNDLED, searches: int = 600, compared: int = 600) -> None:
    """Search for titles beside comparing with every name.

    Parameters
    ----------
    searches
        How many.
    compared
        How many of those are compared with every name too, which takes much longer.
    """
    with bundled.stored() as store:
        for name, figure in titles.measure(store, searches, compared).items():
            print(f"{name:<46} {figure:10.2f}")


if __name__ == "__main__":
    sys.exit(exits.run(app))
