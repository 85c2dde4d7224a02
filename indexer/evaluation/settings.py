"""Knows every choice of an evaluation, its default and its range.

It refuses to know what a choice leads to; `protocols` and `report` do.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Annotated, Literal, NamedTuple, TypeAlias, get_args

from cyclopts import Parameter

from ilk.errors import SettingsError

Protocol: TypeAlias = Literal["strong", "weak", "temporal", "latest", "cold_items"]
Several: TypeAlias = Annotated[
    tuple[float, ...], Parameter(consume_multiple=True, negative_iterable="")
]

# What is predicted came later than what is shown.
_BY_TIME = ("temporal", "latest")
_TRADE_OFF_DIVERSITIES = (0.1, 0.2, 0.3, 0.5, 0.7)
_TRADE_OFF_PENALTIES = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0)


class Request(NamedTuple):
    """What a measured request asks for beside its user."""

    content_weight: float
    diversity: float = 0.0
    popularity_penalty: float = 0.0
    half_life_s: float | None = None

    def __str__(self) -> str:
        extra = f" diversity={self.diversity:g}" if self.diversity else ""
        extra += f" penalty={self.popularity_penalty:g}" if self.popularity_penalty else ""
        extra += f" half-life={self.half_life_s:.12g}s" if self.half_life_s else ""
        return f"ilk w={self.content_weight:g}{extra}"


@dataclass(frozen=True)
class EvaluationSettings:
    """The choices of an evaluation.

    Parameters
    ----------
    protocol
        strong: users held out of training; weak: a part of each user's ratings; temporal: after a
        date; latest: what came last of each user's; cold_items: films held out of training. Default:
        strong, or weak with --train.
    splits
        Random splits to average over (one for temporal and latest: nothing is random in them).
    date
        Temporal: what is from this day (UTC) on is predicted from what came before. Default: the
        newest tenth of the ratings is predicted.
    core
        First keep positives only, and of them users and items with so many, until all have them.
    all_ratings
        Strong: let models learn from ratings below liked_from too, and see those of the test users
        (but with --shown learn only).
        By default, as published, positives are all there is.
    own_bars
        Call relevant what reaches each user's own bar (see --normalize), whatever the build does;
        strong: with --all-ratings, which tell the bars. By default it is what reaches liked_from, for
        everybody.
    blends
        Content weights to measure. Default: 0, that of the build, and 1.
    diversities
        How much diversity to ask for in re-ranking, in [0, 1]; each is measured with every blend.
    popularity_penalties
        How much to count popularity against items, in [0, 1]; each is measured with all of these.
    trade_off
        Measure diversity and popularity penalty at rising strengths, each alone, with every blend.
    shown
        Show only so many positives of each test user, drawn at random, and nothing else: newcomers.
        Default: all.
    favorites
        Name so many genres of each newcomer, those that stand out most in what they like; --shown 0
        shows nothing beside.
    session_half_lives_s
        temporal, latest: have users ask as sessions do too, by profiles of what they have shown in which
        a rating counts half as much for each so many seconds of age; each is measured.
    among_cold
        cold_items: rank the films held out among themselves, as a shelf of new films is filled. By
        default they are ranked among all.
    baselines
        Measure popularity, item k-NN, EASE and random beside.
    ease_regularization
        λ of EASE; one ranking for each.
    """

    protocol: Protocol | None = None
    splits: int = 1
    date: datetime | None = None
    core: int | None = None
    all_ratings: Annotated[bool, Parameter(negative="")] = False
    own_bars: Annotated[bool, Parameter(negative="")] = False
    blends: Several = ()
    diversities: Several = (0.0,)
    popularity_penalties: Several = (0.0,)
    trade_off: Annotated[bool, Parameter(negative="")] = False
    shown: int | None = None
    favorites: int = 0
    session_half_lives_s: Several = ()
    among_cold: Annotated[bool, Parameter(negative="")] = False
    baselines: bool = True
    ease_regularization: Several = (200.0,)

    def __post_init__(self) -> None:
        if self.protocol not in (None, *get_args(Protocol)):
            raise SettingsError(f"--protocol must be one of {', '.join(get_args(Protocol))}")
        if self.splits < 1:
            raise SettingsError(f"--splits must be at least 1, got {self.splits}")
        self._check_protocols_own()
        if self.core is not None and self.core < 1:
            raise SettingsError(f"--core must be at least 1, got {self.core}")
        if not all(penalty > 0 for penalty in self.ease_regularization):
            raise SettingsError("--ease-regularization must be positive")
        if not all(half_life_s > 0 for half_life_s in self.session_half_lives_s):
            raise SettingsError("--session-half-lives-s must be positive")
        for name in ("blends", "diversities", "popularity_penalties"):
            if not all(0 <= value <= 1 for value in getattr(self, name)):
                raise SettingsError(f"--{name.replace('_', '-')} must be in [0, 1]")

    def _check_protocols_own(self) -> None:
        """Refuse what another protocol than the chosen one has."""
        least = 0 if self.favorites else 1
        if self.shown is not None and (self.shown < least or not self.is_strong):
            raise SettingsError(f"--shown must be at least {least}, and needs the strong protocol")
        if self.favorites and (self.favorites < 0 or self.shown is None):
            raise SettingsError("--favorites must be positive, and needs --shown")
        if self.date is not None and self.protocol != "temporal":
            raise SettingsError("--date needs the temporal protocol")
        if self.session_half_lives_s and self.protocol not in _BY_TIME:
            raise SettingsError(f"--session-half-lives-s needs a protocol of {', '.join(_BY_TIME)}")
        if self.all_ratings and not self.is_strong:
            raise SettingsError("--all-ratings needs the strong protocol; the others show them all")
        if self.among_cold and self.protocol != "cold_items":
            raise SettingsError("--among-cold needs the cold_items protocol")

    @property
    def is_strong(self) -> bool:
        """Whether users are held out wholly, as they are if nothing else is said."""
        return self.protocol in (None, "strong")

    @property
    def cutoff_s(self) -> int | None:
        """The date as Unix seconds."""
        return None if self.date is None else seconds_of(self.date)

    def requests(self, usual_blend: float) -> Iterator[Request]:
        """Yield what is asked of the served model, each once, for a build with this blend."""
        asked: dict[Request, None] = {}
        for weight in self.blends or sorted({0.0, usual_blend, 1.0}):
            for diversity in self.diversities:
                for penalty in self.popularity_penalties:
                    for half_life_s in (None, *self.session_half_lives_s):
                        asked[Request(weight, diversity, penalty, half_life_s)] = None
            if self.trade_off:
                asked[Request(weight)] = None
                asked |= {Request(weight, diversity=d): None for d in _TRADE_OFF_DIVERSITIES}
                asked |= {Request(weight, popularity_penalty=p): None for p in _TRADE_OFF_PENALTIES}
        yield from asked


def seconds_of(date: datetime) -> int:
    """Return a date as Unix seconds; one that names no zone is in UTC."""
    zoned = date if date.tzinfo else date.replace(tzinfo=timezone.utc)
    return int(zoned.timestamp())
