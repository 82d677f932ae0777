r"""Held-out story prompts: how often a story does what was asked, each demand as a rate of its own.

``required_word``: it holds the words that the prompt asks for; ``ends_sentence``: it ended by itself, at a sentence's end;
``four_sentences``: at least four finished ones; ``all``: the three together. Sample item::

    {"id": "h1", "prompt": "Write a story with the word \"dog\".", "answer": "dog", "words": ["dog"]}
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from components.artifacts import Inputs
from components.benchmarks._task import GenerationConfig, Scores, generation_task
from components.data.records import Record
from components.errors import InputError
from components.text import ends_sentence, holds_word, sentence_count

METRICS = ("required_word", "ends_sentence", "four_sentences", "all")


class Config(GenerationConfig):
    """Sampled stories by default: a small model's greedy stories are nearly the same for every prompt."""

    method: Literal["stories"] = "stories"
    max_new_tokens: int = Field(200, ge=1)
    temperature: float = Field(0.8, ge=0)


def task(config: Config, inputs: Inputs, tokenizer: Any) -> dict[str, Any]:
    """The harness's task config."""
    return generation_task(config, inputs, score, METRICS, words=[])


def score(row: Record, answer: str) -> Scores:
    """The four rates of one story; ``answer`` is of class ``Answer``, and a truncated one didn't end by itself.

    >>> score({"words": ["dog"]}, "Tim had a dog. It ran.")
    {'required_word': 1.0, 'ends_sentence': 1.0, 'four_sentences': 0.0, 'all': 0.0, 'parsed': 1.0}

    Raises:
        InputError: if the row asks for no word.
    """
    if not row["words"]:
        raise InputError(f"held-out row {row.get('id')!r} has no 'words'; the stories benchmark needs the words that it asks for")
    found = {
        "required_word": all(holds_word(answer, word) for word in row["words"]),
        "ends_sentence": ends_sentence(answer) and not getattr(answer, "truncated", False),
        "four_sentences": sentence_count(answer) >= 4,
    }
    return {**{name: float(value) for name, value in found.items()}, "all": float(all(found.values())), "parsed": 1.0}
