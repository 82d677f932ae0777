"""The decoder step by step: requests come, run, are cancelled; what memory can't hold waits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from components.inference.answer import Completion
from components.inference.decoding import Decoder
from components.inference.engine import Engine, Sampling


@pytest.fixture(scope="module", params=["fused", "modules"])
def engine(stories260k: Path, request: pytest.FixtureRequest) -> Engine:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(stories260k, dtype=torch.float32)
    made = Engine(model, AutoTokenizer.from_pretrained(stories260k), fuse=request.param == "fused")
    forward = made.decoder().forward
    assert forward.packs
    assert (forward.fused is not None) == made.fuse
    return made


def ids(engine: Engine, text: str) -> list[int]:
    return list(engine.tokenizer(text).input_ids)


def drain(decoder: Decoder) -> dict[tuple[int, int], Completion]:
    found = {}
    while not decoder.idle:
        for event in decoder.step():
            if event.completion is not None:
                found[event.request, event.sample] = event.completion
    return found


def rows_computed(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Shapes of all batches that the model sees from now on."""
    shapes: list[tuple[int, int]] = []
    before_each_pass(engine, monkeypatch, lambda rows, width: shapes.append((rows, width)))
    return shapes


def before_each_pass(engine: Engine, monkeypatch: pytest.MonkeyPatch, act: Callable[[int, int], None]) -> None:
    """Calls ``act`` with the rows and columns of every batch that is going to be computed."""
    plain, fused = engine.model.forward, engine.decoder().forward.fused

    def forward(*args: Any, input_ids: torch.Tensor, **kwargs: Any) -> Any:
        act(*input_ids.shape)
        return plain(*args, input_ids=input_ids, **kwargs)

    if fused is None:
        monkeypatch.setattr(engine.model, "forward", forward)
        return
    rows, step = fused.rows, fused.step

    def counted_rows(ids: torch.Tensor, *args: Any) -> Any:
        act(*ids.shape)
        return rows(ids, *args)

    def counted_step(slots: Any, tokens: list[int], lengths: list[int]) -> Any:
        act(len(tokens), 1)
        return step(slots, tokens, lengths)

    monkeypatch.setattr(fused, "rows", counted_rows)
    monkeypatch.setattr(fused, "step", counted_step)


def test_a_request_that_comes_later_answers_as_if_alone(engine: Engine) -> None:
    decoder = engine.decoder()
    first = decoder.submit(ids(engine, "Once upon a time"), Sampling(max_new_tokens=30))
    streamed = [event.token for _ in range(10) for event in decoder.step()]
    second = decoder.submit(ids(engine, "Lily saw a dog"), Sampling(max_new_tokens=12, temperature=0.9, seed=4), index=0)
    found = drain(decoder)
    (alone,) = engine.generate([ids(engine, "Once upon a time")], Sampling(max_new_tokens=30))
    (drawn,) = engine.generate([ids(engine, "Lily saw a dog")], Sampling(max_new_tokens=12, temperature=0.9, seed=4))
    assert found == {(first, 0): alone, (second, 0): drawn}
    assert streamed == alone.ids[:10]


def test_a_cancelled_request_says_nothing_more_and_frees_its_place(engine: Engine) -> None:
    decoder = engine.decoder(batch_tokens=100)  # room for one
    gone = decoder.submit(ids(engine, "Once upon a time"), Sampling(max_new_tokens=80))
    stays = decoder.submit(ids(engine, "One day"), Sampling(max_new_tokens=80))
    assert {event.request for _ in range(5) for event in decoder.step()} == {gone}
    decoder.cancel(gone)
    events = decoder.step()
    assert [event.request for event in events] == [stays]
    (alone,) = engine.generate([ids(engine, "One day")], Sampling(max_new_tokens=80))
    assert drain(decoder) == {(stays, 0): alone}


def test_a_row_that_takes_a_cancelled_ones_place_goes_on_as_if_alone(engine: Engine) -> None:
    decoder = engine.decoder()
    texts = ("Once upon a time", "One day", "Lily saw a dog")
    first, second, third = (decoder.submit(ids(engine, text), Sampling(max_new_tokens=20)) for text in texts)
    for _ in range(5):
        decoder.step()
    decoder.cancel(first)
    alone = engine.generate([ids(engine, text) for text in texts[1:]], Sampling(max_new_tokens=20))
    assert drain(decoder) == {(second, 0): alone[0], (third, 0): alone[1]}


def test_samples_share_one_reading_of_their_prompt(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = ids(engine, "Once upon a time there was a little girl who liked to play")
    assert engine.decoder().forward.packs
    sampling = Sampling(max_new_tokens=12, temperature=0.9, n=5, seed=3)
    shapes = rows_computed(engine, monkeypatch)
    found = engine.generate([prompt], sampling)
    assert shapes[0] == (1, len(prompt))
    assert all(width == 1 for _, width in shapes[1:])
    assert len({completion.text for completion in found}) == 5
    assert found == engine.generate([prompt], sampling, batch_tokens=1)  # one after another
    more = engine.generate([ids(engine, "Lily"), prompt], sampling, positions=[9, 0])
    assert more[5:] == found


def test_a_common_beginning_is_read_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    header = ids(engine, "Once upon a time there was a little dog. He liked to run in the park. " * 3)
    prompts = [[*header, *ids(engine, text)[1:]] for text in ("One day", "Lily saw", "The sun was", "He ran")]
    assert engine.decoder().forward.packs
    shapes = rows_computed(engine, monkeypatch)
    found = engine.generate(prompts, Sampling(max_new_tokens=10), batch_tokens=2 * (len(header) + 20))  # two at once
    assert sum(rows * width for rows, width in shapes if width > 1) < 2 * len(header)
    monkeypatch.undo()
    assert found == [engine.generate([prompt], Sampling(max_new_tokens=10))[0] for prompt in prompts]


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate")])
def test_where_memory_is_short_fewer_rows_run(engine: Engine, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    prompts = [ids(engine, text) for text in ("Once upon a time", "Lily", "The dog ran", "One day", "Tim")]
    sampling = Sampling(max_new_tokens=12, temperature=0.7)
    expected = engine.generate(prompts, sampling)
    scored = engine.loglikelihood([(prompt, [9, 40]) for prompt in prompts])

    def small(rows: int, _: int) -> None:
        if rows > 2:
            raise error

    before_each_pass(engine, monkeypatch, small)
    assert engine.generate(prompts, sampling) == expected
    values = engine.loglikelihood([(prompt, [9, 40]) for prompt in prompts])
    assert [v for v, _ in values] == pytest.approx([v for v, _ in scored], abs=1e-4)

    def broken(*_: int) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    before_each_pass(engine, monkeypatch, broken)
    with pytest.raises(RuntimeError, match="mat1"):
        engine.generate(prompts, sampling)
