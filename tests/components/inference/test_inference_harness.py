"""The engine under lm-evaluation-harness, against the harness's own Hugging Face backend."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from components.errors import InputError
from components.inference.engine import Engine
from components.inference.harness import Answer, EngineLM
from components.models.chat import choose_template, prompt_ids

TEXT = "Once upon a time there was a little dog. He liked to play in the park. One day he saw a big red ball. "


def request(kind: str, *args: Any) -> Any:
    from lm_eval.api.instance import Instance

    return Instance(kind, {}, args, 0)


@pytest.fixture(scope="module")
def parts(stories260k: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(stories260k, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(stories260k)
    choose_template(tokenizer, "plain")
    return model, tokenizer


@pytest.fixture(scope="module")
def reference(parts: tuple[Any, Any]) -> Any:
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=parts[0], tokenizer=parts[1], batch_size=2, device="cpu")


def test_loglikelihoods_are_the_reference_backends(parts: tuple[Any, Any], reference: Any) -> None:
    lm = EngineLM(Engine(*parts), chat=False)
    pairs = [
        ("Once upon a", " time"),
        ("Once upon a", " table"),
        ("The dog ", "ran"),
        ("", "Once upon"),
        ("Lily", " was very happy."),
    ]
    requests = [request("loglikelihood", *pair) for pair in pairs]
    ours, theirs = lm.loglikelihood(requests, disable_tqdm=True), reference.loglikelihood(requests, disable_tqdm=True)
    assert [value for value, _ in ours] == pytest.approx([value for value, _ in theirs], abs=1e-3)
    assert [greedy for _, greedy in ours] == [greedy for _, greedy in theirs]
    assert {greedy for _, greedy in ours} == {True, False}


def test_rolling_loglikelihood_is_the_reference_backends(parts: tuple[Any, Any], reference: Any) -> None:
    lm = EngineLM(Engine(*parts), chat=False)
    requests = [request("loglikelihood_rolling", TEXT * 20), request("loglikelihood_rolling", TEXT)]
    assert len(lm.tok_encode(TEXT * 20)) > 512  # several windows
    ours = lm.loglikelihood_rolling(requests)
    # The reference scores a leading BOS that the tokenizer adds; the text alone is what both have in common.
    reference.add_bos_token = False
    assert ours == pytest.approx(reference.loglikelihood_rolling(requests, disable_tqdm=True), abs=1e-2)
    assert -ours[1] / len(lm.tok_encode(TEXT)) < 2.5


def test_greedy_answers_are_the_reference_backends(parts: tuple[Any, Any], reference: Any) -> None:
    lm = EngineLM(Engine(*parts), chat=False)
    settings = [{"until": ["."], "max_gen_toks": 30}, {"until": [], "max_gen_toks": 12}, {"until": ["\n\n"], "max_gen_toks": 30}]
    texts = ["Once upon a time", "One day, Lily", "The big red ball was"]
    requests = [request("generate_until", text, setting) for text in texts for setting in settings]
    reference.add_bos_token = True
    assert [str(a) for a in lm.generate_until(requests)] == reference.generate_until(requests, disable_tqdm=True)


def test_answers_say_whether_they_were_cut(parts: tuple[Any, Any]) -> None:
    lm = EngineLM(Engine(*parts), chat=False)
    cut, ended = lm.generate_until(
        [request("generate_until", "Once upon a time", {"until": [s], "max_gen_toks": 40}) for s in ("never said", ".")]
    )
    assert isinstance(cut, Answer)
    assert cut.truncated
    assert not ended.truncated
    assert json.dumps(cut) == json.dumps(str(cut))


def test_prompts_are_those_of_training_and_chat(parts: tuple[Any, Any]) -> None:
    lm = EngineLM(Engine(*parts))
    turns = [
        {"role": "user", "content": "Hi."},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": " Tell\u2028me. "},
    ]
    for messages in (turns[:1], turns):
        assert lm.tok_encode(lm.apply_chat_template(messages)) == prompt_ids(parts[1], messages)
    assert lm.apply_chat_template(turns[:2], add_generation_prompt=False).endswith("Answer: Hello!")
    assert lm.chat_template(True) == parts[1].chat_template
    assert lm.tokenizer_name


def test_repeats_of_one_prompt_are_different_draws(parts: tuple[Any, Any]) -> None:
    requests = [request("generate_until", "Once upon a time", {"until": [], "max_gen_toks": 20, "temperature": 1.0})] * 4
    first = EngineLM(Engine(*parts), seed=1, chat=False).generate_until(requests)
    assert len(set(first)) == 4
    assert first == EngineLM(Engine(*parts), seed=1, chat=False, batch_tokens=1).generate_until(requests)
    assert first != EngineLM(Engine(*parts), seed=2, chat=False).generate_until(requests)
    greedy = request(
        "generate_until", "Once upon a time", {"until": [], "max_gen_toks": 20, "temperature": 1.0, "do_sample": False}
    )
    assert len(set(EngineLM(Engine(*parts), chat=False).generate_until([greedy] * 2))) == 1


def test_settings_that_the_engine_lacks_are_refused(parts: tuple[Any, Any]) -> None:
    lm = EngineLM(Engine(*parts))
    with pytest.raises(InputError, match="num_beams unknown to the engine"):
        lm.generate_until([request("generate_until", "Once", {"until": [], "num_beams": 4})])
    with pytest.raises(InputError, match="one template"):
        lm.chat_template("tools")


def test_multiple_choice_with_examples_is_the_reference_backends(parts: tuple[Any, Any], reference: Any) -> None:
    """Headers and stems that are shared, choices of one token and of several, contexts that end in a blank."""
    header = "Question: What does a dog like?\nA. to run\nB. to sit\nAnswer: A\n\n" * 2
    stems = [f"{header}Question: {TEXT[: 20 * i]}?\nAnswer:{blank}" for i in (1, 2, 4) for blank in ("", " ")]
    requests = [request("loglikelihood", stem, choice) for stem in stems for choice in (" A", " B", " a big red ball", "\n\nLily")]
    reference.add_bos_token = True
    ours = EngineLM(Engine(*parts), chat=False).loglikelihood(requests)
    theirs = reference.loglikelihood(requests, disable_tqdm=True)
    assert [value for value, _ in ours] == pytest.approx([value for value, _ in theirs], abs=1e-3)
    assert [greedy for _, greedy in ours] == [greedy for _, greedy in theirs]


def test_filters_of_a_task_reach_the_engine(parts: tuple[Any, Any]) -> None:
    def answers(**kwargs: Any) -> list[str]:
        settings = {"until": [], "max_gen_toks": 24, "temperature": 1.0, **kwargs}
        return EngineLM(Engine(*parts), seed=3, chat=False).generate_until([request("generate_until", "Once upon", settings)] * 3)

    greedy = answers(temperature=0.0)
    assert answers(top_k=1) == answers(min_p=1.0) == answers(top_p=1e-9) == greedy
    assert answers() != greedy
    assert answers(temperature=0.0, repetition_penalty=5.0) != greedy
