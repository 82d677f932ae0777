"""Whether each hand-over of a model kept it: trained → merged → exported, and each of them → reloaded from the registry.

A reload must give identical greedy tokens and logits within ``RELOAD_TOLERANCE``; merging must keep the function that was
trained; what export costs is measured here and judged by the gate. ``metrics.json``::

    {"ok": true, "reload": {"identical_tokens": true, "max_logit_difference": 0.0, "kl": 0.0, "top1": 1.0, "ok": true},
     "reload_merged": {…}, "reload_exported": {…}, "merged": {"kl": 1e-8, "top1": 1.0, …}, "exported": {"kl": 1e-4, …}}

``log/speed.json`` says how fast one chat with what is served was: ``{"first_token_ms": 4.1, "tokens_per_second": 210.0, …}``.
"""

from __future__ import annotations

import json
import statistics
import time
from typing import Any, Literal

from pydantic import Field

from components.artifacts import Inputs, ModelRef
from components.config import MethodConfig
from components.models.compare import Comparison
from components.stage import Stage

RELOAD_TOLERANCE = 1e-4
_TIMED_PROMPTS, _TIMED_TOKENS = 5, 16
RELOADS = {
    "reload": ("trained", "reloaded"),
    "reload_merged": ("merged", "reloaded_merged"),
    "reload_exported": ("export", "reloaded_exported"),
}


class Config(MethodConfig):
    """Size and limits of the comparison.

    Attributes:
        prompts: held-out prompts compared, besides the fixed sentences.
        continue_tokens: greedy tokens generated behind each prompt.
        max_kl, min_top1: how far the merged model may be from the trained one.
    """

    method: Literal["parity"] = "parity"
    prompts: int = Field(16, ge=1)
    continue_tokens: int = Field(16, ge=1)
    max_kl: float = Field(1e-3, ge=0)
    min_top1: float = Field(0.99, ge=0, le=1)

    def splits(self) -> tuple[str, ...]:
        """Takes its prompts from the held-out split."""
        return ("heldout",)


def run(config: Config, inputs: Inputs, stage: Stage) -> None:
    """Compares all models that were given; roles are ``trained, merged, export`` and ``reloaded…`` of each."""
    from components.models import probes
    from components.models.load import load_tokenizer

    tokenizer = load_tokenizer(inputs.models["trained"].base)
    split = inputs.data.splits.get("heldout") if inputs.data is not None else None
    file = inputs.data.file("heldout") if inputs.data is not None and split is not None else None
    rows = probes.prompts(tokenizer, file, split.kind if split is not None else "prompts", config.prompts)
    report: dict[str, Any] = {}
    for name, (first, second) in RELOADS.items():
        if first in inputs.models and second in inputs.models:
            report[name] = _reload(inputs.models[first], inputs.models[second], rows, stage.device, config)
    for name, (first, second) in {"merged": ("trained", "merged"), "exported": ("merged", "export")}.items():
        if second in inputs.models:
            report[name] = _closeness(inputs.models[first], inputs.models[second], rows, stage.device)
    if "merged" in report:
        merged = report["merged"]
        merged["ok"] = merged["ok"] and merged["kl"] <= config.max_kl and merged["top1"] >= config.min_top1
    report["ok"] = "reload" in report and all(part["ok"] for part in report.values())
    stage.save_metrics(json.loads(json.dumps(report, default=float), parse_constant=str))
    served = "export" if "export" in inputs.models else "merged"
    if served in inputs.models:
        stage.save_log("speed.json", {"served": served, **_speed(inputs.models[served], rows[: config.prompts], stage.device)})


def _reload(first: ModelRef, second: ModelRef, rows: list[list[int]], device: str, config: Config) -> dict[str, Any]:
    """Compares a model with its copy from the registry, tokenizer and chat template included."""
    compared = _compare(first, second, rows, device, config.continue_tokens)
    same_text = _rendered(first) == _rendered(second)
    return {
        "identical_tokens": compared.tokens_equal and same_text,
        "max_logit_difference": compared.max_abs,
        "kl": compared.kl,
        "top1": compared.top1,
        "ok": compared.finite and compared.tokens_equal and same_text and compared.max_abs <= RELOAD_TOLERANCE,
    }


def _closeness(first: ModelRef, second: ModelRef, rows: list[list[int]], device: str) -> dict[str, Any]:
    compared = _compare(first, second, rows, device, 0)
    return {"kl": compared.kl, "top1": compared.top1, "max_logit_difference": compared.max_abs, "ok": compared.finite}


def _compare(first: ModelRef, second: ModelRef, rows: list[list[int]], device: str, continue_tokens: int) -> Comparison:
    from components.models.compare import compare
    from components.models.load import load_model

    return compare(load_model(first, device)[0], load_model(second, device)[0], rows, continue_tokens)


def _speed(ref: ModelRef, rows: list[list[int]], device: str) -> dict[str, Any]:
    """One chat at a time through the engine that serves: median milliseconds to the first token, and tokens a second after it.

    Differs between equal runs, so it belongs below ``log/``.
    """
    from components.inference.dequantize import dequantize
    from components.inference.engine import Engine
    from components.models.load import load_model

    model, tokenizer = load_model(ref, device)
    if device == "cpu":
        dequantize(model)
    engine = Engine(model, tokenizer, device)
    fitting = [row for row in rows if len(row) + _TIMED_TOKENS < engine.context][:_TIMED_PROMPTS]
    first, rates = [], []
    for row in fitting[:1] + fitting:  # the first one warms up
        one, _ = _timed(engine, row, 1)
        whole, made = _timed(engine, row, _TIMED_TOKENS)
        first.append(one)
        rates += [(made - 1) / (whole - one)] if made > 1 and whole > one else []
    found = {"first_token_ms": round(1000 * statistics.median(first[1:]), 3)} if fitting else {}
    return found | ({"tokens_per_second": round(statistics.median(rates), 1)} if rates else {}) | {"prompts": len(fitting)}


def _timed(engine: Any, row: list[int], tokens: int) -> tuple[float, int]:
    """(seconds, tokens made) of one answer."""
    from components.inference.sampling import Sampling

    began = time.perf_counter()
    made = len(engine.generate([row], Sampling(max_new_tokens=tokens))[0].ids)
    return time.perf_counter() - began, made


def _rendered(ref: ModelRef) -> list[int]:
    """Token ids of a fixed conversation: equal only if tokenizer and chat template are."""
    from components.models.chat import prompt_ids
    from components.models.load import load_tokenizer

    return prompt_ids(load_tokenizer(ref.base), [{"role": "user", "content": "Tom has 3 apples, and then 4. How many? é ☃"}])
