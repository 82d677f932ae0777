"""LoRA: a trained low-rank update beside frozen weights (Hu et al. 2021, arXiv 2106.09685); QLoRA when those are 4-bit."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from components.config import MethodConfig
from components.errors import InputError
from components.models.precision import HEADS


class Config(MethodConfig):
    """Settings of LoRA.

    Attributes:
        r: rank of the update.
        alpha: the update is scaled by ``alpha / r``.
        target_modules: ``all-linear``, a list of module names, or a regular expression over whole module paths.
        layers: first and last layer (inclusive) that get an adapter; None for all.
        ranks: rank in each layer instead of ``r``, 0 for a layer without an adapter; the scale stays ``alpha / r``.
    """

    method: Literal["lora"] = "lora"
    r: int = Field(16, ge=1)
    alpha: float = Field(32, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    target_modules: str | list[str] = "all-linear"
    layers: tuple[int, int] | None = None
    ranks: tuple[Annotated[int, Field(ge=0)], ...] | None = None

    @field_validator("target_modules")
    @classmethod
    def _compiles(cls, value: str | list[str]) -> str | list[str]:
        try:
            re.compile(value if isinstance(value, str) else "")
        except re.error as error:
            raise ValueError(f"isn't a regular expression: {error}") from error
        return value

    @model_validator(mode="after")
    def _one_way_to_choose_layers(self) -> Config:
        if self.layers is not None and self.ranks is not None:
            raise ValueError("layers and ranks both choose layers; take one of them out")
        return self


def apply(config: Config, model: Any) -> Any:
    """Wraps a model; only the adapter's weights train.

    Raises:
        InputError: if no module matches, or the layer range isn't in the model.
    """
    from peft import LoraConfig, TaskType, get_peft_model

    model.requires_grad_(False)
    targets = _targets(config, model)
    ranks = {n: config.ranks[layer] for n in targets if config.ranks and (layer := _layer(n)) is not None}
    lora = LoraConfig(
        r=config.r,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=targets,
        rank_pattern=ranks,
        alpha_pattern={n: config.alpha * rank / config.r for n, rank in ranks.items()},
        task_type=TaskType.CAUSAL_LM,
    )
    return get_peft_model(model, lora)


def _targets(config: Config, model: Any) -> list[str]:
    """Full names of the modules that get an adapter, sorted: what was chosen stands in the adapter's own config."""
    linear = [n for n, m in model.named_modules() if _is_linear(m) and not n.endswith((*HEADS, "score"))]
    chosen = [n for n in linear if _matches(n, config.target_modules)]
    if not chosen:
        known = ", ".join(sorted({n.rpartition(".")[2] for n in linear})) or "none"
        raise InputError(f"target_modules={config.target_modules!r} matches no linear module; the model has {known}")
    count = model.config.get_text_config().num_hidden_layers
    if config.layers is not None:
        first, last = config.layers
        if not 0 <= first <= last < count:
            raise InputError(f"layers=[{first}, {last}] isn't a range within the model's layers 0 to {count - 1}")
        chosen = [n for n in chosen if (layer := _layer(n)) is not None and first <= layer <= last]
        if not chosen:
            raise InputError(f"target_modules={config.target_modules!r} has no module in the layers {first} to {last}")
    if config.ranks is not None:
        if len(config.ranks) != count or not any(config.ranks):
            raise InputError(f"ranks={list(config.ranks)}: needs one rank for each of the {count} layers, and not all of them 0")
        chosen = [n for n in chosen if (layer := _layer(n)) is not None and config.ranks[layer]]
        if not chosen:
            raise InputError(
                f"target_modules={config.target_modules!r} has no module in a layer with a rank; ranks={list(config.ranks)}"
            )
    return sorted(chosen)


def _is_linear(module: Any) -> bool:
    import torch

    return isinstance(module, torch.nn.Linear)


def _matches(name: str, targets: str | list[str]) -> bool:
    if targets == "all-linear":
        return True
    if isinstance(targets, str):
        return re.fullmatch(targets, name) is not None
    return any(name == t or name.endswith(f".{t}") for t in targets)


def _layer(name: str) -> int | None:
    """The layer that a module belongs to: the first number in its name (``model.layers.3.…``, ``transformer.h.3.…``)."""
    match = re.search(r"\.(\d+)\.", name)
    return int(match.group(1)) if match else None
