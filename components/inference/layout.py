"""Which token of a batch attends to which, told by positions instead of by columns.

Rows of our batches hold more than one sequence: prefixes that were computed before, a question with all its choices behind
one another, slots of a decoder. transformers builds a model's masks (causal, sliding window, …) from functions over query
and key *indices*; while a ``Layout`` is active these functions get the tokens' *positions* in their own sequences, and what
belongs to another branch is left out. So every model whose masks come from ``transformers.masking_utils`` works unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, causal_mask_function
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

BLOCK = 64  # queries
NOWHERE = 1 << 30  # a position that no token reaches: padding


@dataclass(frozen=True)
class Layout:
    """Positions of a batch's tokens.

    Attributes:
        queries: shape [rows, tokens] or [1, tokens].
        keys: shape [rows, keys] or [1, keys]; ``NOWHERE`` for padding.
        allowed: shape [rows, tokens, keys], false between branches; None where all keys are a token's own.
        plain: whether columns are positions (padding only on the right) and the kernel knows causality without a mask.
    """

    queries: torch.Tensor
    keys: torch.Tensor
    allowed: torch.Tensor | None = None
    plain: bool = False


_active: ContextVar[Layout | None] = ContextVar("layout", default=None)


@contextmanager
def layout(value: Layout) -> Iterator[None]:
    """Makes masks follow ``value`` in this thread, and attention leave out what they hide."""
    _install()
    token = _active.set(value)
    try:
        yield
    finally:
        _active.reset(token)


def visible(value: Layout, dtype: torch.dtype) -> torch.Tensor:
    """What causal attention adds to its scores, shape [rows or 1, tokens, keys]."""
    seen = value.keys[:, None, :] <= value.queries[:, :, None]
    if value.allowed is not None:
        seen = seen & value.allowed
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, torch.finfo(dtype).min)


def _install() -> None:
    for name in ("sdpa", "eager"):
        if not getattr(ALL_MASK_ATTENTION_FUNCTIONS[name], "follows_layout", False):
            ALL_MASK_ATTENTION_FUNCTIONS[name] = _following(ALL_MASK_ATTENTION_FUNCTIONS[name], name)
    if not getattr(ALL_ATTENTION_FUNCTIONS["sdpa"], "follows_layout", False):
        ALL_ATTENTION_FUNCTIONS["sdpa"] = _lean(ALL_ATTENTION_FUNCTIONS["sdpa"])


def _following(original: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The library's mask function, or ours while a layout is active."""

    def mask(*args: Any, mask_function: Callable[..., Any] = causal_mask_function, dtype: Any = None, **kwargs: Any) -> Any:
        now = _active.get()
        if now is None:
            return original(*args, mask_function=mask_function, dtype=dtype, **kwargs)
        if now.plain and name == "sdpa" and mask_function is causal_mask_function:
            return None
        rows = torch.arange(max(len(now.queries), len(now.keys)), device=now.keys.device)[:, None, None, None]
        seen = mask_function(rows, rows.new_zeros(1), now.queries[:, None, :, None], now.keys[:, None, None, :])
        if now.allowed is not None:
            seen = seen & now.allowed[:, None]
        dtype = dtype or torch.float32
        # The smallest number, not minus infinity: padding sees nothing, and must not become NaN.
        return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, torch.finfo(dtype).min)

    mask.follows_layout = True  # type: ignore[attr-defined]
    return mask


def _lean(original: Callable[..., Any]) -> Callable[..., Any]:
    """SDPA without what our batches make superfluous, while a layout is active.

    A token never sees a later column, so on a CPU, whose kernel computes what the mask hides, queries go in blocks that leave
    out the columns behind them. One query a row (decoding) is computed with the queries of a group side by side, which saves
    copying the keys.
    """

    def attention(
        module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, None]:
        rows, heads, tokens, width = query.shape
        if _active.get() is None or attention_mask is None or kwargs.get("position_bias") is not None:
            return original(module, query, key, value, attention_mask, **kwargs)  # type: ignore[no-any-return]
        if tokens == 1 and heads != key.shape[1]:
            output = scaled_dot_product_attention(
                query.view(rows, key.shape[1], -1, width), key, value, attn_mask=attention_mask, scale=kwargs.get("scaling")
            )
            return output.reshape(rows, 1, heads, -1), None
        if tokens <= BLOCK or query.device.type != "cpu":
            return original(module, query, key, value, attention_mask, **kwargs)  # type: ignore[no-any-return]
        groups = heads // key.shape[1]
        if groups > 1:
            key, value = (part.repeat_interleave(groups, 1) for part in (key, value))
        output = query.new_empty(rows, tokens, heads, value.shape[-1])
        for begin in range(0, tokens, BLOCK):
            end = min(begin + BLOCK, tokens)
            seen = key.shape[2] - tokens + end
            mask = attention_mask[:, :, begin:end, :seen]
            part = scaled_dot_product_attention(
                query[:, :, begin:end], key[:, :, :seen], value[:, :, :seen], attn_mask=mask, scale=kwargs.get("scaling")
            )
            output[:, begin:end] = part.transpose(1, 2)
        return output, None

    attention.follows_layout = True  # type: ignore[attr-defined]
    return attention
