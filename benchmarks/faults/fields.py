"""Knows every request that the contract's types allow, as Hypothesis strategies made of its descriptors.

It refuses to know which of them are sound. A field, or an rpc, that is added to the contract is asked for
without a change here.
"""

import itertools
from collections.abc import Sequence
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st

from ilk.bundle import Bundle
from ilk.vocabulary import Vocabulary

_FLOATS = {FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT}
_BITS = {
    FieldDescriptor.CPPTYPE_INT32: (-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(1 << 63), (1 << 63) - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, (1 << 32) - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, (1 << 64) - 1),
}
_N_WORDS = 40
# Lengths of lists: most are short, the others lie on both sides of a limit.
_SHORT = (1, 2, 3)
_LONG = (0, 100, 101, 1000, 1001, 10_000, 10_001, 100_000, 100_001)
_LONG_OF_MESSAGES = (0, 1000, 1001, 10_001)
_MAX_LIST_BYTES = 6 << 20
_HUGE_TEXTS = (
    "x" * 256,
    "x" * 257,
    "é" * 129,
    "x" * 1001,
    "é" * 1000,
    "y" * 100_000,
    "z" * 3_000_000,
)
_ODD_TEXTS = (
    "",
    " ",
    "\0",
    "\n",
    "-1",
    "9223372036854775807",
    "%s",
    "{0}",
    "../..",
    "🎬",
    "\u202e",
)


class Words:
    """Texts that a bundle knows, by what they are.

    Parameters
    ----------
    bundle
        The bundle.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.item_ids = _first(bundle.items.vocabulary)
        self.user_ids = _first(bundle.users.vocabulary)
        self.genres = bundle.content_model.genres
        self.titles = tuple(bundle.catalogue.titles.to_list()[:20])

    def likely_in(self, name: str) -> Sequence[str]:
        """Return what a field of this name is meant for; all there is if that cannot be told."""
        for part, words in (("genre", self.genres), ("user", self.user_ids), ("id", self.item_ids)):
            if part in name:
                return words
        return (*self.genres, *self.titles)


def _first(vocabulary: Vocabulary) -> tuple[str, ...]:
    return tuple(vocabulary.id_of(row) for row in range(min(len(vocabulary), _N_WORDS)))


@st.composite
def requests(draw: st.DrawFn, kind: Descriptor, words: Words, *, long: bool = True) -> Message:
    """Return any message of ``kind``: of each oneof at most one member, of the other fields some."""
    chosen = [draw(st.sampled_from([*oneof.fields, None])) for oneof in kind.oneofs]
    free = [field for field in kind.fields if field.containing_oneof is None]
    chosen += [field for field in free if draw(st.integers(0, 2)) == 0]
    values = {f.name: draw(_values(f, words, long=long)) for f in chosen if f is not None}
    made: Message = message_factory.GetMessageClass(kind)(**values)
    return made


def _values(field: FieldDescriptor, words: Words, *, long: bool) -> st.SearchStrategy[Any]:
    if not field.is_repeated:
        return _singles(field, words, long=long)
    few = st.lists(_singles(field, words, long=False), min_size=1, max_size=3)
    return st.builds(_cycled, few, _lengths(field, long=long))


def _lengths(field: FieldDescriptor, *, long: bool) -> st.SearchStrategy[int]:
    if not long:
        return st.sampled_from(_SHORT)
    parts = field.message_type.fields if field.message_type is not None else []
    nested = any(part.is_repeated or part.containing_oneof for part in parts)
    lengths = _LONG_OF_MESSAGES if nested else _LONG
    return st.sampled_from(_SHORT * 5 + lengths)


def _cycled(few: list[Any], length: int) -> list[Any]:
    """Return ``few`` over and over: a long list with duplicates, shorter where it would be too much."""
    size_bytes = sum(one.ByteSize() if isinstance(one, Message) else len(str(one)) for one in few)
    most = max(len(few), len(few) * _MAX_LIST_BYTES // max(size_bytes, 1))
    return list(itertools.islice(itertools.cycle(few), min(length, most)))


def _singles(field: FieldDescriptor, words: Words, *, long: bool) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        return requests(field.message_type, words, long=long)
    if field.enum_type is not None:
        known = [value.number for value in field.enum_type.values]
        return st.sampled_from(known) | st.sampled_from([max(known) + 1, -1, (1 << 31) - 1])
    if field.cpp_type in _FLOATS:
        return st.floats(0, 1) | st.sampled_from([0.9, 0.95, 3.0]) | st.floats()
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return st.booleans()
    if field.cpp_type in _BITS:
        least, most = _BITS[field.cpp_type]
        return (
            st.integers(0, 20)
            | st.sampled_from([1000, 1001, least, most])
            | st.integers(least, most)
        )
    return _texts(field, words)


def _texts(field: FieldDescriptor, words: Words) -> st.SearchStrategy[str]:
    likely = st.sampled_from(words.likely_in(field.name))
    anything = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    return likely | likely | likely | st.sampled_from(_ODD_TEXTS + _HUGE_TEXTS) | anything
