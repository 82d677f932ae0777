"""Where the parts of a decoder are, for every architecture that transformers lays out alike; and what flows through them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from components.errors import InputError


@dataclass(frozen=True)
class Anatomy:
    """The parts of a causal language model, adapters taken off (adapted layers are still inside).

    Attributes:
        model: the causal language model itself.
        decoder: embeddings, layers and final norm.
        layers: decoder layers with ``self_attn`` and ``mlp``.
        norm: final normalisation.
        head: hidden state → logits, without soft-capping.
    """

    model: Any
    decoder: Any
    layers: list[Any]
    norm: Any
    head: Any
    embedding: Any

    @property
    def config(self) -> Any:
        """The text model's configuration."""
        return self.model.config.get_text_config()

    def logits(self, hidden: Any) -> Any:
        """float32 logits of residual streams: final norm, unembedding, and soft-capping where the model has it."""
        import torch

        logits = self.head(self.norm(hidden)).float()
        cap = getattr(self.config, "final_logit_softcapping", None)
        return cap * torch.tanh(logits / cap) if cap else logits


def dissect(model: Any) -> Anatomy:
    """Finds the parts of a model, below a PEFT adapter too.

    Raises:
        InputError: if it isn't laid out like a decoder of transformers.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    decoder = base.get_decoder() if hasattr(base, "get_decoder") else None
    layers, norm, head = getattr(decoder, "layers", None), getattr(decoder, "norm", None), base.get_output_embeddings()
    if layers is None or norm is None or head is None or not all(hasattr(x, "self_attn") and hasattr(x, "mlp") for x in layers):
        raise InputError(
            f"{type(base).__name__} isn't laid out as decoder layers with self_attn and mlp between embeddings, a final norm "
            "and an output layer; views know LLaMA, Qwen2/2.5/3, Qwen2-VL's text, Mixtral, Qwen MoE, DeepSeek-V2 and the like"
        )
    return Anatomy(base, decoder, list(layers), norm, head, base.get_input_embeddings())


@contextmanager
def watching(modules: Mapping[Any, Any], take: Any) -> Iterator[None]:
    """Calls ``take(key, module's first input, its output)`` for each module that runs; takes the hooks off again in any case.

    Args:
        modules: by a key of the caller's.
    """

    def hook(key: Any) -> Any:
        def forward(_: Any, inputs: tuple[Any, ...], keywords: dict[str, Any], output: Any) -> None:
            take(key, inputs[0] if inputs else keywords.get("hidden_states"), output)

        return forward

    with ExitStack() as hooks:
        for key, module in modules.items():
            hooks.callback(module.register_forward_hook(hook(key), with_kwargs=True).remove)
        yield


def tensor(output: Any) -> Any:
    """The hidden states of a module's output, shape [tokens, width], in float32 (one row of a batch of one)."""
    hidden = output[0] if isinstance(output, tuple) else output
    return hidden.reshape(-1, hidden.shape[-1]).float()


def run(model: Any, ids: tuple[int, ...], keep: int = 1) -> Any:
    """One forward pass over a prompt without a cache; logits of the last ``keep`` positions, shape [keep, vocabulary], float32."""
    import torch

    row = torch.tensor([list(ids)], device=model.device)
    output = model(input_ids=row, attention_mask=torch.ones_like(row), use_cache=False, logits_to_keep=keep)
    return output.logits[0, -keep:].float()
