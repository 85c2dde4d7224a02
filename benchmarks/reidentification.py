"""Knows how often a few films that somebody is known to have rated lead to them, and what hinders it.

It refuses to know the wire: questions go through what a server answers with, `server.privacy`, in this
process. Two people try: one asks once and believes the first place; one asks again and again, leaves out
another film each time, and adds up the scores.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ilk.bundle import Bundle
from ilk.errors import IlkError
from ilk.query import answer_many
from ilk.types import Neighbors, Profile, Query, Rating, Target
from server.privacy.pseudonyms import Pseudonyms
from server.privacy.users import UserPrivacy

_PLACES = 10
_DEEP = 1000


@dataclass(frozen=True, slots=True)
class Plan:
    """What is tried.

    Attributes
    ----------
    n_known
        Films that are known of somebody.
    n_tries
        Of each user who rated so many.
    n_patient
        Tries of the one who asks again and again.
    liked
        Whether the films are known to be liked, and those alone; else the stars are known.
    """

    n_known: int = 8
    n_tries: int = 2
    n_patient: int = 200
    liked: bool = False


@dataclass(frozen=True, slots=True)
class Try:
    """Somebody's films, and whose they are."""

    user_id: str
    ratings: tuple[Rating, ...]
    liked: bool

    def query(self, without: int | None = None) -> Query:
        """Return the question for the users most like somebody with these films."""
        known = [r for at, r in enumerate(self.ratings) if at != without]
        if self.liked:
            profile = Profile(liked_item_ids=tuple(r.item_id for r in known))
        else:
            profile = Profile(tuple(known))
        return Query(profile, Target.USERS, neighbor_count=_PLACES)


@dataclass(frozen=True, slots=True)
class Figures:
    """What came of all tries against one protection.

    Attributes
    ----------
    first, patient
        Share of tries in which the right user was first: for the one who asks once, and for the other.
    kept
        Share of the true first ten that are among the first ten that are told.
    likeness
        How alike the told first ten are: 1 as the true ones, 0 as any users.
    answered
        Share of questions that were answered with anybody.
    """

    first: float
    patient: float
    kept: float
    likeness: float
    answered: float


def protections(seed: int) -> dict[str, UserPrivacy]:
    """Return what is tried, by name."""
    names = Pseudonyms(np.random.default_rng(seed).bytes(32))
    return {
        "none": UserPrivacy(),
        "pseudonyms": UserPrivacy(names),
        "scores in steps of 0.1": UserPrivacy(score_step=0.1),
        "scores in steps of 0.25": UserPrivacy(score_step=0.25),
        "crowds of 10": UserPrivacy(crowd=10),
        "crowds of 20": UserPrivacy(crowd=20),
        "crowds of 30": UserPrivacy(crowd=30),
        "pseudonyms, crowds of 30, steps of 0.1": UserPrivacy(names, 30, 0.1),
    }


def measure(bundle: Bundle, plan: Plan, seed: int) -> dict[str, Figures]:
    """Return what came of the plan against each protection."""
    tries = draw(bundle, plan, seed)
    true = _told(UserPrivacy(), bundle, [replace(t.query(), neighbor_count=_DEEP) for t in tries])
    return {
        name: _figures(bundle, privacy, tries, true, plan)
        for name, privacy in protections(seed).items()
    }


def draw(bundle: Bundle, plan: Plan, seed: int) -> list[Try]:
    """Return tries, each with films drawn from all that a user rated (or liked)."""
    rng, tries = np.random.default_rng(seed), []
    ratings, item_id = bundle.ratings_by_user, bundle.items.vocabulary.id_of
    for row in range(bundle.manifest.n_users):
        items, stars = ratings.others_of(row), ratings.stars_of(row)
        if plan.liked:
            liked = bundle.preference.liked(stars)
            items, stars = items[liked], stars[liked]
        for _ in range(plan.n_tries if len(items) >= plan.n_known else 0):
            at = rng.choice(len(items), plan.n_known, replace=False)
            known = tuple(Rating(item_id(int(items[i])), float(stars[i])) for i in at)
            tries.append(Try(bundle.users.vocabulary.id_of(row), known, plan.liked))
    rng.shuffle(tries)
    return tries


def table(figures: dict[str, Figures], plan: Plan, seed: int) -> list[str]:
    """Return the lines to print."""
    what = "liked films" if plan.liked else "films and their stars"
    head = f"{'protection':<40} {'first':>6} {'patient':>8} {'kept':>6} {'likeness':>9} {'answered':>9}"
    return [
        f"seed {seed}: {plan.n_known} {what} of each user, {plan.n_tries} times",
        head,
        *(
            f"{name:<40} {f.first:6.1%} {f.patient:8.1%} {f.kept:6.1%} {f.likeness:9.2f} "
            f"{f.answered:9.1%}"
            for name, f in figures.items()
        ),
    ]


def _figures(
    bundle: Bundle,
    privacy: UserPrivacy,
    tries: Sequence[Try],
    true: Sequence[dict[str, float]],
    plan: Plan,
) -> Figures:
    told = [list(of) for of in _told(privacy, bundle, [t.query() for t in tries])]
    n_first = sum(of[:1] == [t.user_id] for of, t in zip(told, tries, strict=True))
    best = [list(of)[:_PLACES] for of in true]
    kept = [len(set(of) & set(ten)) / len(ten) for of, ten in zip(told, best, strict=True)]
    alike = [
        (_mean(scores, of) - _mean(scores, scores)) / (_mean(scores, ten) - _mean(scores, scores))
        for scores, of, ten in zip(true, told, best, strict=True)
        if of
    ]
    patient = tries[: plan.n_patient]
    n_found = sum(_found_patiently(bundle, privacy, t) == t.user_id for t in patient)
    return Figures(
        n_first / len(tries),
        n_found / len(patient),
        float(np.mean(kept)),
        float(np.mean(alike)),
        sum(map(bool, told)) / len(told),
    )


def _found_patiently(bundle: Bundle, privacy: UserPrivacy, tried: Try) -> str:
    """Return who has the highest sum of scores over the questions that leave out a film each."""
    queries = [tried.query(without) for without in (None, *range(len(tried.ratings)))]
    sums: dict[str, float] = defaultdict(float)
    for scores in _told(privacy, bundle, [replace(q, neighbor_count=_DEEP) for q in queries]):
        for user_id, score in scores.items():
            sums[user_id] += score
    return max(sums, key=sums.__getitem__, default="")


def _told(privacy: UserPrivacy, bundle: Bundle, queries: Sequence[Query]) -> list[dict[str, float]]:
    """Return the scores of the users that are told of, by true id, in the order told."""
    names, found = privacy.pseudonyms, []
    for outcome in _answers(privacy, bundle, queries):
        if isinstance(outcome, IlkError):
            raise outcome
        ids = (n.id if names is None else names.user_id(n.id) or "" for n in outcome.neighbors)
        found.append(dict(zip(ids, (n.score for n in outcome.neighbors), strict=True)))
    return found


def _answers(
    privacy: UserPrivacy, bundle: Bundle, queries: Sequence[Query]
) -> list[Neighbors | IlkError]:
    if privacy == UserPrivacy():
        return answer_many(bundle, queries)
    return privacy.answer_many(bundle, queries)


def _mean(scores: dict[str, float], ids: "Sequence[str] | dict[str, float]") -> float:
    return float(np.mean([scores.get(user_id, 0.0) for user_id in ids]))
