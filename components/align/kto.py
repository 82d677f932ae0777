"""Kahneman–Tversky optimization with TRL's ``KTOTrainer`` (Ethayarajh et al. 2024, arXiv 2402.01306, eq. 8).

It learns from single answers that are liked or not: both answers of a preference pair, and labelled ones, of which there need
not be two. The reference is the policy as it was before this stage: a frozen copy of its adapter, or of the whole model.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from components.artifacts import Inputs
from components.stage import Stage
from components.training.arguments import FineTuneConfig, trainer_arguments

_SPLITS = {"pairs": ("preference",), "labelled": ("labelled",), "both": ("preference", "labelled")}


class Config(FineTuneConfig):
    """Settings of KTO.

    Attributes:
        rows: ``pairs`` reads the split ``preference``, ``labelled`` the split of that name, ``both`` both.
        beta: how strongly the policy is held to the reference.
        loss_type: TRL's names: ``kto``, or ``apo_zero_unpaired``, which needs no estimate of the KL.
        desirable_weight, undesirable_weight: how much liked and disliked answers count; None counts both kinds alike in sum,
            whatever their numbers (the paper's eq. 9).
        max_length: longest prompt + answer in tokens; longer rows are left out and counted.
    """

    method: Literal["kto"] = "kto"
    rows: Literal["pairs", "labelled", "both"] = "pairs"
    lr: float = Field(5e-5, gt=0)
    beta: float = Field(0.1, gt=0)
    loss_type: Literal["kto", "apo_zero_unpaired"] = "kto"
    desirable_weight: float | None = Field(None, gt=0)
    undesirable_weight: float | None = Field(None, gt=0)
    max_length: int = Field(1024, ge=2)

    @model_validator(mode="after")
    def _batch_holds_others(self) -> Config:
        if self.loss_type == "kto" and self.batch_size < 2:
            raise ValueError("kto.batch_size=1 leaves no other answer to estimate the KL from; raise it, or use apo_zero_unpaired")
        return self

    def splits(self) -> tuple[str, ...]:
        """Reads the preference pairs, the labelled answers, or both."""
        return _SPLITS[self.rows]


def run(config: Config, inputs: Inputs, stage: Stage) -> None:
    """Trains on liked and disliked answers; writes the adapter or the model, last loss, rewards and margin."""
    from trl import KTOConfig, KTOTrainer

    from components.models.load import load_model
    from components.training.labels import labelled_rows
    from components.training.pairs import dataset
    from components.training.policy import fit, load_policy, save_policy
    from components.training.rows import longest

    model, tokenizer = load_policy(config, inputs.model, stage)
    files = {split: inputs.split(split) for split in config.splits()}
    limit = longest(model, config.max_length)
    rows, too_long = labelled_rows(tokenizer, files, limit, stage.seed)
    if too_long:
        stage.events.warning(f"{too_long} of {too_long + len(rows)} rows are longer than {limit} tokens: left out")
    liked = sum(bool(row["label"]) for row in rows)
    full = config.makes(inputs.model.adapter is not None) == "model"
    desirable, undesirable = weights(config, liked, len(rows) - liked)
    arguments = KTOConfig(
        **trainer_arguments(config, stage, len(rows)),
        beta=config.beta,
        loss_type=config.loss_type,
        desirable_weight=desirable,
        undesirable_weight=undesirable,
        max_length=None,
    )
    trainer = KTOTrainer(
        model=model,
        ref_model=load_model(inputs.model, stage.device)[0] if full else None,
        args=arguments,
        train_dataset=dataset(rows),
        processing_class=tokenizer,
    )
    save_policy(fit(trainer, stage), tokenizer, stage)
    last: dict[str, Any] = next((e for e in reversed(trainer.state.log_history) if "loss" in e), {})
    names = ("loss", "kl", "rewards/chosen", "rewards/rejected", "rewards/margins")
    counts = {"rows": len(rows), "liked": liked, "left_out": too_long, "steps": trainer.state.global_step}
    stage.save_metrics({**counts, **{name: last[name] for name in names if name in last}})


def weights(config: Config, liked: int, disliked: int) -> tuple[float, float]:
    """What a liked and a disliked answer count: as set, or so that both kinds count alike.

    >>> weights(Config(), 30, 10), weights(Config(desirable_weight=2.0), 30, 10)
    ((1.0, 3.0), (2.0, 1.0))
    """
    if config.desirable_weight is None and config.undesirable_weight is None and liked and disliked:
        most = max(liked, disliked)
        return most / liked, most / disliked
    return config.desirable_weight or 1.0, config.undesirable_weight or 1.0
