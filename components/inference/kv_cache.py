"""A compressed KV cache in use: prompt, compression, decoding, with positions that go on from the true length.

The reference way to use the methods of ``components/inference/kv``. Requests that share a cache have equally long prompts.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import DynamicCache

from components import methods
from components.config import MethodConfig
from components.errors import InputError
from components.inference.kv._layer import Layer
from components.inference.sampling import Sampling, choose, penalise, stream


@dataclass(frozen=True)
class Usage:
    """What a cache takes.

    Attributes:
        length: true tokens so far, prompt and answer.
        cached: of these, positions in the first layer's cache.
        nbytes: bytes of keys and values, with scales and offsets where they are quantized.
        full_nbytes: bytes of the full cache at this length.
    """

    length: int
    cached: int
    nbytes: int
    full_nbytes: int


class KVCache:
    """The cache of one request, or of several equally long ones, under a method.

    Args:
        model: a causal language model of transformers.
        config: a method's settings, of ``components/inference/kv``.

    Attributes:
        positions: true positions in each layer's cache, [batch, kv_heads, cached].
        length: true length so far.
        rows: requests that share it.

    Raises:
        InputError: if the model's layers have sliding windows of their own and the method moves positions.
    """

    def __init__(self, model: Any, config: MethodConfig) -> None:
        self.model, self.config = model, config
        self.method: Any = methods.load("kv", config.method)
        self.cache: Any = DynamicCache(config=model.config)
        if any(self.cache.is_sliding) and config.method != "full":
            raise InputError(
                f"{type(model).__name__} has layers with a sliding window, whose cache is bounded already; use method 'full'"
            )
        if storage := getattr(self.method, "storage", None):
            self.cache = DynamicCache()
            self.cache.layer_class_to_replicate = lambda: storage(config)
        self.modules = _attentions(model)
        self.rotary = _rotary(model)
        self.positions: dict[int, torch.Tensor] = {}
        self.length = 0
        self.rows = 1
        self._token_bytes = 0

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Feeds tokens, [batch, tokens]; returns the logits after the last one, [batch, vocabulary].

        Tokens after the prompt go in one by one, as in decoding: each sees what the method kept before it.
        """
        if ids.shape[-1] == 0:
            raise InputError("the prompt is empty; the model needs at least one token to start from")
        pieces = [ids] if self.length == 0 else [ids[:, place : place + 1] for place in range(ids.shape[-1])]
        return [self._pass(piece) for piece in pieces][-1]

    @torch.inference_mode()
    def select(self, rows: Sequence[int]) -> None:
        """Goes on with these rows; one that is named several times is copied, and several answers follow one prompt."""
        index = torch.tensor(rows, device=self.model.device)
        for layer in self.cache.layers:
            layer.batch_select_indices(index)
        self.positions = {layer: positions[index] for layer, positions in self.positions.items()}
        self._token_bytes = self._token_bytes // self.rows * len(rows)
        self.rows = len(rows)

    @property
    def share(self) -> Usage:
        """What one of the rows takes."""
        usage = self.usage
        return replace(usage, nbytes=usage.nbytes // self.rows, full_nbytes=usage.full_nbytes // self.rows)

    @property
    def usage(self) -> Usage:
        """Real bytes of what is held now, of all rows."""
        layers = self.cache.layers
        held = sum(layer.nbytes if hasattr(layer, "nbytes") else _bytes(layer.keys) + _bytes(layer.values) for layer in layers)
        return Usage(self.length, layers[0].get_seq_length(), held, self.length * self._token_bytes)

    @torch.inference_mode()
    def _pass(self, ids: torch.Tensor) -> torch.Tensor:
        first, tokens = self.length == 0, ids.shape[-1]
        place = torch.arange(self.length, self.length + tokens, device=ids.device).expand(len(ids), -1)
        self.length += tokens
        self.rows = len(ids)
        # Layers may hold different numbers of positions, so one mask of a fixed width fits none: a decoded token attends to
        # all that is there, which a mask of one zero says for any width.
        mask = None if first else torch.zeros(1, 1, 1, 1, dtype=self.model.dtype, device=ids.device)
        with self._hooks(first):
            output = self.model(
                input_ids=ids,
                position_ids=place,
                attention_mask=mask,
                past_key_values=self.cache,
                use_cache=True,
                logits_to_keep=1,
            )
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    @contextmanager
    def _hooks(self, first: bool) -> Iterator[None]:
        """Compresses each layer right after its attention, so that no two layers are ever held in full."""
        function = self.method.compress if first else getattr(self.method, "step", None)
        handles = [module.register_forward_hook(self._hook(function, first), with_kwargs=True) for module in self.modules]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, function: Any, first: bool) -> Any:
        def after(module: Any, args: Any, kwargs: Any, output: Any) -> None:
            hidden = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
            layer, index = self.cache.layers[module.layer_idx], module.layer_idx
            tokens = hidden.shape[1]
            if first:
                self._token_bytes += _full_bytes(layer, len(hidden), tokens)
            if hasattr(layer, "nbytes"):  # a storage of the method's own keeps every position
                return
            new = torch.arange(self.length - tokens, self.length, device=hidden.device).expand(*layer.keys.shape[:2], -1)
            positions = new if first else torch.cat([self.positions[index], new], -1)
            if function is not None:
                view = Layer(index, layer.keys, layer.values, positions, self.length, hidden, module, self.rotary)
                kept = function(self.config, view)
                layer.keys, layer.values, positions = kept.keys, kept.values, kept.positions
            self.positions[index] = positions

        return after


@dataclass(frozen=True)
class Generated:
    """An answer, with what its cache took at its end.

    Attributes:
        ids: the tokens, with the end token if there was one.
        usage: the cache after the last token but one went in.
    """

    ids: list[int]
    usage: Usage


def generate(model: Any, prompt: Sequence[int], config: MethodConfig, sampling: Sampling, end_ids: Sequence[int] = ()) -> Generated:
    """One answer to a tokenized prompt over a compressed cache; draws are those of the engine for its first prompt.

    Stop strings and several answers are the engine's affair; ``sampling``'s are left aside.
    """
    cache = KVCache(model, config)
    numbers = stream(sampling.seed, 0)
    logits = cache.forward(torch.tensor([list(prompt)], device=model.device))
    ids: list[int] = []
    while True:
        logits = penalise(logits, [[*prompt, *ids]], [sampling.repetition_penalty])
        ids.append(int(choose(logits, [sampling], [float(numbers.random())])))
        if ids[-1] in end_ids or len(ids) == sampling.max_new_tokens:
            return Generated(ids, cache.usage)
        logits = cache.forward(torch.tensor([ids[-1:]], device=model.device))


def _attentions(model: Any) -> list[Any]:
    """Attention modules: those with a layer's index that are given the cache."""
    return [
        module
        for module in model.modules()
        if hasattr(module, "layer_idx") and "past_key_values" in inspect.signature(module.forward).parameters
    ]


def _rotary(model: Any) -> Any:
    return next((module for name, module in model.named_modules() if name.split(".")[-1] == "rotary_emb"), None)


def _full_bytes(layer: Any, batch: int, tokens: int) -> int:
    """Bytes that one token of every row takes in an uncompressed layer."""
    if hasattr(layer, "nbytes"):
        return int(layer.token_nbytes) * batch
    return (_bytes(layer.keys) + _bytes(layer.values)) // tokens


def _bytes(states: torch.Tensor) -> int:
    return states.numel() * states.element_size()
