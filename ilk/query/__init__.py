"""How a query is answered from an open bundle: the path that is served and evaluated.

From the question to the answer: `whom` and `newcomer` tell where who asks stands (a `seeker`), `filters`
what may come back, `plan` how it is looked for; `search` looks through the index, `exact` without it, and
`fast_path` for those who ask for nothing special; `answers` has it all done.
"""

from ilk.query.answers import answer, answer_alike, answer_many

__all__ = ["answer", "answer_alike", "answer_many"]
