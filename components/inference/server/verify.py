"""The parity chain's last link: what a running server answers is what the registered weights answer, token for token.

Greedy tokens and their log-probabilities from the server are held against transformers' own, computed here from the registry's
files with neither our engine nor our server; and a chat's prompt against the chat template's tokens, as in training::

    {"identical_tokens": true, "same_prompts": true, "max_logprob_difference": 1e-6, "tolerance": 1e-3, "prompts": 4, "ok": true}

A model that rounds its activations answers its own prompts in other words where they stand in another batch, in transformers too:
its answers are held to what transformers' two ways of computing one (with a cache, and whole) differ by on them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from components.artifacts import ModelRef
from components.errors import LapidarError

TOLERANCE = 1e-3
"""Of a log-probability, in nats: the engine sums in another order than transformers."""
_MARGIN = 2.0
"""So many times what transformers differs from itself, for a model that rounds its activations."""


def verify(url: str, model: str, ref: ModelRef, token: str | None = None, answer_tokens: int = 16) -> dict[str, Any]:
    """Compares a running server with the weights that it should serve.

    Args:
        url: base URL of the server, with ``/v1``.
        model: the model's name there.
        ref: its files.

    Raises:
        LapidarError: if the server doesn't answer, or serves other files.
    """
    from components.models.chat import choose_template, prompt_ids
    from components.models.load import load_model
    from components.models.precision import rounds_activations
    from components.models.probes import FIXED

    own, tokenizer = load_model(ref)
    choose_template(tokenizer, "auto")
    rounds = rounds_activations(own)
    same, prompts, difference, spread, behind = True, True, 0.0, 0.0, 0.0
    for text in FIXED:
        messages = [{"role": "user", "content": text}]
        body = {"messages": messages, "temperature": 0, "max_tokens": answer_tokens, "logprobs": True, "return_token_ids": True}
        found = _ask(url, token, {"model": model, **body})
        choice, ids = found["choices"][0], prompt_ids(tokenizer, messages)
        answer = choice["token_ids"]
        prompts = prompts and found["prompt_token_ids"] == ids
        expected, stepwise = _greedy(own, ids, answer_tokens)
        same = same and answer == expected
        values, least = _scores(own, ids, answer)
        difference = max(difference, _largest([entry["logprob"] for entry in choice["logprobs"]["content"]], values))
        behind = max(behind, least)
        if rounds:
            spread = max(spread, _largest(stepwise, _scores(own, ids, expected)[0]))
        if len(answer) != len(expected) and choice["finish_reason"] == "length" and len(answer) < answer_tokens:
            behind = math.inf  # cut short, which no rounding explains
    tolerance = max(TOLERANCE, _MARGIN * spread) if rounds else TOLERANCE
    ok = prompts and difference <= tolerance and (same or (rounds and behind <= tolerance))
    return {
        "identical_tokens": same,
        "same_prompts": prompts,
        "max_logprob_difference": difference,
        "tolerance": tolerance,
        "rounds_activations": rounds,
        "prompts": len(FIXED),
        "ok": ok,
    }


def _ask(url: str, token: str | None, body: dict[str, Any]) -> dict[str, Any]:
    import httpx

    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        response = httpx.post(f"{url}/chat/completions", json=body, headers=headers, timeout=300)
    except httpx.HTTPError as error:
        raise LapidarError(f"no server answers at {url} ({type(error).__name__}); start it with `lapidar up`") from error
    if response.status_code != 200:
        raise LapidarError(f"{url} answers {response.status_code}: {response.text[:500]}")
    found: dict[str, Any] = response.json()
    return found


def _greedy(model: Any, ids: list[int], count: int) -> tuple[list[int], list[float]]:
    """The answer of transformers itself, and the log-probabilities of its tokens as they came, one after the other."""
    import torch

    with torch.no_grad():
        found = model.generate(
            torch.tensor([ids], device=model.device),
            max_new_tokens=count,
            do_sample=False,
            pad_token_id=0,
            output_logits=True,
            return_dict_in_generate=True,
        )
    answer: list[int] = found.sequences[0, len(ids) :].tolist()
    values = torch.stack(found.logits)[:, 0].float().log_softmax(-1)
    return answer, [float(values[i, token]) for i, token in enumerate(answer)]


def _scores(model: Any, ids: list[int], answer: list[int]) -> tuple[list[float], float]:
    """(log-probabilities of an answer's tokens, by how much the least greedy of them is behind the most probable one)."""
    values = _whole(model, ids, answer)
    chosen = [float(values[i, token]) for i, token in enumerate(answer)]
    best = values.amax(-1).tolist()
    return chosen, max((most - value for most, value in zip(best, chosen, strict=True)), default=0.0)


def _whole(model: Any, ids: list[int], answer: list[int]) -> Any:
    """Log-probabilities in front of each token of the answer, shape [tokens, vocabulary]."""
    import torch

    with torch.no_grad():
        logits = model(torch.tensor([[*ids, *answer]], device=model.device)).logits
    return logits[0, len(ids) - 1 : -1].float().log_softmax(-1)


def _largest(first: Sequence[float], second: Sequence[float]) -> float:
    """Infinite where values are missing."""
    if len(first) != len(second):
        return math.inf
    return max((abs(a - b) for a, b in zip(first, second, strict=True)), default=0.0)
