"""Contexts with continuations get the token ids of the whole text."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from components.inference import encoding
from components.inference.encoding import PairEncoder

PIECES = [
    "Tom",
    " has",
    " 3",
    "12",
    " apples",
    "\n",
    "\n\n",
    "  ",
    ":",
    "=",
    "==",
    "é",
    "☃",
    "Answer:",
    ".",
    "aaaa",
    " A",
    "'s",
    "\t",
]


def texts(seed: int, count: int) -> list[str]:
    draw = random.Random(seed)
    return ["".join(draw.choices(PIECES, k=draw.randint(1, 60))) for _ in range(count)]


@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize("name", ["tiny_llama", "stories260k"])
def test_ids_are_those_of_the_whole_text(name: str, special: bool, request: pytest.FixtureRequest) -> None:
    from transformers import AutoTokenizer

    folder: Path = request.getfixturevalue(name)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    encoder = PairEncoder(tokenizer, special)
    contexts = texts(1, 150)
    continuations = [[*texts(i, 3), " A", "a", ""] for i in range(150)]
    ids = encoder.contexts(contexts)
    assert ids == [tokenizer.encode(text, add_special_tokens=special) for text in contexts]
    for context, mine, found in zip(contexts, continuations, encoder.wholes(contexts, ids, continuations), strict=True):
        assert found == [tokenizer.encode(context + rest, add_special_tokens=special) for rest in mine]


def test_only_the_end_is_encoded_again(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoTokenizer

    encoder = PairEncoder(AutoTokenizer.from_pretrained(tiny_llama), special=False)
    context = "Tom has 3 apples and buys 4. How many are there now? " * 20 + "Answer:"
    ids = encoder.contexts([context])
    lengths: list[int] = []
    plain = encoder._encode
    monkeypatch.setattr(encoder, "_encode", lambda texts, special: lengths.extend(map(len, texts)) or plain(texts, special))
    encoder.wholes([context], ids, [[f" {letter}" for letter in "ABCDEFGHIJ"]])
    assert max(lengths) < encoding._TAIL + 30
