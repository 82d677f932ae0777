"""Our engine as a model of lm-evaluation-harness 0.4: every task that runs there runs on the engine.

Prompts are rendered by ``components.models.chat``, the path of training and chat. Answers are strings that also carry
whether they were truncated, which the harness itself doesn't report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from components.errors import InputError
from components.inference.encoding import PairEncoder
from components.inference.engine import BATCH_TOKENS, Engine
from components.inference.sampling import Sampling
from components.models.chat import prompt_text, template_hash

DEFAULT_NEW_TOKENS = 256  # the harness's own default
_LIMITS = ("max_gen_toks", "max_new_tokens", "max_tokens")
_FILTERS: dict[str, type] = {"temperature": float, "top_p": float, "top_k": int, "min_p": float, "repetition_penalty": float}
_KNOWN = {"until", "do_sample", *_FILTERS, *_LIMITS}


class Answer(str):
    """A generated text.

    Attributes:
        truncated: whether the token limit or the context cut it.
    """

    truncated: bool

    def __new__(cls, text: str, truncated: bool) -> Answer:
        """A text with its flag."""
        answer = super().__new__(cls, text)
        answer.truncated = truncated
        return answer


class EngineLM(TemplateLM):  # type: ignore[misc]
    """The harness's model interface over an engine.

    Args:
        seed: of the draws where a task samples.
        chat: whether prompts come rendered by the chat template, which then writes all special tokens itself.
    """

    def __init__(self, engine: Engine, *, seed: int = 0, chat: bool = True, batch_tokens: int = BATCH_TOKENS) -> None:
        super().__init__()
        self.engine = engine
        self.tokenizer = engine.tokenizer
        self.seed = seed
        self.chat = chat
        self.batch_tokens = batch_tokens

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """What a text without a context starts from."""
        bos = self.tokenizer.bos_token_id
        return self.eot_token_id if bos is None else int(bos)

    @property
    def tokenizer_name(self) -> str:
        """Fingerprint for the harness's request cache."""
        return f"{self.tokenizer.name_or_path.replace('/', '__')}__{template_hash(self.tokenizer)[:16]}"

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The model's one template, if the harness asks with ``True``.

        Raises:
            InputError: if a template is asked for by name.
        """
        if isinstance(chat_template, str):
            raise InputError(f"no chat template {chat_template!r}: a model has one template, in its own folder")
        return str(self.tokenizer.chat_template) if chat_template else None

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Messages as the prompt's text; without a generation prompt the last message is one to be continued."""
        if add_generation_prompt:
            return prompt_text(self.tokenizer, chat_history)
        text: str = self.tokenizer.apply_chat_template(chat_history, tokenize=False, continue_final_message=True)
        return text

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """Token ids; special tokens are added unless the text comes from the chat template."""
        special = not self.chat if add_special_tokens is None else add_special_tokens
        ids: list[int] = self.tokenizer.encode(string, add_special_tokens=special)
        return ids

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Log-probabilities of continuations; each context is encoded once, whatever the number of its continuations."""
        pairs = self._pairs([request.args for request in requests])
        return self.engine.loglikelihood(pairs, batch_tokens=self.batch_tokens)

    def _pairs(self, texts: Sequence[tuple[str, str]]) -> list[tuple[list[int], list[int]]]:
        """(context ids, continuation ids), split where the context's own tokens end if they begin the whole's.

        A context's trailing blanks belong to the continuation, as everywhere in the harness.
        """
        encoder = PairEncoder(self.tokenizer, special=not self.chat)
        found: list[tuple[list[int], list[int]]] = [([], [])] * len(texts)
        again = []
        groups: dict[str, list[int]] = {}
        for i, (context, rest) in enumerate(texts):
            if not context:
                found[i] = self._without_context(rest)
            elif self.chat or context == context.rstrip():
                groups.setdefault(context, []).append(i)
            else:
                again.append(i)
        contexts = list(groups)
        starts = encoder.contexts(contexts)
        wholes = encoder.wholes(contexts, starts, [[texts[i][1] for i in groups[context]] for context in contexts])
        for start, mine, theirs in zip(starts, groups.values(), wholes, strict=True):
            for i, whole in zip(mine, theirs, strict=True):
                if self.chat and not (whole[: len(start)] == start and len(whole) > len(start)):
                    again.append(i)
                else:
                    found[i] = (start, whole[len(start) :])
        for i in again:
            found[i] = self._encode_pair(*texts[i])
        return found

    def _without_context(self, text: str) -> tuple[list[int], list[int]]:
        """A text that starts from the prefix token, its own if it brings one."""
        ids = self.tok_encode(text, add_special_tokens=False)
        return (ids[:1], ids[1:]) if ids[0] == self.prefix_token_id else ([self.prefix_token_id], ids)

    def _loglikelihood_tokens(
        self, requests: list[tuple[tuple[str, str], list[int], list[int]]], **kwargs: Any
    ) -> list[tuple[float, bool]]:
        pairs = [(context, continuation) for _, context, continuation in requests]
        return self.engine.loglikelihood(pairs, batch_tokens=self.batch_tokens)

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Summed log-probability of whole texts, in windows of the model's context."""
        pairs, owners = [], []
        for owner, request in enumerate(requests):
            ids = self.tok_encode(request.args[0], add_special_tokens=False)
            for window in get_rolling_token_windows(ids, self.prefix_token_id, self.engine.context, 1):
                pairs.append(make_disjoint_window(window))
                owners.append(owner)
        sums = [0.0] * len(requests)
        for owner, (value, _) in zip(owners, self.engine.loglikelihood(pairs, batch_tokens=self.batch_tokens), strict=True):
            sums[owner] += value
        return sums

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Answers, of class ``Answer``; requests with the same settings and prompt are samples of one."""
        answers: list[str] = [""] * len(requests)
        settings = [request_settings(request.args[1], self.seed) for request in requests]
        contexts = [str(request.args[0]) for request in requests]
        ids = dict(
            zip(
                dict.fromkeys(contexts),
                PairEncoder(self.tokenizer, not self.chat).contexts(list(dict.fromkeys(contexts))),
                strict=True,
            )
        )
        # Repeats of a prompt are samples of one request: read once, and drawn apart by their number.
        same: dict[Sampling, dict[str, list[int]]] = {setting: {} for setting in settings}
        for i, (setting, context) in enumerate(zip(settings, contexts, strict=True)):
            same[setting].setdefault(context, []).append(i)
        asked = [
            (context, setting if len(mine) == setting.n else replace(setting, n=len(mine)), position, mine)
            for setting, chosen in same.items()
            for position, (context, mine) in enumerate(chosen.items())
        ]
        completions = self.engine.generate(
            [ids[context] for context, _, _, _ in asked],
            [sampling for _, sampling, _, _ in asked],
            positions=[position for _, _, position, _ in asked],
            batch_tokens=self.batch_tokens,
        )
        for i, completion in zip((i for _, _, _, mine in asked for i in mine), completions, strict=True):
            answers[i] = Answer(completion.text, completion.finish == "length")
        return answers


def request_settings(kwargs: dict[str, Any], seed: int = 0) -> Sampling:
    """A task's ``generation_kwargs``.

    Raises:
        InputError: if the task asks for something that the engine doesn't have.
    """
    if unknown := kwargs.keys() - _KNOWN:
        raise InputError(
            f"generation_kwargs {', '.join(sorted(unknown))} unknown to the engine; it knows {', '.join(sorted(_KNOWN))}"
        )
    until = kwargs.get("until") or []
    stop = (until,) if isinstance(until, str) else tuple(s for s in until if s)
    limit = next((int(kwargs[name]) for name in _LIMITS if name in kwargs), DEFAULT_NEW_TOKENS)
    filters = {name: kind(kwargs[name]) for name, kind in _FILTERS.items() if kwargs.get(name) is not None}
    if not kwargs.get("do_sample", True):
        filters["temperature"] = 0.0
    return Sampling(max_new_tokens=limit, stop=stop, seed=seed, **filters)
