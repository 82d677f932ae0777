"""A reward model with TRL's ``RewardTrainer``: Bradley–Terry loss on pairs (Ouyang et al. 2022, arXiv 2203.02155, eq. 1).

It stands beside the policy: later stages go on from the policy, not from it. Scored on held-out pairs where there are any.
"""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Annotated, Any, Literal

from pydantic import Field

from components.adapters.full import Config as Full
from components.artifacts import Inputs
from components.config import Choice, MethodConfig
from components.stage import Stage
from components.training.arguments import FineTuneConfig, trainer_arguments


class Config(FineTuneConfig):
    """Settings of the reward model; pairs longer than ``max_length`` tokens are left out and counted."""

    method: Literal["reward"] = "reward"
    lr: float = Field(1e-4, gt=0)
    max_length: int = Field(1024, ge=2)
    adapter: Annotated[MethodConfig, Choice("adapter", default="full")] = Full()

    def splits(self) -> tuple[str, ...]:
        """Reads the preference pairs, and the held-out ones to score itself."""
        return ("preference", "heldout")

    def makes(self, has_adapter: bool) -> Literal["adapter", "model", "other"]:
        """A reward model, which stands beside the policy."""
        return "other"


def run(config: Config, inputs: Inputs, stage: Stage) -> None:
    """Trains on ``preference``; writes the model and its pair accuracy on held-out pairs beside length baselines."""
    from trl import RewardConfig, RewardTrainer

    from components.models.load import load_tokenizer
    from components.training.pairs import conversational_pairs, dataset
    from components.training.policy import fit, save_full
    from components.training.rows import longest

    tokenizer = load_tokenizer(inputs.model.base)
    model = _classifier(config, inputs, stage, tokenizer)
    limit = longest(model, config.max_length)
    pairs, too_long = conversational_pairs(tokenizer, inputs.split("preference"), limit)
    if too_long:
        stage.events.warning(f"{too_long} of {too_long + len(pairs)} pairs are longer than {limit} tokens: left out")
    arguments = RewardConfig(**trainer_arguments(config, stage, len(pairs)), max_length=None)
    trainer = RewardTrainer(model=model, args=arguments, train_dataset=dataset(pairs), processing_class=tokenizer)
    model = fit(trainer, stage)
    merged = model.merge_and_unload() if hasattr(model, "merge_and_unload") else model
    save_full(merged, tokenizer, stage.out / "model")
    metrics: dict[str, Any] = {"pairs": len(pairs), "left_out": too_long, "steps": trainer.state.global_step}
    if inputs.data is not None and inputs.data.splits.get("heldout") and inputs.data.splits["heldout"].kind == "preference":
        held, _ = conversational_pairs(tokenizer, inputs.split("heldout"), limit)
        metrics["heldout"] = _pair_accuracy(merged, tokenizer, held)
    stage.save_metrics(metrics)


def _classifier(config: Config, inputs: Inputs, stage: Stage, tokenizer: Any) -> Any:
    """The policy's layers with plain weights (dequantized, adapter added in) under a new scalar head."""
    from transformers import AutoModelForSequenceClassification

    from components import methods
    from components.models.plain import plain_model

    policy = plain_model(inputs.model, stage.device)
    settings = deepcopy(policy.config)
    settings.num_labels = 1
    model: Any = AutoModelForSequenceClassification.from_config(settings, dtype=policy.dtype).to(policy.device)
    model.base_model.load_state_dict(policy.base_model.state_dict())
    model.config.pad_token_id = tokenizer.pad_token_id
    return methods.load("adapter", config.adapter.method).apply(config.adapter, model)


def _pair_accuracy(model: Any, tokenizer: Any, pairs: list[Any]) -> dict[str, Any]:
    """Share of pairs whose chosen answer scores higher, and the same for preferring the shorter or the longer answer."""
    from dataclasses import asdict

    from components.statistics import mean

    right: dict[str, list[float]] = {"accuracy": [], "prefer_shorter": [], "prefer_longer": []}
    for pair in pairs:
        chosen, rejected = (
            _score(model, tokenizer, pair["prompt"] + pair[side], pair.get("tools")) for side in ("chosen", "rejected")
        )
        lengths = [len(pair[side][0]["content"]) for side in ("chosen", "rejected")]
        right["accuracy"].append(float(chosen > rejected))
        right["prefer_shorter"].append(0.5 if lengths[0] == lengths[1] else float(lengths[0] < lengths[1]))
        right["prefer_longer"].append(0.5 if lengths[0] == lengths[1] else float(lengths[0] > lengths[1]))
    return {name: asdict(mean(scores)) for name, scores in right.items()}


def _score(model: Any, tokenizer: Any, messages: list[dict[str, str]], tools: str | None = None) -> float:
    import torch

    model.eval()
    ids = tokenizer.apply_chat_template(messages, tools=json.loads(tools) if tools else None, return_dict=False)
    with torch.no_grad():
        return float(model(input_ids=torch.tensor([ids], device=model.device)).logits[0, 0])
