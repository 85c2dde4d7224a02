"""Knows the command line of the indexer: ``python -m indexer build --sample --store store``."""

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeAlias

from cyclopts import App, Parameter
from cyclopts.config import Env, Toml

from ilk import __version__
from ilk.bundle import Store
from ilk.errors import SettingsError
from ilk.program import choices, exits, settings_file
from indexer import config, upkeep
from indexer.acceptance.gate import GateSettings
from indexer.build import build
from indexer.erasure.forgetting import forget, readmit
from indexer.evaluation import present
from indexer.evaluation.report import evaluate, evaluate_given
from indexer.evaluation.settings import EvaluationSettings
from indexer.inspection import draw_recall, inspect_bundle
from indexer.outputs import expect_file, expect_folder
from indexer.progress import Progress, note
from indexer.readers import fetch
from indexer.search.tuning import TuningSettings, tune
from indexer.settings import BuildSettings
from indexer.source import Source

_VARIABLES = "ILK_INDEXER_"

app = App(
    name="indexer",
    help="Build, evaluate and publish bundles of embeddings and indices.",
    config=[
        Env(_VARIABLES, command=False),
        Toml(
            settings_file.PATH,
            root_keys=["indexer"],
            use_commands_as_keys=False,
            allow_unknown=True,
        ),
        choices.expect_whole,
    ],
    version=__version__,
)

_STORE = Path("store")
Files: TypeAlias = Annotated[
    tuple[Path, ...], Parameter(consume_multiple=True, negative_iterable="")
]


@app.command(name="build")
def build_command(
    *,
    source: Annotated[Source | None, Parameter(name="*")] = None,
    settings: Annotated[BuildSettings | None, Parameter(name="*")] = None,
    asked: Annotated[GateSettings | None, Parameter(name="*")] = None,
    store: Path = _STORE,
    quiet: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Read interactions, train, index, evaluate, check, and publish a bundle.

    Parameters
    ----------
    store
        Folder to publish to.
    quiet
        No progress on stderr.
    """
    progress = Progress(quiet=quiet)
    with progress.step("read"):
        data = (source or Source()).read()
    if data.n_dropped or data.n_duplicates:
        note(f"{data.n_dropped} malformed rows dropped, {data.n_duplicates} duplicates merged")
    expect_folder(store)
    print(build(data, store, settings or BuildSettings(), progress, asked))


@app.command(name="evaluate")
def evaluate_command(
    *,
    source: Annotated[Source | None, Parameter(name="*")] = None,
    settings: Annotated[BuildSettings | None, Parameter(name="*")] = None,
    evaluation: Annotated[EvaluationSettings | None, Parameter(name="*")] = None,
    train: Files = (),
    test: Files = (),
    json: Path | None = None,
    plots: Path | None = None,
    quiet: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Measure how well what is served ranks, full-catalogue, beside the usual baselines.

    Parameters
    ----------
    train
        Files to learn from, in place of --movielens and its like, one for each split: user, item,
        optionally rating and time, with or without a header. The source, if any is named beside, says
        what is known of the items.
    test
        Files to predict, in the same order.
    json
        File for every figure, with intervals.
    plots
        Folder for PNG plots.
    quiet
        No progress on stderr.
    """
    if len(train) != len(test):
        raise SettingsError(f"--train and --test go in pairs, got {len(train)} and {len(test)}")
    if json is not None:
        expect_file(json)
    if plots is not None:
        expect_folder(plots)
    chosen = settings or BuildSettings()
    asked = evaluation or EvaluationSettings()
    origin, progress = source or Source(), Progress(quiet=quiet)
    if train:
        given = (origin.read_given(*files) for files in zip(train, test, strict=True))
        comparison = evaluate_given(given, chosen, asked, progress)
    else:
        comparison = evaluate(origin.read(), chosen, asked, progress)
    told = comparison.summary(chosen.seed)
    # Files first: what is printed may have no reader any more.
    if json is not None:
        present.write_json(told, json)
    if plots is not None:
        # Not at the top: drawing alone needs a library that takes a second to import.
        from indexer.evaluation.plots import draw

        for file in draw(told["models"], plots):
            note(f"drawn: {file}")
    present.print_tables(told["models"])


@app.command(name="tune")
def tune_command(
    *,
    source: Annotated[Source | None, Parameter(name="*")] = None,
    settings: Annotated[BuildSettings | None, Parameter(name="*")] = None,
    tuning: Annotated[TuningSettings | None, Parameter(name="*")] = None,
    train: Path | None = None,
    output: Path = settings_file.PATH,
    journal: Path = Path(".cache/tune.journal"),
    quiet: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Search for settings on validation splits, and write them where build and evaluate find them.

    Parameters
    ----------
    train
        A training file, as for evaluate: validation is drawn from it, and its test file stays unseen.
    output
        Settings file to write to; build reads ilk.toml, or what ILK_CONFIG names.
    journal
        File of all trials; a search for the same thing that is started again with it goes on.
    quiet
        No progress on stderr.
    """
    expect_file(output)
    expect_file(journal)
    config.check(output, app)
    origin, asked = source or Source(), tuning or TuningSettings()
    data = origin.read() if train is None else origin.read_given(train).interactions
    tuned = tune(data, settings or BuildSettings(), asked, journal, Progress(quiet=quiet))
    said = (
        f"validation {asked.metric} {tuned.score:.4f} ({asked.protocol}, {tuned.n_trials} trials)"
    )
    config.write(tuned.settings, output, f"tuned: {said}")
    print(f"{said}; settings written to {output}")


@app.command(name="fetch")
def fetch_command(name: str, *, into: Path = Path("data")) -> None:
    """Download a MovieLens data set from GroupLens and verify it; its README has the terms of use.

    Parameters
    ----------
    name
        Such as ml-latest-small, ml-latest, ml-32m, ml-25m, ml-20m, ml-10m, ml-1m or ml-100k.
    into
        Folder to download to.
    """
    print(fetch(name, into))


@app.command(name="inspect")
def inspect_command(
    *, store: Path = _STORE, version: str | None = None, plots: Path | None = None
) -> None:
    """Print what a bundle holds and how good it was measured to be.

    Parameters
    ----------
    store
        Folder of bundles.
    version
        Default: the live one.
    plots
        Folder for a PNG of recall against cost.
    """
    if plots is not None:
        expect_folder(plots)
    manifest = inspect_bundle(store, version)
    if plots is not None:
        note(f"drawn: {draw_recall(manifest, plots)}")


@app.command(name="verify")
def verify_command(*, store: Path = _STORE, version: str | None = None) -> None:
    """Read a bundle to the last byte: checksums, index layouts, every value.

    Parameters
    ----------
    store
        Folder of bundles.
    version
        Default: the live one.
    """
    print(f"{upkeep.verify(Store(store), version)} is sound")


@app.command(name="rollback")
def rollback_command(*, store: Path = _STORE, to: str | None = None) -> None:
    """Make an earlier version the live one again, after verifying it; servers change over by themselves.

    Parameters
    ----------
    store
        Folder of bundles.
    to
        Version to go back (or forward) to. Default: the newest one older than the live one.
    """
    print(f"{upkeep.roll_back(Store(store), to)} is live")


@app.command(name="forget")
def forget_command(
    *, user: Annotated[list[str], Parameter(negative="")], store: Path = _STORE, wait_s: float = 10
) -> None:
    """Take users out of the live bundle and of every later build, and see that they are gone.

    What was learnt from them together with others stays until the next build: see docs/PRIVACY.md.

    Parameters
    ----------
    user
        A user's id; may be given several times.
    store
        Folder of bundles.
    wait_s
        How long to wait for servers to change over, so that older versions can be deleted.
    """
    outcome = forget(Store(store), user, wait_s)
    for name in outcome.unknown:
        note(f"user {name!r} was not in the live bundle; left out of later builds all the same")
    print(
        f"{outcome.n_users} users with {outcome.n_ratings} ratings were in the live bundle\n"
        f"{outcome.version} is live; {outcome.n_files} files searched, none names them\n"
        f"older versions deleted: {', '.join(outcome.deleted) or 'none held them'}"
    )


@app.command(name="readmit")
def readmit_command(
    *, user: Annotated[list[str], Parameter(negative="")], store: Path = _STORE
) -> None:
    """Take users off the list of the forgotten: later builds have them again, if their data has.

    Parameters
    ----------
    user
        A user's id; may be given several times.
    store
        Folder of bundles.
    """
    for name in readmit(Store(store), user):
        note(f"user {name!r} was not forgotten here")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    asked = sys.argv[1:] if arguments is None else list(arguments)

    def check_settings() -> None:
        choices.expect_variables(app, _VARIABLES)
        # What tune writes need not be there before.
        if asked[:1] != ["tune"]:
            settings_file.expect()
        settings_file.expect_known()
        config.check(settings_file.PATH, app)

    return exits.run(app, asked, before=check_settings)


if __name__ == "__main__":
    # Else what it made for itself alone would stay where it is.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    sys.exit(main())
