"""Direct preference optimization with TRL's ``DPOTrainer`` (Rafailov et al. 2023, arXiv 2305.18290, eq. 7).

The reference is the policy as it was before this stage: a frozen copy of its adapter, or of the whole model.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from components.artifacts import Inputs
from components.stage import Stage
from components.training.arguments import FineTuneConfig, trainer_arguments


class Config(FineTuneConfig):
    """Settings of DPO.

    Attributes:
        beta: how strongly the policy is held to the reference.
        loss_type: TRL's names, e.g. ``sigmoid`` (DPO), ``ipo``, ``hinge``; several are summed with ``loss_weights``.
        max_length: longest prompt + answer in tokens; longer pairs are left out and counted.
    """

    method: Literal["dpo"] = "dpo"
    lr: float = Field(5e-5, gt=0)
    beta: float = Field(0.1, gt=0)
    loss_type: tuple[str, ...] = ("sigmoid",)
    loss_weights: list[float] | None = None
    max_length: int = Field(1024, ge=2)

    def splits(self) -> tuple[str, ...]:
        """Reads the preference pairs."""
        return ("preference",)


def run(config: Config, inputs: Inputs, stage: Stage) -> None:
    """Trains on the ``preference`` split; writes the adapter or the model, last loss, margin and accuracy."""
    from trl import DPOConfig, DPOTrainer

    from components.models.load import load_model
    from components.training.pairs import conversational_pairs, dataset
    from components.training.policy import fit, load_policy, save_policy
    from components.training.rows import longest

    model, tokenizer = load_policy(config, inputs.model, stage)
    limit = longest(model, config.max_length)
    pairs, too_long = conversational_pairs(tokenizer, inputs.split("preference"), limit)
    if too_long:
        stage.events.warning(f"{too_long} of {too_long + len(pairs)} pairs are longer than {limit} tokens: left out")
    full = config.makes(inputs.model.adapter is not None) == "model"
    arguments = DPOConfig(
        **trainer_arguments(config, stage, len(pairs)),
        beta=config.beta,
        loss_type=list(config.loss_type),
        loss_weights=config.loss_weights,
        max_length=None,
    )
    trainer = DPOTrainer(
        model=model,
        ref_model=load_model(inputs.model, stage.device)[0] if full else None,
        args=arguments,
        train_dataset=dataset(pairs),
        processing_class=tokenizer,
    )
    save_policy(fit(trainer, stage), tokenizer, stage)
    last: dict[str, Any] = next((e for e in reversed(trainer.state.log_history) if "loss" in e), {})
    names = ("loss", "rewards/margins", "rewards/accuracies")
    stage.save_metrics(
        {"pairs": len(pairs), "left_out": too_long, "steps": trainer.state.global_step, **{n: last[n] for n in names if n in last}}
    )
