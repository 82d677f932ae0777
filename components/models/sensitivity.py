"""How much worse a model gets when a part of it alone is quantized: the mean increase of its loss on rows of tokens.

Formats: ``rtn2`` to ``rtn8`` are integers rounded to nearest (``components.models.precision``); ``nf4`` and ``llm_int8`` are
bitsandbytes', as the quantize stage stores them (LLM.int8() also rounds the activations).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from components.models.precision import nf4, packs_4bit, rounded, with_weight

Format = Literal["rtn2", "rtn3", "rtn4", "rtn8", "nf4", "llm_int8"]
_ROWS = 16
"""Rows of one forward pass."""


@dataclass(frozen=True)
class TokenRow:
    """One row to measure the loss on.

    Attributes:
        ids: all tokens.
        scored: whether a token's loss counts; the first token never does.
    """

    ids: Sequence[int]
    scored: Sequence[bool]


def row_losses(model: Any, rows: Sequence[TokenRow]) -> list[float]:
    """Mean cross-entropy of each row's scored tokens, nats a token; the model is left in evaluation mode."""
    import torch

    model.eval()
    losses: list[float] = []
    for start in range(0, len(rows), _ROWS):
        batch = rows[start : start + _ROWS]
        widest = max(len(row.ids) for row in batch)
        ids = torch.tensor([[*row.ids, *[0] * (widest - len(row.ids))] for row in batch], device=model.device)
        real = torch.tensor([[1] * len(row.ids) + [0] * (widest - len(row.ids)) for row in batch], device=model.device)
        with torch.no_grad():
            scores = model(input_ids=ids, attention_mask=real, use_cache=False).logits[:, :-1].float().log_softmax(-1)
        each = -scores.gather(-1, ids[:, 1:, None]).squeeze(-1).cpu()
        for row, values in zip(batch, each, strict=True):
            counted = torch.tensor([bool(flag) for flag in row.scored[1:]])
            losses.append(float(values[: len(counted)][counted].mean()))
    return losses


@contextmanager
def quantized(model: Any, names: Sequence[str], form: Format) -> Iterator[list[str]]:
    """Quantizes linear modules of a model meanwhile; yields the names of those whose widths the format can't pack.

    Args:
        names: full names of plain linear modules.
    """
    plain = {name: model.get_submodule(name) for name in names}
    left = [name for name, module in plain.items() if form == "nf4" and not packs_4bit(module)]
    try:
        for name, module in plain.items():
            if name not in left:
                model.set_submodule(name, _replaced(module, form))
        yield left
    finally:
        for name, module in plain.items():
            model.set_submodule(name, module)


def increases(
    model: Any, parts: Mapping[str, Sequence[str]], forms: Sequence[Format], rows: Sequence[TokenRow], before: Sequence[float]
) -> Iterator[dict[str, Any]]:
    """One record for each part and format: ``part, format, left_out`` and the mean increase, ``value, low, high, n``.

    The interval is the bootstrap's over rows; one row has none.

    Args:
        parts: names of linear modules that are quantized together, by the part's name.
        before: the rows' losses as the model is.
    """
    from components.statistics import bootstrap_mean

    for part, names in parts.items():
        for form in forms:
            with quantized(model, names, form) as left:
                after = row_losses(model, rows)
            risen = [a - b for a, b in zip(after, before, strict=True)]
            largest = max(*after, *before)  # a loss has no upper bound: where nothing differs, what is seen has to do
            found = bootstrap_mean(risen, (-largest, largest)) if len(risen) > 1 else None
            interval = {"low": found.low, "high": found.high} if found is not None else {"low": None, "high": None}
            yield {"part": part, "format": form, "left_out": left, "value": sum(risen) / len(risen), **interval, "n": len(risen)}


def _replaced(module: Any, form: Format) -> Any:
    from bitsandbytes.functional import dequantize_4bit

    if form == "llm_int8":
        return _llm_int8(module)
    if form == "nf4":
        return with_weight(module, dequantize_4bit(*nf4(module.weight)).to(module.weight.dtype))
    return with_weight(module, rounded(module.weight, int(form.removeprefix("rtn"))))


def _llm_int8(module: Any) -> Any:
    """The module as transformers loads it for LLM.int8()."""
    from bitsandbytes.nn import Int8Params, Linear8bitLt

    found = Linear8bitLt(module.in_features, module.out_features, module.bias is not None, has_fp16_weights=False, threshold=6.0)
    weight = module.weight.detach().clone().cpu()
    found.weight = Int8Params(weight, requires_grad=False, has_fp16_weights=False)
    found.bias = module.bias
    return found.to(module.weight.device).eval()
