"""Knows what a staged bundle must show before ``CURRENT`` may point at it, and says what it showed.

It refuses to know how bundles are made and published.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ilk.bundle import Bundle, Store, open_bundle
from ilk.errors import BundleError, BundleMissing, SettingsError
from ilk.types import MIN_RECALL
from indexer.acceptance.drift import Overlap, overlap
from indexer.acceptance.validation import check_values
from indexer.forgotten import Forgotten
from indexer.indexing.self_neighbors import self_neighbors
from indexer.progress import note

# What two trainings with different seeds have in common: the least of three pairs each on MovieLens
# ml-latest-small (0.83 and 0.78) and on the embedded sample (0.89 and 0.76), at the default settings.
_USUAL_NOISE = {"neighbors": 0.83, "recommendations": 0.76}
_NOISE_PREFIX = "two seeds, "


@dataclass(frozen=True)
class GateSettings:
    """What is asked of a bundle before it may become the live one.

    Parameters
    ----------
    keep
        Versions to keep, newest first, the new one among them. The one that was live before is kept
        besides, as is any that a server has open.
    recall_floor
        Recall that every index must reach at every blend, at its most thorough setting measured.
    max_drift
        How much of the overlap that two trainings with different seeds have may be missing between
        the live bundle's answers and the new one's.
    max_lost
        Share of the live bundle's users, or items, that the new one may lack.
    accept_drift
        Publish whatever the drift; it is still measured and told.
    measure_noise
        Train once more with another seed, and measure drift against what the two have in common.
        The figure is kept for later builds. Default: what earlier builds measured, else usual values.
    """

    keep: int = 3
    recall_floor: float = MIN_RECALL
    max_drift: float = 0.5
    max_lost: float = 0.2
    accept_drift: bool = False
    measure_noise: bool = False

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise SettingsError(f"--keep must be at least 1, got {self.keep}")
        for name in ("recall_floor", "max_drift", "max_lost"):
            if not 0 <= getattr(self, name) <= 1:
                flag = name.replace("_", "-")
                raise SettingsError(f"--{flag} must be in [0, 1], got {getattr(self, name)}")


def check(staged: Bundle, store: Store, settings: GateSettings, seed: int) -> None:
    """Refuse a bundle that must not be served; parts that are only told go to stderr.

    Raises
    ------
    BundleError
        If it holds somebody who is forgotten, a value is impossible, recall is below the floor, rows
        are not found where they stand, or the answers differ from the live bundle's by more than is
        allowed.
    """
    check_forgotten(staged, store)
    check_values(staged)
    check_recall(staged, settings.recall_floor)
    check_self_neighbors(staged, settings.recall_floor, seed)
    try:
        live = open_bundle(store.path)
    except BundleMissing:
        return
    except BundleError as error:
        note(f"drift is not measured, for the live bundle cannot be opened: {error}")
        return
    noise = _noise(staged.manifest.quality) or _noise(live.manifest.quality) or _USUAL_NOISE
    check_drift(overlap(live, staged, seed), noise, settings, live.version)


def check_forgotten(bundle: Bundle, store: Store) -> None:
    """Refuse a bundle with users who are forgotten in ``store``.

    Whoever makes it live asks this under the store's lock, for the data may have been read before
    somebody was forgotten. They are not taken out here: what was trained with them would stay.
    """
    rows = Forgotten.of(store).rows_in(bundle.users.vocabulary)
    if len(rows):
        raise BundleError(
            f"{bundle.version} holds {len(rows)} users who were forgotten since its data was read; "
            "build again, and they are left out"
        )


def check_recall(staged: Bundle, floor: float) -> None:
    """Refuse a bundle with an index that cannot reach ``floor``, as measured when it was built.

    Pure content is left aside: it is answered without the index unless that is known to keep its promise.
    """
    for key, space in staged.spaces.items():
        best: dict[float, float] = {}
        for row in space.recall:
            if row.content_weight == 1:
                continue
            best[row.content_weight] = max(row.worst, best.get(row.content_weight, 0.0))
        if not best:
            raise BundleError(f"{key.name}: no recall was measured; build again")
        weight, worst = min(best.items(), key=lambda item: item[1])
        if not worst >= floor:
            raise BundleError(
                f"{key.name}: the index reaches recall {worst:g} at content_weight {weight:g} where "
                f"{floor:g} is the floor; build with another --index, or lower --recall-floor"
            )


def check_self_neighbors(staged: Bundle, floor: float, seed: int) -> None:
    """Refuse a bundle with an index in which rows are not found where they stand."""
    for key, space in staged.spaces.items():
        if not key.by_likeness:
            continue
        share = self_neighbors(space, staged.manifest.default_recall, seed)
        if share < floor:
            raise BundleError(
                f"{key.name}: {share:.0%} of the rows asked about are found where they stand, "
                f"{floor:.0%} are expected: the index does not hold the bundle's vectors; build again"
            )


def check_drift(
    found: Overlap, noise: Mapping[str, float], settings: GateSettings, live_version: str
) -> None:
    """Tell what the new bundle has in common with the live one; refuse too little.

    Parameters
    ----------
    noise
        What two seeds have in common, by field of :class:`indexer.acceptance.drift.Overlap`.
    """
    least = {name: round((1 - settings.max_drift) * noise[name], 4) for name in _USUAL_NOISE}
    least |= dict.fromkeys(("items_kept", "users_kept"), 1 - settings.max_lost)
    told = [
        f"{label} {getattr(found, name):.3f} (at least {least[name]:.3f})"
        for name, label in found.labels().items()
    ]
    if settings.accept_drift or all(getattr(found, n) >= least[n] for n in least):
        note(f"beside {live_version}: {', '.join(told)}")
        return
    raise BundleError(
        f"the new bundle answers too differently from the live one, {live_version}: "
        f"{', '.join(told)}; see whether the data is whole. If it is, publish with --accept-drift; "
        "if trainings differ by as much among themselves, measure that with --measure-noise"
    )


def noise_figures(between_seeds: Overlap) -> dict[str, float]:
    """Return the overlap of two seeds as a manifest keeps it among its quality figures."""
    labels = between_seeds.labels()
    return {f"{_NOISE_PREFIX}{labels[name]}": getattr(between_seeds, name) for name in _USUAL_NOISE}


def _noise(quality: Mapping[str, float]) -> dict[str, float] | None:
    labels = Overlap.labels()
    names = {name: f"{_NOISE_PREFIX}{labels[name]}" for name in _USUAL_NOISE}
    if not all(label in quality for label in names.values()):
        return None
    return {name: quality[label] for name, label in names.items()}
