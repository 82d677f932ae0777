"""Own forward pass of small Llama-like decoders, whose time otherwise goes into modules, masks and small kernels.

The function is the model's: RMS norm, rotary positions, grouped attention and a gated SiLU, in few operations over copies of
its weights. Query, key and value weights stand in one matrix, so do gate and up; the norms' weights are folded into the matrix
behind them; the rows of queries and keys are reordered so that a rotation is one complex product, which leaves their dot
products as they were. ``Forward`` compares the logits with the model's own before it trusts them.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.functional import embedding, linear, pad, scaled_dot_product_attention, silu

from components.inference.caches import Behind, Slots
from components.inference.weights import Pair, folded, stamp

if TYPE_CHECKING:
    from components.inference.stepping import Steps

_log = logging.getLogger(__name__)
_BLOCK = 32  # queries: on a CPU the keys behind a block are left out
_CHUNK = 64  # rows of a decoding step that are as wide as the longest of them


@dataclass(frozen=True)
class _Layer:
    """``input`` and ``inner`` are norms' weights that could not be folded; ``norms`` those of queries and keys, if there are."""

    input: torch.Tensor | None
    qkv: Pair
    norms: torch.Tensor | None
    out: Pair
    inner: torch.Tensor | None
    gate_up: Pair
    down: Pair


class Fused:
    """The weights of a model in the order of the computation.

    Args:
        model: one that ``supports`` accepts.
    """

    def __init__(self, model: Any) -> None:
        config, body = model.config, model.model
        self.model = model
        self.eps = float(config.rms_norm_eps)
        self.kv_heads = int(config.num_key_value_heads)
        attention = body.layers[0].self_attn
        self.width = int(attention.head_dim)
        self.heads = attention.q_proj.out_features // self.width
        scale = float(attention.scaling)
        self.stamp = stamp(model)
        with torch.no_grad():
            self.embedding = body.embed_tokens.weight.detach()
            # Of the scores. In 32 bits it goes into the queries' weights; in 16 they would be rounded.
            inner, self.scale = (scale, 1.0) if self.dtype == torch.float32 else (1.0, scale)
            self.layers = [self._layer(layer, inner) for layer in body.layers]
            self.final, self.head = folded(body.norm, [model.lm_head])
        self._rotations = torch.empty(0, self.width // 2, dtype=torch.complex64)
        self.steps = self._steps()

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights and the results."""
        dtype: torch.dtype = self.embedding.dtype
        return dtype

    @property
    def current(self) -> bool:
        """Whether the model's weights are still those that were copied."""
        return self.stamp == stamp(self.model)

    def _layer(self, layer: Any, scale: float) -> _Layer:
        attention, mlp = layer.self_attn, layer.mlp
        order = torch.arange(self.width, device=self.embedding.device).view(2, -1).t().reshape(-1)
        norm, (weight, bias) = folded(layer.input_layernorm, [attention.q_proj, attention.k_proj, attention.v_proj])
        rotated = (self.heads + self.kv_heads) * self.width
        rows = torch.arange(len(weight), device=weight.device)
        rows[:rotated] = rows[:rotated].view(-1, self.width)[:, order].reshape(-1)
        weight, bias = weight[rows].contiguous(), None if bias is None else bias[rows]
        norms = None
        if hasattr(attention, "q_norm"):
            queries, keys = attention.q_norm.weight[order] * scale, attention.k_norm.weight[order]
            norms = torch.cat([queries.expand(self.heads, -1), keys.expand(self.kv_heads, -1)])
        else:
            for part in (weight,) if bias is None else (weight, bias):
                part[: self.heads * self.width] *= scale
        inner, gate_up = folded(layer.post_attention_layernorm, [mlp.gate_proj, mlp.up_proj])
        return _Layer(
            norm,
            (weight, bias),
            norms,
            (attention.o_proj.weight.detach(), attention.o_proj.bias),
            inner,
            gate_up,
            (mlp.down_proj.weight.detach(), mlp.down_proj.bias),
        )

    def _steps(self) -> Steps | None:
        """What computes decoding steps in place of torch, where it can."""
        if self.dtype != torch.float32 or self.embedding.device.type != "cpu":
            return None
        try:
            from components.inference.stepping import Steps

            return Steps(self)
        except Exception as error:
            # Whatever numba raises where it is missing or can't compile for this machine: torch's operations are right too.
            _log.info("decoding goes on without compiled kernels: %s", error)
            return None

    def slots(self) -> Slots:
        """Empty ones, for ``step``."""
        return Slots(len(self.layers)) if self.steps is None else self.steps.slots()

    def rotation(self, positions: torch.Tensor) -> torch.Tensor:
        """Cos + i·sin of the positions' angles, shape [positions, 1, width / 2]; the model's own, computed once."""
        return self._turned(int(positions.max()))[positions.reshape(-1)].unsqueeze(1)

    def turns(self, last: int) -> np.ndarray:
        """Cosine and sine of the angles of the positions to ``last`` or more, shape [positions, width / 2, 2]."""
        turns: np.ndarray = torch.view_as_real(self._turned(last)).numpy()
        return turns

    def _turned(self, last: int) -> torch.Tensor:
        if last >= len(self._rotations):
            every = torch.arange(1 << last.bit_length(), device=self.embedding.device).unsqueeze(0)
            cos, sin = self.model.model.rotary_emb(self.embedding[:1], every)
            half = self.width // 2
            self._rotations = torch.complex(cos[0, :, :half].float(), sin[0, :, :half].float())
        return self._rotations

    def rows(
        self,
        ids: torch.Tensor,
        positions: torch.Tensor,
        mask: torch.Tensor,
        cache: Behind,
        wanted: Sequence[Sequence[int]],
    ) -> torch.Tensor:
        """Logits of the wanted columns, shape [all wanted, vocabulary].

        Args:
            ids, positions: shape [rows, tokens].
            mask: added to the scores, shape [rows or 1, tokens, keys].
        """
        count, tokens = ids.shape
        rotation = self.rotation(positions.expand(count, -1))
        hidden = embedding(ids.reshape(-1), self.embedding)
        for index, layer in enumerate(self.layers):
            last = index == len(self.layers) - 1
            query, key, value = self._projected(layer, hidden, rotation)
            key, value = (part.view(count, tokens, self.kv_heads, -1).transpose(1, 2) for part in (key, value))
            key, value = cache.layers[index].update(key, value)
            query = query.view(count, tokens, self.heads, -1)
            if last:
                # Behind the last layer's keys only the wanted tokens are of use, at most as many a row as the fullest one's.
                most = max(map(len, wanted))
                if most == 0:
                    return hidden.new_empty(0, len(self.head[0]))
                columns = torch.tensor([[*some, *[0] * (most - len(some))] for some in wanted], device=ids.device)
                row = torch.arange(count, device=ids.device).unsqueeze(-1)
                query = query[row, columns]
                hidden = hidden.view(count, tokens, -1)[row, columns].flatten(0, 1)
                mask = mask.expand(count, -1, -1)[row, columns]
                attended = self._gathered(query, key, value, mask)
            else:
                attended = self._attended(query, key, value, mask)
            hidden = self._behind(layer, hidden, attended.reshape(len(hidden), -1))
        if count * most != sum(map(len, wanted)):
            hidden = hidden[[i * most + j for i, some in enumerate(wanted) for j in range(len(some))]]
        return self._logits(hidden)

    def step(self, slots: Slots, tokens: Sequence[int], lengths: Sequence[int]) -> torch.Tensor:
        """Logits behind one more token in each of the first rows of the slots, shape [rows, vocabulary]."""
        if self.steps is not None:
            return self.steps.step(slots, tokens, lengths)
        device, rows = self.embedding.device, len(tokens)
        at = torch.tensor(lengths, device=device)
        rotation = self.rotation(at)
        hidden = embedding(torch.tensor(tokens, device=device), self.embedding)
        # Where each head's new key goes, its rows and heads and tokens counted through.
        heads = torch.arange(rows * self.kv_heads, device=device)
        places = heads * slots.tokens + at.repeat_interleave(self.kv_heads)
        chunks = [_hidden(lengths[begin : begin + _CHUNK], begin, hidden) for begin in range(0, rows, _CHUNK)]
        for layer, kept in zip(self.layers, slots.layers, strict=True):
            query, key, value = self._projected(layer, hidden, rotation)
            for new, held in ((key, kept.keys), (value, kept.values)):
                held.view(-1, self.width).index_copy_(0, places, new.reshape(-1, self.width))
            query = query.view(rows, self.kv_heads, -1, self.width)
            attended = torch.empty_like(query)
            for begin, end, span, mask in chunks:
                keys, values = kept.keys[begin:end, :, :span], kept.values[begin:end, :, :span]
                attended[begin:end] = self._one(query[begin:end], keys, values, mask)
            hidden = self._behind(layer, hidden, attended.view(rows, -1))
        return self._logits(hidden)

    def _projected(
        self, layer: _Layer, hidden: torch.Tensor, rotation: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries, keys (both rotated) and values, each [tokens, heads, width]."""
        every = linear(self._norm(hidden, layer.input), *layer.qkv).view(len(hidden), -1, self.width)
        turned = every[:, : self.heads + self.kv_heads]
        if layer.norms is not None:
            turned = self._norm(turned, layer.norms)
        pairs = torch.view_as_complex(turned.float().view(*turned.shape[:-1], -1, 2))
        turned = torch.view_as_real(pairs.mul_(rotation)).flatten(-2).to(every.dtype)  # in place: float() copies where it must
        return turned[:, : self.heads], turned[:, self.heads :], every[:, self.heads + self.kv_heads :]

    def _behind(self, layer: _Layer, hidden: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        """What follows attention in a layer."""
        hidden = hidden + linear(attended, *layer.out)
        gate, up = linear(self._norm(hidden, layer.inner), *layer.gate_up).chunk(2, -1)
        return hidden.add_(linear(silu(gate).mul_(up), *layer.down))

    def _logits(self, hidden: torch.Tensor) -> torch.Tensor:
        return linear(self._norm(hidden, self.final), *self.head)

    def _norm(self, hidden: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
        wide = hidden.float()
        size = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        normed: torch.Tensor = (wide * (size.square_().div_(wide.shape[-1]).add_(self.eps).rsqrt_())).to(hidden.dtype)
        return normed if weight is None else normed * weight

    def _one(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Attention of one token a row: queries [rows, kv heads, group, width], mask [rows, last keys]; all see those before."""
        rows, heads, group, _ = query.shape
        if self.dtype != torch.float32:
            mask = pad(mask, (key.shape[2] - mask.shape[1], 0))
            return scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None], scale=self.scale)
        query, key, value = (part.reshape(-1, part.shape[2], self.width) for part in (query, key, value))
        scores = torch.bmm(query, key.transpose(1, 2))
        if mask.shape[1]:
            scores.view(rows, heads * group, -1)[:, :, -mask.shape[1] :].add_(mask[:, None])
        return torch.bmm(scores.softmax(-1), value).view(rows, heads, group, self.width)

    def _gathered(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Attention of some tokens a row: queries [rows, tokens, heads, width], mask [rows, tokens, keys]."""
        if query.shape[1] == 1:
            grouped = query.view(len(query), self.kv_heads, -1, self.width)
            return self._one(grouped, key, value, mask[:, 0])
        key, value = self._repeated(key, value)
        found = scaled_dot_product_attention(query.transpose(1, 2), key, value, attn_mask=mask[:, None], scale=self.scale)
        return found.transpose(1, 2)

    def _attended(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The same of all tokens; no token sees a later column."""
        _rows, tokens = query.shape[:2]
        key, value = self._repeated(key, value)
        block = _BLOCK if query.device.type == "cpu" else tokens
        found = torch.empty_like(query)
        for begin in range(0, tokens, block):
            end = min(begin + block, tokens)
            seen = key.shape[2] - tokens + end
            found[:, begin:end] = scaled_dot_product_attention(
                query[:, begin:end].transpose(1, 2),
                key[:, :, :seen],
                value[:, :, :seen],
                attn_mask=mask[:, None, begin:end, :seen],
                scale=self.scale,
            ).transpose(1, 2)
        return found

    def _repeated(self, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        groups = self.heads // self.kv_heads
        return (key, value) if groups == 1 else (key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1))


def _hidden(lengths: Sequence[int], begin: int, like: torch.Tensor) -> tuple[int, int, int, torch.Tensor]:
    """(first row, row behind the last, columns that hold keys, what hides a row's columns from the shortest row's end on)."""
    least, span = min(lengths) + 1, max(lengths) + 1
    held = torch.tensor(lengths, device=like.device).unsqueeze(-1)
    hide = torch.arange(least, span, device=like.device) > held
    mask = torch.zeros(hide.shape, dtype=like.dtype, device=like.device).masked_fill_(hide, torch.finfo(like.dtype).min)
    return begin, begin + len(lengths), span, mask
