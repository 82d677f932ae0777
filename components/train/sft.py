"""Supervised fine-tuning with TRL's ``SFTTrainer``: cross-entropy on the answer's tokens only.

With a 4-bit base and LoRA this is QLoRA (Dettmers et al. 2023, arXiv 2305.14314).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from components.adapters.lora import Config as LoraConfig
from components.artifacts import Inputs
from components.config import Choice, MethodConfig
from components.errors import StageFailed
from components.stage import Stage
from components.training.arguments import FineTuneConfig, trainer_arguments

if TYPE_CHECKING:
    from components.training.rows import Row


class Config(FineTuneConfig):
    """Settings of supervised fine-tuning; rows longer than ``max_length`` tokens are left out and counted."""

    method: Literal["sft"] = "sft"
    lr: float = Field(2e-4, gt=0)
    max_length: int = Field(1024, ge=2)
    adapter: Annotated[MethodConfig, Choice("adapter", default="lora")] | None = LoraConfig()

    def splits(self) -> tuple[str, ...]:
        """Reads the SFT rows."""
        return ("sft",)


def run(config: Config, inputs: Inputs, stage: Stage) -> None:
    """Trains on the ``sft`` split; writes the adapter or the model, and the last losses."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from components.training.policy import fit, load_policy, save_policy
    from components.training.rows import longest, marked, sft_rows

    if inputs.choice is not None and config.adapter is not None:
        chosen = config.adapter.model_copy(update={"ranks": inputs.choice.ranks})
        config = config.model_copy(update={"adapter": chosen})
    model, tokenizer = load_policy(config, inputs.model, stage)
    limit = longest(model, config.max_length)
    rows, too_long = sft_rows(tokenizer, inputs.split("sft"), limit)
    if too_long:
        stage.events.warning(f"{too_long} of {too_long + len(rows)} rows are longer than {limit} tokens: left out")
    for row in rows[:3]:
        stage.events.text("row as the model sees it", marked(tokenizer, row))
    arguments = SFTConfig(**trainer_arguments(config, stage, len(rows)), max_length=None, packing=False, completion_only_loss=True)
    dataset = Dataset.from_list([{"input_ids": r.input_ids, "completion_mask": r.completion_mask} for r in rows])
    trainer = SFTTrainer(model=model, args=arguments, train_dataset=dataset, processing_class=tokenizer)
    _check_labels(trainer, rows)
    save_policy(fit(trainer, stage), tokenizer, stage)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    trained = sum(sum(row.completion_mask) for row in rows)
    stage.save_metrics(
        {
            "rows": len(rows),
            "left_out": too_long,
            "trained_tokens": trained,
            "steps": trainer.state.global_step,
            "loss": losses[-1:],
        }
    )


def _check_labels(trainer: Any, rows: list[Row]) -> None:
    """Trains on what the rows say, or not at all: TRL ignores a mask that it doesn't expect, without a word."""
    few = range(min(8, len(rows)))
    labels = trainer.data_collator([trainer.train_dataset[i] for i in few])["labels"]
    for i in few:
        trained = (labels[i] != -100).nonzero().flatten().tolist()
        wanted = [position for position, flag in enumerate(rows[i].completion_mask) if flag]
        if trained != wanted:
            raise StageFailed(
                f"row {i + 1}: the trainer would train on {len(trained)} tokens instead of the answer's {len(wanted)}; "
                "this version of TRL reads completion_mask in another way"
            )
