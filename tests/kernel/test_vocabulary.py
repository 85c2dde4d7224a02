"""Ids and rows, against a plain dict."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ilk import vocabulary
from ilk.errors import BundleCorrupt
from ilk.vocabulary import StringColumn, Vocabulary

AWKWARD = [
    "",
    " ",
    "two words",
    "a\tb\n",
    "nul\x00inside",
    "\u00e9",
    "e\u0301",
    "🎬",
    "👩‍👩‍👧",
    "0",
    "00",
]
quick = settings(deadline=None, max_examples=100)
id_lists = st.lists(st.text(max_size=12), unique=True, max_size=30)


@pytest.fixture(scope="module", params=[0, 200_000], ids=["mapped", "held"], autouse=True)
def held_in_memory(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test runs on vocabularies that are searched where they are mapped, and on held ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ilk.vocabulary._HELD_IN_MEMORY", request.param)
        yield


def reread(vocabulary_: Vocabulary) -> Vocabulary:
    """Return the vocabulary as a bundle gives it back: from copies that cannot be written."""
    arrays = {name: array.copy() for name, array in vocabulary_.arrays().items()}
    for array in arrays.values():
        array.flags.writeable = False
    return Vocabulary.from_arrays(arrays)


@quick
@given(id_lists, st.lists(st.text(max_size=12)))
def test_a_vocabulary_answers_as_a_dict_does(ids: list[str], asked: list[str]) -> None:
    rows = {external_id: row for row, external_id in enumerate(ids)}
    held = reread(Vocabulary.of(ids))
    assert len(held) == len(ids)
    assert [held.id_of(row) for row in range(len(ids))] == held.ids.to_list() == ids
    found = held.rows_of(ids + asked)
    assert found.dtype == np.int64
    assert found.tolist() == [rows.get(i, -1) for i in ids + asked]


def test_ids_of_any_characters_are_told_apart() -> None:
    held = reread(Vocabulary.of(AWKWARD))
    assert [held.row_of(i) for i in AWKWARD] == list(range(len(AWKWARD)))
    assert [held.id_of(row) for row in range(len(AWKWARD))] == AWKWARD


@pytest.mark.parametrize("stranger", ["two word", "two words ", "TWO WORDS", "words", "000", "é "])
def test_an_id_that_is_only_like_one_held_is_unknown(stranger: str) -> None:
    assert Vocabulary.of(AWKWARD).row_of(stranger) == -1


def test_an_empty_vocabulary_knows_nobody() -> None:
    nobody = reread(Vocabulary.of([]))
    assert (len(nobody), nobody.ids.to_list(), nobody.row_of("a")) == (0, [], -1)
    assert nobody.rows_of([]).shape == (0,)


@pytest.mark.parametrize(
    "colliding",
    [
        lambda _: 0,
        lambda _: 2**64 - 1,
        lambda encoded: len(encoded) % 2,
        lambda encoded: encoded[0],
    ],
    ids=["all-lowest", "all-highest", "two-values", "by-first-byte"],
)
def test_ids_with_one_hash_are_told_apart_by_their_bytes(
    colliding: Callable[[bytes], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vocabulary, "_hash", colliding)
    ids = [f"{letter}{n}" for n in range(12) for letter in "zay"]
    held = reread(Vocabulary.of(ids))
    assert [held.row_of(i) for i in ids] == list(range(len(ids)))
    assert held.rows_of(["a", "z12", "b0"]).tolist() == [-1, -1, -1]


def test_an_id_that_is_no_unicode_text_is_unknown() -> None:
    # A lone surrogate, as os.fsdecode makes of bytes that are not UTF-8.
    assert Vocabulary.of(["a"]).row_of("\udcff") == -1


@pytest.mark.parametrize("offsets", [[], [0, 2], [1, 3], [0]])
def test_offsets_that_do_not_span_the_text_are_refused(offsets: list[int]) -> None:
    with pytest.raises(BundleCorrupt, match="offsets"):
        StringColumn(np.frombuffer(b"abc", dtype=np.uint8), np.array(offsets, dtype=np.int64))


@pytest.mark.parametrize("short", ["hashes", "hash_rows"])
def test_a_vocabulary_with_fewer_hashes_than_ids_is_refused(short: str) -> None:
    arrays = Vocabulary.of(["a", "b"]).arrays()
    arrays[short] = arrays[short][:-1]
    with pytest.raises(BundleCorrupt, match="2 ids"):
        Vocabulary.from_arrays(arrays)
