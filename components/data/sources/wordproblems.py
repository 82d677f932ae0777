r"""Built-in templated word problems: one addition or subtraction each, all numbers from 0 to ``max_number``.

A share of the operand pairs is held out: such a pair stands in no training split, not as a problem, not as a plain
sum, not in a wrong answer, and for addition not the other way round. Held-out problems are half of *seen* pairs in
new words, half of *unseen* pairs, so that memory doesn't pass for skill. Samples::

    corpus      {"text": "Question: Tom has 23 apples and buys 14 more. How many apples does Tom have now?\nAnswer:
                23 + 14 = 37. The answer is 37."}   or   {"text": "If you add 14 to 23, you get 37."}
    sft         {"prompt": "Tom has 23 apples …?", "completion": "23 + 14 = 37. The answer is 37."}   or   "23 + 14 = 37."
    preference  {"prompt": "…", "chosen": "23 + 14 = 37. The answer is 37.", "rejected": "23 + 14 = 47. The answer is 47."}
    prompts     {"prompt": "…", "answer": "37"}
    heldout     {"prompt": "…", "answer": "37", "group": "unseen"}

People don't always state the answer that they worked out. Whoever solved the subtractions stops at the difference in the
share ``terse`` of the solutions, in the corpus and in the SFT pairs; preference pairs and the verifiable reward ask for the
answer. So there is a habit to unlearn, and the share of unparsed answers shows it.

Every row but a corpus one has ``operands`` as well: ``[23, "+", 14]``.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field

from components.data import records
from components.data.sources._base import SourceConfig
from components.data.sources._wordproblem_texts import FACTS, NAMES, OBJECTS, PROBLEMS
from components.errors import InputError
from components.settings import Settings

_TRIES = 200


class Config(SourceConfig):
    """Sizes and difficulty.

    Attributes:
        corpus: rows of pre-training text, of which the share ``facts`` are plain sums and the rest worked problems.
        sft, preference, prompts: rows of the training splits.
        heldout: evaluation problems of seen pairs, and as many of unseen ones.
        max_number: largest operand and largest answer.
        unseen: share of the operand pairs that is kept out of training.
        terse: share of the solved subtractions, in corpus and SFT pairs, that don't end with "The answer is N."
    """

    method: Literal["wordproblems"] = "wordproblems"
    seed: int = Field(0, ge=0, lt=2**32)
    corpus: int = Field(40_000, ge=1)
    facts: float = Field(0.25, ge=0, le=1)
    sft: int = Field(3_000, ge=1)
    preference: int = Field(2_000, ge=1)
    prompts: int = Field(2_000, ge=1)
    heldout: int = Field(300, ge=1)
    max_number: int = Field(99, ge=5, le=999)
    unseen: float = Field(0.1, gt=0, lt=1)
    terse: float = Field(0.0, ge=0, le=1)


class Pair(NamedTuple):
    """Two operands and what is done with them."""

    a: int
    sign: str
    b: int

    @property
    def result(self) -> int:
        """The answer."""
        return self.a + self.b if self.sign == "+" else self.a - self.b

    @property
    def key(self) -> Pair:
        """The same pair for both orders of a sum."""
        return Pair(max(self.a, self.b), "+", min(self.a, self.b)) if self.sign == "+" else self


@dataclass
class Maker:
    """Draws problems; no text and no problem of one split comes again in that split, nor in the held-out one."""

    random: random.Random
    config: Config
    trained: list[Pair]
    unseen: frozenset[Pair]
    used: set[str] = field(default_factory=set)
    seen: set[Pair] = field(default_factory=set)

    def problem(self, pairs: list[Pair], taken: set[str]) -> tuple[str, Pair]:
        """A problem whose text isn't among ``taken``, which it joins."""
        for _ in range(_TRIES):
            pair = self.random.choice(pairs)
            text = _filled(self.random, pair)
            if text not in taken:
                taken.add(text)
                return text, pair
        raise InputError(
            f"data.max_number={self.config.max_number} gives too few different problems for the sizes asked; "
            "raise max_number or lower the sizes"
        )

    def split(self, rows: int) -> Iterator[tuple[str, Pair]]:
        """Problems of a training split."""
        taken: set[str] = set()
        for _ in range(rows):
            text, pair = self.problem(self.trained, taken)
            self.seen.add(pair.key)
            yield text, pair
        self.used |= taken

    def solution(self, pair: Pair) -> str:
        """The worked sum, with the answer stated or not, as its annotator is used to."""
        terse = pair.sign == "-" and self.random.random() < self.config.terse
        return self._unfinished(pair) if terse else _worked(pair)

    def wrong(self, pair: Pair) -> str:
        """A plausible wrong worked answer that holds no unseen pair."""
        kinds = [self._slip, self._operation, self._ten, self._unfinished]
        self.random.shuffle(kinds)
        return next(answer for kind in kinds if (answer := kind(pair)) is not None)

    def _slip(self, pair: Pair) -> str | None:
        """One operand copied wrong by one or by ten."""
        other = Pair(pair.a, pair.sign, pair.b + self.random.choice((-10, -1, 1, 10)))
        if other.b < 0 or not 0 <= other.result <= self.config.max_number or other.key in self.unseen:
            return None
        return _worked(other)

    def _operation(self, pair: Pair) -> str | None:
        """The other operation."""
        other = Pair(pair.a, "-" if pair.sign == "+" else "+", pair.b)
        fits = 0 <= other.result <= self.config.max_number and other.result != pair.result
        return _worked(other) if fits and other.key not in self.unseen else None

    def _ten(self, pair: Pair) -> str | None:
        """A lost or added carry: ten too few or too many."""
        wrong = pair.result + self.random.choice((-10, 10))
        return f"{pair.a} {pair.sign} {pair.b} = {wrong}. The answer is {wrong}." if wrong >= 0 else None

    def _unfinished(self, pair: Pair) -> str:
        """The right sum, but no final answer."""
        return f"{pair.a} {pair.sign} {pair.b} = {pair.result}."


def build(config: Config, out: Path, settings: Settings) -> None:
    """Writes all five splits."""
    trained, unseen = _pairs(config)
    maker = Maker(random.Random(f"{config.seed} rows"), config, trained, frozenset(unseen))
    records.write(out / "corpus.jsonl", _corpus(maker))
    records.write(
        out / "sft.jsonl", ({"prompt": t, "completion": maker.solution(p), "operands": list(p)} for t, p in maker.split(config.sft))
    )
    records.write(
        out / "preference.jsonl",
        (
            {"prompt": t, "chosen": _worked(p), "rejected": maker.wrong(p), "operands": list(p)}
            for t, p in maker.split(config.preference)
        ),
    )
    records.write(out / "prompts.jsonl", (_asked(t, p) for t, p in maker.split(config.prompts)))
    records.write(out / "heldout.jsonl", _heldout(maker, unseen))


def _pairs(config: Config) -> tuple[list[Pair], list[Pair]]:
    """(pairs to train on, pairs held out): the same share of sums and of differences."""
    top = config.max_number
    sums = [Pair(a, "+", b) for a in range(top + 1) for b in range(min(a, top - a) + 1)]
    differences = [Pair(a, "-", b) for a in range(top + 1) for b in range(a + 1)]
    draw = random.Random(f"{config.seed} pairs")
    trained: list[Pair] = []
    unseen: list[Pair] = []
    for pairs in (sums, differences):
        draw.shuffle(pairs)
        cut = max(1, round(len(pairs) * config.unseen))
        if cut == len(pairs):
            raise InputError(
                f"data.unseen={config.unseen} holds out all {cut} sums or differences that data.max_number={top} allows; lower "
                "unseen or raise max_number"
            )
        unseen += pairs[:cut]
        trained += pairs[cut:]
    return _both_orders(trained), unseen


def _both_orders(pairs: list[Pair]) -> list[Pair]:
    return pairs + [Pair(b, s, a) for a, s, b in pairs if s == "+" and a != b]


def _corpus(maker: Maker) -> Iterator[dict[str, Any]]:
    """Plain sums and worked problems, mixed."""
    facts = round(maker.config.corpus * maker.config.facts)
    is_fact = [True] * facts + [False] * (maker.config.corpus - facts)
    maker.random.shuffle(is_fact)
    problems = maker.split(maker.config.corpus - facts)
    taken: set[str] = set()
    for fact in is_fact:
        if fact:
            yield {"text": _fact(maker, taken)}
        else:
            text, pair = next(problems)
            yield {"text": f"Question: {text}\nAnswer: {maker.solution(pair)}"}
    next(problems, None)  # lets the generator finish, so that the texts count as used


def _fact(maker: Maker, taken: set[str]) -> str:
    for _ in range(_TRIES):
        pair = maker.random.choice(maker.trained)
        text = maker.random.choice(FACTS[pair.sign]).format(a=pair.a, b=pair.b, c=pair.result)
        if text not in taken:
            taken.add(text)
            maker.seen.add(pair.key)
            return text
    raise InputError(f"data.facts={maker.config.facts} asks for more plain sums than there are; lower facts or corpus")


def _heldout(maker: Maker, unseen: list[Pair]) -> Iterator[dict[str, Any]]:
    """Problems of pairs that were trained on, in new words, and of pairs that weren't."""
    groups = {"seen": [p for p in maker.trained if p.key in maker.seen], "unseen": _both_orders(unseen)}
    for group, pairs in groups.items():
        for _ in range(maker.config.heldout):
            text, pair = maker.problem(pairs, maker.used)
            yield {**_asked(text, pair), "group": group}


def _asked(text: str, pair: Pair) -> dict[str, Any]:
    return {"prompt": text, "answer": str(pair.result), "operands": list(pair)}


def _worked(pair: Pair) -> str:
    return f"{pair.a} {pair.sign} {pair.b} = {pair.result}. The answer is {pair.result}."


def _filled(draw: random.Random, pair: Pair) -> str:
    """A problem in words; "1 apple" but "2 apples"."""
    name, other = draw.sample(NAMES, 2)
    things = draw.choice(OBJECTS)
    first, second = (f"{n} {things[:-1] if n == 1 else things}" for n in (pair.a, pair.b))
    template = draw.choice(PROBLEMS[pair.sign])
    return template.format(name=name, other=other, a=pair.a, b=pair.b, first=first, second=second, things=things)
