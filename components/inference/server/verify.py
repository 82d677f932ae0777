"""The parity chain's last link: what a running server answers is what the registered weights answer, token for token.

Greedy tokens and their log-probabilities from the server are held against transformers' own, computed here from the registry's
files with neither our engine nor our server; and a chat's prompt against the chat template's tokens, as in training::

    {"identical_tokens": true, "same_prompts": true, "max_logprob_difference": 1e-6, "prompts": 4, "ok": true}
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from components.artifacts import ModelRef
from components.errors import LapidarError

TOLERANCE = 1e-3
"""Of a log-probability, in nats: the engine sums in another order than transformers."""


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
    from components.models.probes import FIXED

    own, tokenizer = load_model(ref)
    choose_template(tokenizer, "auto")
    same, prompts, difference = True, True, 0.0
    for text in FIXED:
        messages = [{"role": "user", "content": text}]
        body = {"messages": messages, "temperature": 0, "max_tokens": answer_tokens, "logprobs": True, "return_token_ids": True}
        found = _ask(url, token, {"model": model, **body})
        choice, ids = found["choices"][0], prompt_ids(tokenizer, messages)
        expected, values = _greedy(own, ids, answer_tokens)
        prompts = prompts and found["prompt_token_ids"] == ids
        same = same and choice["token_ids"] == expected
        difference = max(difference, _largest([entry["logprob"] for entry in choice["logprobs"]["content"]], values))
    ok = same and prompts and difference <= TOLERANCE
    return {
        "identical_tokens": same,
        "same_prompts": prompts,
        "max_logprob_difference": difference,
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
    """The answer of transformers itself, and its log-probabilities."""
    import torch

    with torch.no_grad():
        whole = model.generate(torch.tensor([ids], device=model.device), max_new_tokens=count, do_sample=False, pad_token_id=0)
        values = model(whole).logits[0, len(ids) - 1 : -1].float().log_softmax(-1)
    answer: list[int] = whole[0, len(ids) :].tolist()
    return answer, [float(values[i, token]) for i, token in enumerate(answer)]


def _largest(first: Sequence[float], second: Sequence[float]) -> float:
    pairs = list(zip(first, second, strict=False))
    return max((abs(a - b) for a, b in pairs), default=0.0)
