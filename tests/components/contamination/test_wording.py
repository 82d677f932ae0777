import doctest
from collections import Counter

import numpy as np

from components.contamination import wording


def test_examples_in_docstrings_are_true() -> None:
    assert doctest.testmod(wording).failed == 0


def test_hashes_tell_words_apart_and_only_words() -> None:
    texts = ["Tom’s cat, tom’s CAT;\n2 cats", "猫が二匹 いる", "", "…", "naïve ½ e\u0301 ﬁne", "a" * 300]
    prepared = [wording.prepared(text) for text in texts]
    found = wording.of(prepared)
    expected = [word for text in texts for word in wording.words(text)]
    assert len(found.hashes) == len(expected)
    for i, a in enumerate(expected):
        for j, b in enumerate(expected):
            assert (found.hashes[i] == found.hashes[j]) == (a == b), (a, b)
    counts = [len(wording.words(text)) for text in texts]
    assert found.starts.tolist() == np.cumsum([0, *counts]).tolist()
    assert found.text.tolist() == [number for number, count in enumerate(counts) for _ in range(count)]


def test_runs_stay_inside_a_text_and_find_what_is_the_same() -> None:
    found = wording.of(["one two three four", "two three", "three four five"])
    hashes, first = found.runs(2)
    assert first.tolist() == [0, 1, 2, 4, 6, 7]
    same = {(a, b) for a in range(6) for b in range(a) if hashes[a] == hashes[b]}
    assert same == {(3, 1), (4, 2)}
    assert len(found.runs(9)[0]) == 0


def test_lookup_finds_all_that_is_there_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    known, others = rng.integers(0, 2**63, 5000, dtype=np.uint64), rng.integers(0, 2**63, 50_000, dtype=np.uint64)
    lookup = wording.Lookup(known)
    position, value = lookup.find(np.concatenate([others, known]))
    assert position.tolist() == list(range(50_000, 55_000))
    assert (lookup.values[value] == known).all()
    assert len(wording.Lookup(known[:0]).find(others)[0]) == 0


def test_numbers_decide_with_their_count() -> None:
    assert wording.has_numbers("She has 1,200 and 3.50", Counter(["1200", "3.5"]))
    assert not wording.has_numbers("She has 12", Counter(["1"]))
