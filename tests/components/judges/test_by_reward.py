from __future__ import annotations

import json
from pathlib import Path

import pytest

from components.artifacts import ModelRef
from components.judges.asking import Opinion, Question
from components.judges.by_reward import RewardJudge, is_reward_model
from components.judges.choose import judge as choose
from components.settings import Settings


@pytest.fixture(scope="module")
def reward_model(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model's folder as the reward stage writes it, with a random head."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(1)
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    model = AutoModelForSequenceClassification.from_pretrained(tiny_llama, num_labels=1)
    model.config.pad_token_id = tokenizer.pad_token_id
    folder = tmp_path_factory.mktemp("reward") / "model"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _opinions(judge: RewardJudge, *questions: Question) -> list[Opinion]:
    found: dict[int, Opinion] = {}
    judge.ask(questions, found.__setitem__)
    return [found[i] for i in range(len(questions))]


def test_the_score_is_that_of_the_reward_stage_and_the_order_changes_nothing(reward_model: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from components.align.reward import _score

    judge = choose(str(reward_model.parent), Settings(home=tmp_path))  # the stage's output, which holds model/
    assert isinstance(judge, RewardJudge)
    one, other = _opinions(judge, Question("1", "2 + 3?", "5", "6 apples"), Question("2", "2 + 3?", "6 apples", "5"))
    model = AutoModelForSequenceClassification.from_pretrained(reward_model)
    tokenizer = AutoTokenizer.from_pretrained(reward_model)
    expected = [
        _score(model, tokenizer, [{"role": "user", "content": "2 + 3?"}, {"role": "assistant", "content": answer}])
        for answer in ("5", "6 apples")
    ]
    assert one.scores == pytest.approx(tuple(expected), abs=1e-5)
    assert other.scores == pytest.approx(tuple(reversed(expected)), abs=1e-5)
    assert {one.position, other.position} == {"first", "second"}
    assert judge.identity.kind == "reward"


def test_an_answer_that_does_not_fit_leaves_no_verdict_and_loading_draws_no_bars(
    reward_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from transformers.utils import logging

    logging.enable_progress_bar()
    judge = RewardJudge(ModelRef(reward_model, None, "0" * 64), "reward")
    (found,) = _opinions(judge, Question("1", "2 + 3?", "5", "6 apples " * 200))
    assert found.position is None
    assert "Loading" not in capfd.readouterr().err
    assert "context of 256 tokens" in str(found.error)


def test_a_reward_model_is_told_from_a_language_model(reward_model: Path, tiny_llama: Path) -> None:
    assert is_reward_model(reward_model)
    assert not is_reward_model(tiny_llama)
    assert json.loads((reward_model / "config.json").read_bytes())["architectures"] == ["LlamaForSequenceClassification"]
