"""What goes wrong without an error elsewhere fails here, and says so."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components import events
from components.adapters.lora import Config as LoraConfig
from components.align import dpo, grpo
from components.artifacts import DatasetRef, Inputs, ModelRef
from components.errors import InputError, StageFailed
from components.models.load import load_tokenizer
from components.rewards import exact_answer, length, required_words
from components.rewards import format as format_reward
from components.stage import Stage
from components.train import sft

SFT = {"batch_size": 8, "max_steps": 4, "logging_every": 2, "adapter": LoraConfig(r=4)}
GRPO = {"lr": 1e-3, "batch_size": 8, "num_generations": 4, "max_steps": 4, "logging_every": 2}
GRPO |= {"max_prompt_length": 120, "max_completion_length": 8}


def said(stage: Stage, kind: str) -> list[dict[str, Any]]:
    return [event for event in events.read(stage.events.path)[0] if event["kind"] == kind]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (
            "{% for m in messages %}{% if m['role'] == 'user' %}Q: {{ m['content'] }}\n{% endif %}{% endfor %}",
            r"row 1 of sft.jsonl has no trained token: the chat template leaves nothing of the answer '",
        ),
        (
            "{% if messages|length == 1 %}one{% endif %}{% for m in messages %}{{ m['content'] }}{% endfor %}",
            "row 1 of sft.jsonl: the chat template renders the prompt differently when an answer follows",
        ),
        (
            "{{ raise_exception('no such role here') }}",
            "row 1 of sft.jsonl: the model's chat template refuses a conversation of user: no such role here",
        ),
    ],
)
def test_a_row_that_a_template_leaves_nothing_to_train_on_is_named(
    tiny_llama: Path, tiny_data: DatasetRef, new_stage: Callable[..., Stage], tmp_path: Path, template: str, message: str
) -> None:
    folder = shutil.copytree(tiny_llama, tmp_path / "model")
    tokenizer = load_tokenizer(folder)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(str(folder))
    with pytest.raises(InputError, match=message):
        sft.run(sft.Config(**SFT), Inputs(tiny_data, {"model": ModelRef(folder, None, "")}), new_stage())


def test_rows_longer_than_allowed_are_counted_and_all_of_them_are_too_many(
    tiny_nf4: ModelRef, tiny_data: DatasetRef, new_stage: Callable[..., Stage]
) -> None:
    stage = new_stage()
    sft.run(sft.Config(max_length=90, **SFT), Inputs(tiny_data, {"model": tiny_nf4}), stage)
    (warning,) = said(stage, "warning")
    assert warning["message"].endswith("of 40 rows are longer than 90 tokens: left out")
    with pytest.raises(
        InputError,
        match=r"every row of sft\.jsonl is longer than max_length=5 tokens; raise it",
    ):
        sft.run(sft.Config(max_length=5, **SFT), Inputs(tiny_data, {"model": tiny_nf4}), new_stage())


def test_a_loss_that_is_no_number(tiny_nf4: ModelRef, tiny_data: DatasetRef, new_stage: Callable[..., Stage]) -> None:
    stage = new_stage()
    with pytest.raises(StageFailed, match=r"(loss|grad_norm) is (nan|inf) at step \d: training diverged; lower lr \(now 1e\+25\)"):
        sft.run(sft.Config(lr=1e25, **{**SFT, "logging_every": 1}), Inputs(tiny_data, {"model": tiny_nf4}), stage)
    assert not (stage.out / "adapter").exists()


def test_a_model_that_breaks_behind_the_last_logged_loss(
    tiny_nf4: ModelRef, tiny_data: DatasetRef, new_stage: Callable[..., Stage]
) -> None:
    """The weights themselves are looked at before they are saved: nobody logs the loss of the last step's weights."""
    stage = new_stage()
    config = sft.Config(lr=1e39, warmup=0, schedule="constant_with_warmup", **{**SFT, "max_steps": 1, "logging_every": 1})
    with pytest.raises(StageFailed, match=r"weight .*lora_A.* isn't finite after training; lower lr"):
        sft.run(config, Inputs(tiny_data, {"model": tiny_nf4}), stage)
    assert not (stage.out / "adapter").exists()


def test_an_adapter_that_did_not_change(tiny_nf4: ModelRef, tiny_data: DatasetRef, new_stage: Callable[..., Stage]) -> None:
    stage = new_stage()
    with pytest.raises(StageFailed, match=r"training changed no weight: .* check target_modules and lr"):
        sft.run(sft.Config(lr=1e-45, **SFT), Inputs(tiny_data, {"model": tiny_nf4}), stage)
    assert not (stage.out / "adapter").exists()


def test_groups_that_are_all_equal(tiny_sft: ModelRef, tiny_data: DatasetRef, new_stage: Callable[..., Stage]) -> None:
    """Each window says so; a stage in which no group differed learnt nothing and fails."""
    stage = new_stage()
    config = grpo.Config(rewards=[format_reward.Config(pattern=".*")], **GRPO)
    with pytest.raises(StageFailed, match="training changed no weight"):
        grpo.run(config, Inputs(tiny_data, {"model": tiny_sft}), stage)
    warnings = [event["message"] for event in said(stage, "warning")]
    assert [warning.partition(":")[0] for warning in warnings] == ["steps up to 2", "steps up to 4"]
    assert all("in 100 % of the groups all rewards were equal" in warning for warning in warnings)


def test_groups_that_differ_are_no_reason_to_warn(
    tiny_sft: ModelRef, tiny_data: DatasetRef, new_stage: Callable[..., Stage]
) -> None:
    stage = new_stage()
    config = grpo.Config(rewards=[length.Config(least=3, most=5, slack=12)], **GRPO)
    grpo.run(config, Inputs(tiny_data, {"model": tiny_sft}), stage)
    assert said(stage, "warning") == []


def test_prompts_and_answers_have_to_fit_the_context(
    tiny_sft: ModelRef, tiny_data: DatasetRef, new_stage: Callable[..., Stage]
) -> None:
    config = grpo.Config(rewards=[exact_answer.Config()], **{**GRPO, "max_completion_length": 200})
    with pytest.raises(
        InputError, match="max_prompt_length=120 \\+ max_completion_length=200 is more than the model's context of 256"
    ):
        grpo.run(config, Inputs(tiny_data, {"model": tiny_sft}), new_stage())


def test_a_second_adapter_is_refused(tiny_sft: ModelRef, tiny_data: DatasetRef, new_stage: Callable[..., Stage]) -> None:
    with pytest.raises(InputError, match=r"sft\.adapter: the model has an adapter already; leave it out"):
        sft.run(sft.Config(**SFT), Inputs(tiny_data, {"model": tiny_sft}), new_stage())


def test_a_training_shorter_than_a_logging_window_tells_its_loss(
    tiny_sft: ModelRef, tiny_data: DatasetRef, new_stage: Callable[..., Stage]
) -> None:
    stage = new_stage()
    config = grpo.Config(rewards=[length.Config(least=3, most=5, slack=12)], **{**GRPO, "logging_every": 10})
    grpo.run(config, Inputs(tiny_data, {"model": tiny_sft}), stage)
    assert [event["step"] for event in said(stage, "metric") if event["name"] == "loss"] == [4]


def test_fewer_prompts_than_one_batch_of_rollouts(
    tiny_sft: ModelRef, tiny_data: DatasetRef, new_stage: Callable[..., Stage]
) -> None:
    config = grpo.Config(rewards=[length.Config()], **{**GRPO, "batch_size": 100})
    message = r"24 prompts are fewer than the 25 of one batch of 100 rollouts \(4 each\); lower batch_size to 96 or less"
    with pytest.raises(InputError, match=message):
        grpo.run(config, Inputs(tiny_data, {"model": tiny_sft}), new_stage())


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_equal_rewards_are_equal_whatever_rounding_makes_of_them(
    tiny_sft: ModelRef, tiny_data: DatasetRef, new_stage: Callable[..., Stage], scale: str
) -> None:
    """TRL takes the mean of eight rewards of 0.7 for another number; and two rewards of one method are told apart."""
    stage, text = new_stage(), [format_reward.Config(pattern=pattern, weight=0.35) for pattern in (".*", "(?s).*")]
    config = grpo.Config(rewards=text, **{**GRPO, "num_generations": 8}, scale_rewards=scale)
    grpo.run(config, Inputs(tiny_data, {"model": tiny_sft}), stage)
    assert len([e for e in said(stage, "warning") if "in 100 % of the groups all rewards were equal" in e["message"]]) == 2
    assert json.loads((stage.out / "metrics.json").read_bytes())["equal_groups"] == 1
    assert {e["name"] for e in said(stage, "metric")} >= {"rewards/format/mean", "rewards/format.2/mean"}


def test_a_reward_that_needs_what_the_rows_lack(tiny_sft: ModelRef, tiny_data: DatasetRef, new_stage: Callable[..., Stage]) -> None:
    stage, config = new_stage(), grpo.Config(rewards=[required_words.Config()], **GRPO)
    with pytest.raises(InputError, match=r"prompt row '.*' has words=None; reward required_words needs a list of words"):
        grpo.run(config, Inputs(tiny_data, {"model": tiny_sft}), stage)
    assert said(stage, "progress") == []


def test_rows_longer_than_the_context_are_left_out(
    tiny_llama: Path, tiny_data: DatasetRef, new_stage: Callable[..., Stage], tmp_path: Path
) -> None:
    """The model has no positions for what stands behind it, whatever ``max_length`` allows."""
    folder = shutil.copytree(tiny_llama, tmp_path / "model")
    config = json.loads((folder / "config.json").read_bytes())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 90}))
    for method, settings in ((sft, SFT), (dpo, {**SFT, "adapter": LoraConfig(r=4)})):
        stage = new_stage()
        method.run(method.Config(**settings), Inputs(tiny_data, {"model": ModelRef(folder, None, "")}), stage)
        (warning,) = said(stage, "warning")
        assert warning["message"].endswith("are longer than 90 tokens: left out")
