"""The engine gives the answers of transformers, whatever else is in the batch."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from components import methods
from components.artifacts import DatasetRef, Inputs, ModelRef
from components.errors import InputError
from components.inference.engine import Engine, Sampling
from components.stage import Stage

STORIES_PROMPTS = [
    "Once upon a time",
    "Lily",
    "One day, a boy named Tim went to the park with his big red",
    "The cat sat.",
    '"Hi,"',
]


def load(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval(), AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def tiny(tiny_llama: Path) -> tuple[Any, Any]:
    """With weights far from zero, so that every token of the context matters to the next one."""
    model, tokenizer = load(tiny_llama)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.mul_(1 if "norm" in name else 8)
    return model, tokenizer


@pytest.fixture(scope="module")
def stories(stories260k: Path) -> tuple[Any, Any]:
    return load(stories260k)


def random_prompts(count: int, vocabulary: int) -> list[list[int]]:
    draw = random.Random(0)
    return [[draw.randrange(3, vocabulary) for _ in range(draw.randint(1, 40))] for _ in range(count)]


def alone(model: Any, prompt: Sequence[int], new_tokens: int) -> list[int]:
    """What transformers' ``generate`` answers to one prompt on its own, greedily."""
    ids = torch.tensor([list(prompt)])
    out = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=new_tokens, do_sample=False, pad_token_id=0
    )
    return list(out[0, len(prompt) :].tolist())


@pytest.mark.parametrize("batch_tokens", [1, 150, 100_000])
def test_greedy_answers_are_generates_for_a_random_model(tiny: tuple[Any, Any], batch_tokens: int) -> None:
    model, tokenizer = tiny
    prompts = random_prompts(12, 300)
    found = Engine(model, tokenizer).generate(prompts, Sampling(max_new_tokens=24), batch_tokens=batch_tokens)
    assert [c.ids for c in found] == [alone(model, prompt, 24) for prompt in prompts]


@pytest.mark.parametrize("batch_tokens", [1, 300, 100_000])
def test_greedy_answers_are_generates_for_a_real_model(stories: tuple[Any, Any], batch_tokens: int) -> None:
    model, tokenizer = stories
    prompts = [tokenizer(text).input_ids for text in STORIES_PROMPTS]
    found = Engine(model, tokenizer).generate(prompts, Sampling(max_new_tokens=60), batch_tokens=batch_tokens)
    assert [c.ids for c in found] == [alone(model, prompt, 60) for prompt in prompts]
    assert {c.finish for c in found} == {"length"}


def test_finished_rows_leave_the_batch(tiny: tuple[Any, Any]) -> None:
    """With half of all tokens as end tokens, answers end at once or late; no row is computed after its end."""
    model, tokenizer = tiny
    engine = Engine(model, tokenizer, fuse=False)
    engine.end_ids = set(range(0, 320, 3))
    prompts = random_prompts(16, 300)
    assert engine.decoder().forward.packs  # tried before the rows are counted
    rows: list[int] = []
    hook = model.register_forward_pre_hook(lambda _, args, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True)
    try:
        found = engine.generate(prompts, Sampling(max_new_tokens=30))
    finally:
        hook.remove()
    lengths = [len(c.ids) for c in found]
    assert sum(rows) == sum(lengths)
    assert min(lengths) < max(lengths)
    for prompt, completion in zip(prompts, found, strict=True):
        expected = alone(model, prompt, 30)[: len(completion.ids)]
        assert completion.ids == expected
        assert all(token not in engine.end_ids for token in completion.ids[:-1])
        assert completion.finish == ("stop" if completion.ids[-1] in engine.end_ids else "length")


def test_sampling_depends_on_seed_and_position_only(stories: tuple[Any, Any]) -> None:
    model, tokenizer = stories
    engine = Engine(model, tokenizer)
    prompts = [tokenizer("Once upon a time").input_ids] * 6

    def sample(seed: int, batch_tokens: int) -> list[str]:
        found = engine.generate(
            prompts, Sampling(max_new_tokens=20, temperature=0.8, top_p=0.95, seed=seed), batch_tokens=batch_tokens
        )
        return [c.text for c in found]

    assert sample(1, 1) == sample(1, 100_000)
    assert sample(1, 1) != sample(2, 1)
    assert len(set(sample(1, 1))) >= 4
    engine.end_ids = set(range(3, 512, 7))  # rows leave at different steps
    assert sample(1, 1) == sample(1, 100_000)


def test_a_stop_string_ends_the_answer_and_is_cut_off(stories: tuple[Any, Any]) -> None:
    model, tokenizer = stories
    engine = Engine(model, tokenizer)
    prompts = [tokenizer(text).input_ids for text in STORIES_PROMPTS]
    whole = engine.generate(prompts, Sampling(max_new_tokens=60))
    for stop in (".", "was a", ". "):
        for full, completion in zip(
            whole, engine.generate(prompts, Sampling(max_new_tokens=60, stop=(stop, "never said"))), strict=True
        ):
            if stop in full.text:
                assert completion.text == full.text[: full.text.index(stop)]
                assert completion.finish == "stop"
                assert len(completion.ids) <= len(full.ids)
            else:
                assert completion == full


def test_text_has_no_special_tokens_and_ids_end_with_the_end_token(stories: tuple[Any, Any]) -> None:
    model, tokenizer = stories
    engine = Engine(model, tokenizer)
    (probe,) = engine.generate([tokenizer("Once upon a time").input_ids], Sampling(max_new_tokens=10))
    engine.end_ids = {probe.ids[4]}
    (found,) = engine.generate([tokenizer("Once upon a time").input_ids], Sampling(max_new_tokens=10))
    assert found.ids == probe.ids[: probe.ids.index(probe.ids[4]) + 1]
    assert (found.finish, found.text) == ("stop", tokenizer.decode(found.ids, skip_special_tokens=True))


def test_the_context_cuts_an_answer(tiny: tuple[Any, Any]) -> None:
    model, tokenizer = tiny
    engine = Engine(model, tokenizer)
    engine.end_ids = set()
    assert engine.context == 256
    found = engine.generate([[5] * 250, [6] * 3], Sampling(max_new_tokens=20))
    assert [(len(c.ids), c.finish) for c in found] == [(6, "length"), (20, "length")]


def test_prompts_that_do_not_fit_are_counted(tiny: tuple[Any, Any]) -> None:
    engine = Engine(*tiny)
    with pytest.raises(InputError, match=r"2 of 3 prompts don't fit: the longest has 300 tokens, .* allows 255"):
        engine.generate([[5] * 256, [5] * 300, [5]], Sampling(max_new_tokens=5))
    with pytest.raises(InputError, match="1 of 2 prompts are empty"):
        engine.generate([[], [5]], Sampling(max_new_tokens=5))
    with pytest.raises(InputError, match="1 of 1 pairs don't fit"):
        engine.loglikelihood([([5] * 250, [6] * 8)])
    with pytest.raises(InputError, match="2 of 2 pairs are empty"):
        engine.loglikelihood([([], [6]), ([6], [])])
    assert engine.generate([], Sampling(max_new_tokens=5)) == []


@pytest.mark.parametrize("batch_tokens", [1, 100, 100_000])
def test_loglikelihood_is_each_pairs_own(stories: tuple[Any, Any], batch_tokens: int) -> None:
    model, tokenizer = stories
    engine = Engine(model, tokenizer)
    prompts = [tokenizer(text).input_ids for text in STORIES_PROMPTS]
    greedy = [c.ids for c in engine.generate(prompts, Sampling(max_new_tokens=7))]
    pairs = [(p, g) for p, g in zip(prompts, greedy, strict=True)] + [
        (p, [9, 40, 77, 3][: i + 1]) for i, p in enumerate(prompts[:4])
    ]
    for (context, rest), (value, is_greedy) in zip(pairs, engine.loglikelihood(pairs, batch_tokens=batch_tokens), strict=True):
        logits = model(torch.tensor([[*context, *rest]])).logits[0, len(context) - 1 : -1].log_softmax(-1)
        assert value == pytest.approx(logits[range(len(rest)), rest].sum().item(), abs=1e-4)
        assert is_greedy == (rest in greedy)


def test_progress_counts_every_request(tiny: tuple[Any, Any]) -> None:
    seen: list[tuple[int, int]] = []
    engine = Engine(*tiny, on_progress=lambda done, total: seen.append((done, total)))
    engine.generate(random_prompts(9, 300), Sampling(max_new_tokens=3), batch_tokens=60)
    assert seen[-1] == (9, 9)
    assert len(seen) > 2
    assert seen == sorted(seen)


@pytest.mark.parametrize("form", ["tiny_nf4", "tiny_sft"])
def test_quantized_and_adapted_models_answer_as_in_transformers(form: str, request: pytest.FixtureRequest) -> None:
    from components.inference.dequantize import dequantize
    from components.models.load import load_model

    model, tokenizer = load_model(request.getfixturevalue(form), "cpu")
    prompts = [
        tokenizer.encode(f"Question: Tom has {a} apples and buys {b}. How many?\nAnswer:") for a, b in ((1, 2), (7, 5), (3, 9))
    ]
    expected = [alone(model, prompt, 16) for prompt in prompts]
    engine = Engine(model, tokenizer)
    assert engine.decoder().forward.packs
    assert [c.ids for c in engine.generate(prompts, Sampling(max_new_tokens=16))] == expected
    plain = [value for value, _ in engine.loglikelihood([(p, p[3:9]) for p in prompts])]
    assert dequantize(model) == 14
    assert [c.ids for c in engine.generate(prompts, Sampling(max_new_tokens=16))] == expected
    assert [value for value, _ in engine.loglikelihood([(p, p[3:9]) for p in prompts])] == pytest.approx(plain, abs=1e-3)


@pytest.mark.parametrize("base", ["stories260k", "tiny_llama"])
@pytest.mark.parametrize("form", ["quantize.nf4", "export.gptq"])
def test_greedy_answers_of_quantized_bases_are_generates(
    base: str,
    form: str,
    tiny_llama: Path,
    tiny_data: DatasetRef,
    tmp_path: Path,
    new_stage: Callable[..., Stage],
    request: pytest.FixtureRequest,
) -> None:
    """In float32, token for token: a real pretrained model and one of the quickstart's kind, in NF4 and as a GPTQ export."""
    from components.models.load import load_model

    model, tokenizer = load(request.getfixturevalue(base))
    tokenizer.chat_template = load(tiny_llama)[1].chat_template  # the stages measure on chats, which stories260K has no form for
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "base")
    stage, module = new_stage(), methods.load(*form.split("."))
    calibration = {"group_size": 0, "samples": 8, "max_length": 64} if form == "export.gptq" else {}
    module.run(module.Config(**calibration), Inputs(tiny_data, {"model": ModelRef(tmp_path / "base", None, "")}), stage)
    model, tokenizer = load_model(ModelRef(stage.out / "model", None, ""), "cpu")
    assert model.dtype == torch.float32
    prompts = [tokenizer.encode(text) for text in ("Once upon a time", "Tom has 3 apples and buys 4", "Lily")]
    expected = [alone(model, prompt, 24) for prompt in prompts]
    assert [c.ids for c in Engine(model, tokenizer).generate(prompts, Sampling(max_new_tokens=24))] == expected


def test_no_more_answers_run_at_once_than_a_processor_keeps_near(stories: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = stories
    engine = Engine(model, tokenizer, processes=1)
    steps = engine.decoder().forward.fused.steps  # type: ignore[union-attr]
    assert steps is not None
    step, rows = steps.step, list[int]()
    monkeypatch.setattr(steps, "step", lambda slots, tokens, lengths: rows.append(len(tokens)) or step(slots, tokens, lengths))
    prompts = [tokenizer("Once upon a time").input_ids] * 150
    assert len({tuple(c.ids) for c in engine.generate(prompts, Sampling(max_new_tokens=40))}) == 1
    room = len(prompts[0]) + 40
    assert max(rows) == (6 << 20) // (room * 5 * 2 * 4 * 8 * 4) < 150
    assert Engine(model, tokenizer, fuse=False)._rows(room) == 256, "whose steps cost more than what they read"
