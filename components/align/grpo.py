"""Group-relative policy optimization with TRL's ``GRPOTrainer`` (Shao et al. 2024, arXiv 2402.03300, eq. 3).

Rewards are files in ``components/rewards``. On-policy with the defaults; ``steps_per_generation`` above
``gradient_accumulation`` or ``num_iterations`` above 1 reuse a batch of rollouts, which is off-policy.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from components import methods
from components.artifacts import Inputs
from components.config import Choice, MethodConfig
from components.errors import InputError
from components.rewards.exact_answer import Config as ExactAnswer
from components.stage import Stage
from components.training.arguments import FineTuneConfig, trainer_arguments


class Config(FineTuneConfig):
    """Settings of GRPO.

    Attributes:
        batch_size: completions of one forward pass and process (prompts × generations).
        num_generations: completions a prompt: the group whose mean reward is the baseline.
        steps_per_generation: forward passes that share one batch of rollouts; None is one optimizer step's worth.
        num_iterations: how often each batch of rollouts is trained on.
        beta: weight of the KL to the reference, which is the policy before this stage; 0 needs none.
        epsilon: clipping of the probability ratio.
        max_prompt_length: longer prompts are left out and counted.
        mask_truncated: completions cut by ``max_completion_length`` don't count in the loss.
    """

    method: Literal["grpo"] = "grpo"
    lr: float = Field(1e-5, gt=0)
    batch_size: int = Field(64, ge=2)
    num_generations: int = Field(8, ge=2)
    steps_per_generation: int | None = Field(None, ge=1)
    num_iterations: int = Field(1, ge=1)
    max_prompt_length: int = Field(512, ge=1)
    max_completion_length: int = Field(256, ge=1)
    temperature: float = Field(1.0, gt=0)
    top_p: float = Field(1.0, gt=0, le=1)
    beta: float = Field(0.0, ge=0)
    epsilon: float = Field(0.2, gt=0)
    loss_type: Literal["grpo", "bnpo", "dr_grpo", "dapo"] = "dapo"
    scale_rewards: Literal["group", "batch", "none"] = "group"
    mask_truncated: bool = False
    rewards: list[Annotated[MethodConfig, Choice("reward")]] = Field([ExactAnswer()], min_length=1)

    @model_validator(mode="after")
    def _groups_fit(self) -> Config:
        if self.rollouts % self.num_generations:
            raise ValueError(
                f"num_generations={self.num_generations} doesn't divide the {self.rollouts} completions of one batch of rollouts "
                "(processes × batch_size × steps_per_generation)"
            )
        return self

    @property
    def rollouts(self) -> int:
        """Completions of one batch of rollouts, over all processes."""
        return self.processes * self.batch_size * (self.steps_per_generation or self.gradient_accumulation)

    @property
    def uses(self) -> int:
        """A prompt is answered several times, and each answer trained on so often."""
        return self.num_generations * self.num_iterations

    def splits(self) -> tuple[str, ...]:
        """Reads the prompts with answers."""
        return ("prompts",)


def run(config: Config, inputs: Inputs, stage: Stage) -> None:
    """Trains on the ``prompts`` split; writes the adapter or the model, and the reward of the first and last window."""
    from datasets import Dataset
    from transformers import GenerationConfig
    from trl import GRPOConfig, GRPOTrainer

    from components.training.callbacks import EqualGroups
    from components.training.policy import fit, load_policy, save_policy

    model, tokenizer = load_policy(config, inputs.model, stage)
    rows, too_long = _prompts(tokenizer, inputs, config)
    if too_long:
        stage.events.warning(
            f"{too_long} of {too_long + len(rows)} prompts are longer than {config.max_prompt_length} tokens: left out"
        )
    _check_context(model, config)
    _check_batch(len(rows), config)
    arguments = GRPOConfig(
        **trainer_arguments(config, stage, len(rows) * config.uses),
        num_generations=config.num_generations,
        steps_per_generation=config.steps_per_generation,
        num_iterations=config.num_iterations,
        max_completion_length=config.max_completion_length,
        temperature=config.temperature,
        top_p=config.top_p,
        beta=config.beta,
        epsilon=config.epsilon,
        loss_type=config.loss_type,
        scale_rewards=config.scale_rewards,
        mask_truncated_completions=config.mask_truncated,
        reward_weights=[reward.weight for reward in config.rewards],  # type: ignore[attr-defined]
    )
    own, model.generation_config = model.generation_config, GenerationConfig(eos_token_id=model.generation_config.eos_token_id)
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=reward_functions(config.rewards),
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    trainer.add_callback(EqualGroups(stage.events, lambda: _rewards(trainer), config.num_generations))
    trained = fit(trainer, stage)
    trained.generation_config = own
    save_policy(trained, tokenizer, stage)
    history = [entry for entry in trainer.state.log_history if "reward" in entry]
    stage.save_metrics(
        {
            "prompts": len(rows),
            "left_out": too_long,
            "steps": trainer.state.global_step,
            "reward_first": history[0]["reward"],
            "reward_last": history[-1]["reward"],
            "equal_groups": sum(entry["frac_reward_zero_std"] for entry in history) / len(history),
        }
    )


def _rewards(trainer: Any) -> list[float]:
    """The weighted rewards of the latest rollouts of all processes, group behind group."""
    each = zip(*(trainer._logs["rewards"][name] for name in trainer.reward_func_names), strict=True)
    weights = trainer.args.reward_weights
    return [math.fsum(weight * value for weight, value in zip(weights, values, strict=True)) for values in each]


def reward_functions(rewards: Sequence[Any]) -> list[Any]:
    """The rewards in TRL's form, each under its method's name, numbered from the second of the same method on."""
    methods_before = [[other.method for other in rewards[:i]] for i in range(len(rewards))]
    counts = [before.count(reward.method) + 1 for before, reward in zip(methods_before, rewards, strict=True)]
    return [
        reward_function(reward, reward.method if count == 1 else f"{reward.method}.{count}")
        for reward, count in zip(rewards, counts, strict=True)
    ]


def reward_function(config: Any, name: str) -> Any:
    """TRL's form of a reward: completions as messages, the dataset's ``row`` column as JSON, one number each."""
    module = methods.load("reward", config.method)

    def reward(completions: list[Any], row: list[str], **columns: Any) -> list[float]:
        texts = [completion[-1]["content"] for completion in completions]
        return [module.score(config, text, json.loads(line)) for text, line in zip(texts, row, strict=True)]

    reward.__name__ = name
    return reward


def _prompts(tokenizer: Any, inputs: Inputs, config: Config) -> tuple[list[dict[str, Any]], int]:
    """(prompts as messages with their row as JSON, which Arrow needn't understand; how many prompts are too long)."""
    from components.data.records import read
    from components.models.chat import prompt_ids

    rows, too_long = [], 0
    file = inputs.split("prompts")
    scores = [(reward, methods.load("reward", reward.method).score) for reward in config.rewards]
    for record in read(file, "prompts"):
        for reward, score in scores:
            score(reward, "", record)  # a row that a reward can't read is heard of now, not in the middle of the training
        messages = [{"role": "user", "content": record["prompt"]}]
        if len(prompt_ids(tokenizer, messages)) > config.max_prompt_length:
            too_long += 1
        else:
            rows.append({"prompt": messages, "row": json.dumps(record)})
    if not rows:
        raise InputError(
            f"every prompt of {file.name} is longer than max_prompt_length={config.max_prompt_length} tokens; raise it"
        )
    return rows, too_long


def _check_batch(prompts: int, config: Config) -> None:
    """A batch of rollouts is made of whole groups of as many prompts as fit; TRL would train on none if there are fewer."""
    if prompts < (needed := config.rollouts // config.num_generations):
        raise InputError(
            f"{prompts} prompts are fewer than the {needed} of one batch of {config.rollouts} rollouts "
            f"({config.num_generations} each); lower batch_size to {prompts * config.num_generations} or less, or add prompts"
        )


def _check_context(model: Any, config: Config) -> None:
    from components.training.rows import context

    limit = context(model)
    if limit is not None and config.max_prompt_length + config.max_completion_length > limit:
        raise InputError(
            f"max_prompt_length={config.max_prompt_length} + max_completion_length={config.max_completion_length} is more than "
            f"the model's context of {limit} tokens; lower one of them"
        )
