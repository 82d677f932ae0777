"""Settings that every trainer has, and their translation into TRL's and transformers' argument classes."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field

from components.config import Choice, MethodConfig
from components.stage import Stage


class TrainConfig(MethodConfig):
    """Settings shared by all training methods.

    Attributes:
        lr: peak learning rate.
        batch_size: rows of one forward pass and process.
        processes: that train together on this machine, with a GPU each or sharing the CPU's threads; an optimizer step takes
            ``processes × batch_size × gradient_accumulation`` rows.
        gradient_accumulation: forward passes for one optimizer step.
        epochs: passes over the split, unless ``max_steps`` ends training earlier.
        warmup: share of the steps in which the learning rate rises.
        max_grad_norm: gradients are clipped to this norm.
        checkpoint_every: optimizer steps between checkpoints, rounded up to whole logging windows, so that a resumed training
            also reports what an uninterrupted one does; a crash loses at most that many.
        logging_every: optimizer steps between logged losses, and the window of the guards.
    """

    lr: float = Field(1e-4, gt=0)
    batch_size: int = Field(16, ge=1)
    processes: int = Field(1, ge=1)
    gradient_accumulation: int = Field(1, ge=1)
    epochs: float = Field(1.0, gt=0)
    max_steps: int | None = Field(None, ge=1)
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = "cosine"
    warmup: float = Field(0.05, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    checkpoint_every: int = Field(100, ge=1)
    logging_every: int = Field(10, ge=1)

    @property
    def uses(self) -> int:
        """How often an epoch trains on what comes of one row."""
        return 1


class FineTuneConfig(TrainConfig):
    """Settings of a stage that trains an adapter or all weights.

    Attributes:
        adapter: how weights are adapted. None goes on with the adapter that the model has, or with all its weights.
    """

    adapter: Annotated[MethodConfig, Choice("adapter", default="lora")] | None = None

    def makes(self, has_adapter: bool) -> Literal["adapter", "model", "other"]:
        """What comes out: an adapter on the same base, a whole model, or something that the policy doesn't go on from.

        Args:
            has_adapter: whether the model that comes in has an adapter.
        """
        if self.adapter is None:
            return "adapter" if has_adapter else "model"
        return "model" if self.adapter.method == "full" else "adapter"


def trainer_arguments(config: TrainConfig, stage: Stage, total_rows: int) -> dict[str, Any]:
    """Keyword arguments of ``TrainingArguments`` and its descendants."""
    cpu = stage.device == "cpu"
    steps = planned_steps(config, total_rows)
    window = min(config.logging_every, steps)  # of a training shorter than a window the loss is told, too
    return dict(
        output_dir=str(stage.work),
        learning_rate=config.lr,
        per_device_train_batch_size=config.batch_size,
        gradient_accumulation_steps=config.gradient_accumulation,
        num_train_epochs=config.epochs,
        max_steps=config.max_steps or -1,
        lr_scheduler_type=config.schedule,
        warmup_steps=round(config.warmup * steps),
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        logging_steps=window,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=-(-config.checkpoint_every // window) * window,
        save_total_limit=2,
        seed=stage.seed,
        data_seed=stage.seed,
        use_cpu=cpu,
        bf16=not cpu,
        gradient_checkpointing=not cpu,
        dataloader_pin_memory=not cpu,
        report_to=[],
        disable_tqdm=True,
    )


def planned_steps(config: TrainConfig, total_rows: int) -> int:
    """Optimizer steps that the settings ask for on a split of ``total_rows`` rows."""
    if config.max_steps is not None:
        return config.max_steps
    batches = -(-total_rows // (config.batch_size * config.processes))
    return math.ceil(config.epochs * max(1, -(-batches // config.gradient_accumulation)))
