"""Answers that follow a grammar: a JSON schema, a regular expression, or a Lark grammar, by masks over the next token.

The grammars are llguidance's, which reads tokens as bytes, so that any division of a text into tokens is as good as another.
A mask only takes tokens away: what remains is chosen as always, greedy or drawn.

Nothing is kept of a grammar when its answer has ended, so memory doesn't grow with their number. Grammars come with requests:
how large and how deep a schema may be is limited here, what its automaton may cost by llguidance.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from components.errors import InputError

LARGEST = 65_536
"""Characters of a JSON schema; ten times what people write, and compiled in about a second at worst."""
DEEPEST = 64
"""Levels of lists and objects in a JSON schema."""
_LARGEST_GRAMMAR = 4 * LARGEST
_LONGEST_PATTERN = 4096
_HOLDS = (dict, list)


@dataclass(frozen=True, eq=False)
class Constraint:
    """What an answer has to follow; ``state`` begins one answer.

    Attributes:
        grammar: in llguidance's own form.
    """

    tokenizer: Any
    grammar: str

    @classmethod
    def json_schema(cls, tokenizer: Any, schema: Mapping[str, Any]) -> Constraint:
        """JSON that a schema admits, without blanks between its parts.

        Raises:
            InputError: if it is no JSON schema, too large or too deep, admits nothing, or uses what can't be enforced; says what.
        """
        from llguidance import LLMatcher

        try:
            text = _text(schema)
            grammar = LLMatcher.grammar_from_json_schema(text, overrides={"whitespace_flexible": False})
        except (TypeError, ValueError) as error:
            raise InputError(f"the JSON schema can't be read: {error}") from error
        return cls(tokenizer, grammar)._checked(f"the JSON schema {text[:200]}")

    @classmethod
    def json_object(cls, tokenizer: Any) -> Constraint:
        """Any JSON object."""
        return cls.json_schema(tokenizer, {"type": "object"})

    @classmethod
    def regex(cls, tokenizer: Any, pattern: str) -> Constraint:
        """Text that a regular expression (Rust's syntax) matches as a whole.

        Raises:
            InputError: if it can't be read.
        """
        from llguidance import LLMatcher

        if len(pattern) > _LONGEST_PATTERN:
            raise InputError(f"the regular expression has {len(pattern):,} characters; {_LONGEST_PATTERN:,} is the limit")
        return cls(tokenizer, LLMatcher.grammar_from_regex(pattern))._checked(f"the regular expression {pattern[:200]!r}")

    @classmethod
    def lark(cls, tokenizer: Any, grammar: str) -> Constraint:
        """Text of a grammar in llguidance's Lark syntax.

        Raises:
            InputError: if it can't be read.
        """
        from llguidance import LLMatcher

        if len(grammar) > _LARGEST_GRAMMAR:
            raise InputError(
                f"the grammar of the answer has {len(grammar):,} characters, {_LARGEST_GRAMMAR:,} is the limit; offer fewer tools, "
                "or tools with smaller schemas"
            )
        return cls(tokenizer, LLMatcher.grammar_from_lark(grammar))._checked(f"the grammar {grammar[:200]!r}")

    def state(self, end_ids: Iterable[int]) -> State:
        """The beginning of an answer.

        Args:
            end_ids: tokens that end an answer; they are allowed where the answer may end.

        Raises:
            InputError: if no token of the model can begin an answer.
        """
        from llguidance import LLMatcher

        found = State(LLMatcher(_reader(self.tokenizer), self.grammar), frozenset(end_ids))
        if not found.allowed().any():
            raise InputError("no token of this model can begin what the answer has to follow; choose another grammar or model")
        return found

    def _checked(self, what: str) -> Constraint:
        from llguidance import LLMatcher

        if error := LLMatcher.validate_grammar(self.grammar, _reader(self.tokenizer)):
            raise InputError(f"{what} can't be enforced: {_first(error)}")
        return self


class State:
    """Where an answer is in its grammar."""

    def __init__(self, matcher: Any, end_ids: frozenset[int]) -> None:
        self._matcher = matcher
        self._end_ids = end_ids

    def allowed(self) -> np.ndarray:
        """Whether each token may come next, shape [tokenizer's vocabulary]; all False at a dead end."""
        # Bytes of 0 or 200; an end token of the model that isn't the tokenizer's own is allowed where the answer may end.
        allowed: np.ndarray = np.frombuffer(self._matcher.compute_logit_bias(), dtype=np.uint8) != 0
        allowed[[i for i in self._end_ids if i < len(allowed)]] = self._matcher.is_accepting()
        return allowed

    def mask(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits, shape [vocabulary], of which only allowed tokens stay above minus infinity; all of them at a dead end."""
        allowed = torch.from_numpy(self.allowed()).to(logits.device)[: len(logits)]
        if not allowed.any():
            return logits
        wide = allowed.new_zeros(len(logits))
        wide[: len(allowed)] = allowed
        return logits.masked_fill(~wide, float("-inf"))

    def consume(self, token: int) -> bool:
        """Takes the answer's next token; False where the answer can't be finished any more.

        At a dead end the model may choose its end token: the answer ends there without being whole.
        """
        if token in self._end_ids:
            return bool(self._matcher.is_accepting())
        return bool(self._matcher.consume_token(token))

    @property
    def complete(self) -> bool:
        """Whether the answer is whole, and nothing but its end can follow."""
        return bool(self._matcher.is_stopped() and not self._matcher.is_error())


@lru_cache(maxsize=8)
def _reader(tokenizer: Any) -> Any:
    """The tokenizer as llguidance reads it; takes about a second for a large vocabulary."""
    from llguidance.hf import from_tokenizer

    try:
        return from_tokenizer(tokenizer, n_vocab=len(tokenizer))
    except Exception as error:
        raise InputError(f"answers of {type(tokenizer).__name__} can't be constrained: {error}") from error


def _text(schema: Mapping[str, Any]) -> str:
    """A schema as JSON, within its limits; looks level by level, so that no depth exhausts the stack."""
    level: list[Any] = [schema]
    for _ in range(DEEPEST):
        level = [
            value for each in level for value in (each.values() if isinstance(each, Mapping) else each) if isinstance(value, _HOLDS)
        ]
        if not level:
            break
    else:
        raise InputError(f"the JSON schema is nested more than {DEEPEST} levels deep; flatten it, or name its parts in $defs")
    text = json.dumps(schema)
    if len(text) > LARGEST:
        raise InputError(f"the JSON schema has {len(text):,} characters, {LARGEST:,} is the limit; name parts that repeat in $defs")
    return text


def _first(error: str) -> str:
    return error.strip().splitlines()[0][:300]
