"""Knows how "to whom" becomes a place in the vector spaces: known users, newcomers, films, words.

It refuses to know what is looked for near that place; `query` does.
"""

import numpy as np

from ilk.bundle import Bundle
from ilk.errors import NotFound
from ilk.query.newcomer import known_items, newcomer
from ilk.query.seeker import Seeker
from ilk.types import Examples, ItemId, Profile, Query, Target, Text, UserId
from ilk.vectors import Float32Matrix, Float32Vector, Rows, support, unit

# How far a negative example pushes against the pull of the positive ones: Rocchio's gamma, at the
# strength that Qdrant's recommendation API made customary.
_NEGATIVE_PULL = 0.5


def seek(bundle: Bundle, query: Query) -> Seeker:
    """Return the place of the query's ``whom``.

    Raises
    ------
    NotFound
        If the bundle does not hold an id.
    InvalidRequest
        If a genre or the whole text is unknown, or stars are off the bundle's scale.
    """
    whom = query.whom
    if isinstance(whom, ItemId):
        return _item(bundle, whom.item_id, query.target)
    if isinstance(whom, UserId):
        return known_user(bundle, whom.user_id, query.target)
    if isinstance(whom, Profile):
        return newcomer(bundle, whom, query.target, ignore_unknown=query.ignore_unknown_ids)
    if isinstance(whom, Examples):
        return _examples(bundle, whom, query)
    return _text(bundle, whom, query.target)


def _item(bundle: Bundle, item_id: str, target: Target) -> Seeker:
    row = bundle.items.vocabulary.row_of(item_id)
    if row < 0:
        raise NotFound("item", item_id)
    items = bundle.items
    vectors = items.directions if target is Target.ITEMS else items.factors
    return Seeker(Target.ITEMS, vectors[row], items.content[row], (row,))


def known_user(bundle: Bundle, user_id: str, target: Target) -> Seeker:
    """Return the place of a user of the bundle; NotFound if there is none."""
    row = bundle.users.vocabulary.row_of(user_id)
    if row < 0:
        raise NotFound("user", user_id)
    users = bundle.users
    return Seeker(
        Target.USERS,
        (users.directions if target is Target.USERS else users.factors)[row],
        users.content[row],
        (row,),
        # A view of the map: nothing is read unless seen items or reasons are asked for.
        bundle.ratings_by_user.others_of(row),  # type: ignore[arg-type]
    )


def _examples(bundle: Bundle, examples: Examples, query: Query) -> Seeker:
    positive, ignored = known_items(bundle, examples.positive_item_ids, query.ignore_unknown_ids)
    negative, more = known_items(bundle, examples.negative_item_ids, query.ignore_unknown_ids)
    if not len(positive):
        raise NotFound("item", *ignored)
    items = bundle.items
    vectors = items.directions if query.target is Target.ITEMS else items.factors
    return Seeker(
        Target.ITEMS,
        _pull(vectors, positive, negative),
        _pull(items.content, positive, negative),
        own_rows=(*positive.tolist(), *negative.tolist()),
        ignored_ids=ignored + more,
    )


def _pull(vectors: Float32Matrix, positive: Rows, negative: Rows) -> Float32Vector:
    """Return the mean of the positives less half that of the negatives.

    A neighbor's score is then its mean score to the positives less half that to the negatives.
    """
    towards: Float32Vector = vectors[positive].mean(axis=0)
    if len(negative):
        towards -= np.float32(_NEGATIVE_PULL) * vectors[negative].mean(axis=0)
    return towards


def _text(bundle: Bundle, text: Text, target: Target) -> Seeker:
    content = bundle.content_model.of_text(text.text)
    inferred = bundle.content_model.infer_factors(content)
    if target is Target.ITEMS:
        inferred = unit(inferred) * support(0)
    return Seeker(Target.ITEMS, inferred, content)
