"""From a job to what the decoder takes: token ids that fit, sampling, constraint and cache method. Raises ``InputError``."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from components import methods
from components.config import MethodConfig
from components.errors import InputError
from components.inference.constraints import Constraint
from components.inference.context import Fitted, Use, fit
from components.inference.local import plain
from components.inference.sampling import Sampling
from components.inference.server.messages import Job
from components.models.chat import prompt_ids

DEFAULT_TOKENS = 1024
"""Most tokens of an answer where the request names no limit."""
_WORDS_KEPT = 1000
"""Words whose tokens the tokenizer remembers. A vocabulary that doesn't divide texts into words takes each prompt for one, and
the 10,000 that ``tokenizers`` remembers would then hold 30 MB of prompts that nobody sends again."""


@dataclass(frozen=True)
class Prepared:
    """A job, ready to be decoded."""

    job: Job
    ids: list[int]
    use: Use
    sampling: Sampling
    constraint: Constraint | None
    kv: MethodConfig | None


class Preparer:
    """Renders jobs for one model. Runs beside decoding, so it has a tokenizer of its own.

    Args:
        context: tokens of the longest sequence the model was made for.
        vocabulary: number of token ids that the model knows.
    """

    def __init__(self, tokenizer: Any, context: int, vocabulary: int) -> None:
        self.tokenizer, self.context, self.vocabulary = tokenizer, context, vocabulary
        model: Any = getattr(getattr(tokenizer, "backend_tokenizer", None), "model", None)
        if hasattr(model, "_resize_cache"):  # word pieces keep none
            model._resize_cache(_WORDS_KEPT)

    def prepare(self, job: Job) -> Prepared:
        """The job with its tokens.

        Raises:
            InputError: if it doesn't fit, or asks for what there isn't.
        """
        limit = min(job.context.limit or self.context, self.context)
        fitted = self._fit(job, limit)
        given = dict(job.sampling)
        if given.get("seed") is None:
            given["seed"] = secrets.randbits(63)
        sampling = Sampling(max_new_tokens=fitted.use.answer, **given)
        return Prepared(job, fitted.ids, fitted.use, sampling, self._constraint(job), self._kv(job, fitted.use))

    def _fit(self, job: Job, limit: int) -> Fitted:
        asked = job.tokens or max(1, min(DEFAULT_TOKENS, limit // 4))
        messages, render = self._reading(job)
        fitted = fit(messages, render, limit=limit, answer=asked, policy=job.context.policy, model_context=self.context)
        if not fitted.ids:
            raise InputError("the prompt is empty; the model needs at least one token to start from")
        if job.tokens is None and fitted.use.ratio == 0:
            room = limit - len(fitted.ids)
            fitted = replace(fitted, use=replace(fitted.use, answer=min(DEFAULT_TOKENS, room)))
        return fitted

    def _reading(self, job: Job) -> tuple[list[Any], Callable[[list[Any]], list[int]]]:
        """Messages, and what makes token ids of them."""
        prompt = job.prompt
        if isinstance(prompt, list) and prompt and isinstance(prompt[0], dict):
            special = self.tokenizer.all_special_tokens
            return [_cleaned(message, special) for message in prompt], lambda messages: self._chat(messages, job)
        ids = self._text(prompt) if isinstance(prompt, str) else [i for i in prompt if isinstance(i, int)]
        if outside := next((i for i in ids if not 0 <= i < self.vocabulary), None):
            raise InputError(f"prompt has the token id {outside}; the model knows ids below {self.vocabulary}")
        return [{"role": "user", "content": ""}], lambda _: ids

    def _chat(self, messages: list[Any], job: Job) -> list[int]:
        if job.tools or any(message["role"] == "tool" or message.get("tool_calls") for message in messages):
            from components.agents import prompts

            return prompts.prompt_ids(self.tokenizer, messages, job.tools)
        from jinja2 import TemplateError

        try:
            return prompt_ids(self.tokenizer, messages)
        except (TemplateError, TypeError) as error:
            raise InputError(f"the model's chat template refuses this conversation: {str(error)[:300]}") from error

    def _text(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text)["input_ids"]
        ended = len(ids) > 1 and ids[-1] == self.tokenizer.eos_token_id and not text.endswith(self.tokenizer.eos_token)
        return ids[:-1] if ended else ids  # this tokenizer ends every text

    def _constraint(self, job: Job) -> Constraint | None:
        kind = (job.format or {}).get("type", "text")
        if job.forced:
            from components.agents.grammar import call_grammar

            return Constraint.lark(self.tokenizer, call_grammar(self.tokenizer, job.tools, job.parallel))
        if kind == "text":
            return None
        if kind == "json_object":
            return Constraint.json_object(self.tokenizer)
        return Constraint.json_schema(self.tokenizer, (job.format or {})["json_schema"].get("schema") or {})

    def _kv(self, job: Job, use: Use) -> MethodConfig | None:
        given = dict(job.kv or {})
        if use.ratio > 0:
            given = {"method": "expected_attention"} | given | {"ratio": use.ratio}
        if not given:
            return None
        from pydantic import ValidationError

        method = methods.load("kv", str(given.get("method", "expected_attention")))
        try:
            config: MethodConfig = method.Config.model_validate(given)
        except ValidationError as error:
            first = error.errors()[0]
            raise InputError(f"lapidar.kv.{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
        return config


def _cleaned(message: dict[str, Any], special: list[str]) -> dict[str, Any]:
    """A message in which no special token stands, wherever its sender can write text."""
    return {key: _plain(value, special) for key, value in message.items()}


def _plain(value: Any, special: list[str]) -> Any:
    if isinstance(value, str):
        return plain(value, special)
    if isinstance(value, dict):
        return {key: _plain(inner, special) for key, inner in value.items()}
    return [_plain(inner, special) for inner in value] if isinstance(value, list) else value
