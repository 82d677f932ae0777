"""What a single request can ask of the decoder: log-probabilities, a grammar, a compressed cache, an earlier turn's memory."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from components import methods
from components.errors import InputError
from components.inference.answer import Completion, Event
from components.inference.constraints import Constraint
from components.inference.decoding import Decoder
from components.inference.engine import Engine, Sampling
from components.inference.kv import expected_attention, full
from components.inference.kv_cache import generate


@pytest.fixture(scope="module", params=["stories", "micro"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """A real pretrained model, and a random one with the quickstart's kind of tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder: Path = request.getfixturevalue("stories260k" if request.param == "stories" else "tiny_llama")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return Engine(model, AutoTokenizer.from_pretrained(folder))


def ids(engine: Engine, text: str) -> list[int]:
    return list(engine.tokenizer(text, add_special_tokens=False).input_ids)


def run(decoder: Decoder) -> list[Event]:
    events = []
    while not decoder.idle:
        events += decoder.step()
    return events


def answers(events: Sequence[Event]) -> dict[tuple[int, int], Completion]:
    return {(event.request, event.sample): event.completion for event in events if event.completion is not None}


@pytest.mark.parametrize("sampling", [Sampling(12), Sampling(12, temperature=1.3, top_k=5, repetition_penalty=1.4, seed=7)])
def test_logprobs_are_those_of_the_plain_forward_pass(engine: Engine, sampling: Sampling) -> None:
    decoder, prompt = engine.decoder(), ids(engine, "Tom has 3 apples")
    decoder.submit(ids(engine, "Another one"), Sampling(20))
    asked = decoder.submit(prompt, sampling, logprobs=3)
    events = [event for event in run(decoder) if event.request == asked]
    said = [event.token for event in events]
    with torch.inference_mode():
        logits = engine.model(input_ids=torch.tensor([[*prompt, *said]])).logits[0, len(prompt) - 1 : -1]
    expected = logits.log_softmax(-1)
    for place, event in enumerate(events):
        assert event.logprob == pytest.approx(float(expected[place, event.token]), abs=2e-4)
        values, tokens = expected[place].topk(3)
        assert [token for token, _ in event.alternatives] == tokens.tolist()
        assert [value for _, value in event.alternatives] == pytest.approx(values.tolist(), abs=2e-4)


def test_who_asks_for_no_logprobs_gets_none(engine: Engine) -> None:
    decoder = engine.decoder()
    decoder.submit(ids(engine, "Tom"), Sampling(3))
    assert all(event.logprob is None and event.alternatives == [] for event in run(decoder))


def schema(rng: random.Random, depth: int = 0) -> dict[str, Any]:
    """A random schema whose answers are finite."""
    kinds = ["boolean", "integer", "enum", "string"] + (["array", "object"] if depth < 2 else [])
    kind = rng.choice(kinds)
    if kind == "enum":
        return {"enum": rng.sample(["yes", "no", 1, None, True, "é"], 3)}
    if kind == "string":
        return {"type": "string", "maxLength": rng.randint(0, 4)}
    if kind == "integer":
        low = rng.randint(-20, 20)
        return {"type": "integer", "minimum": low, "maximum": low + rng.randint(0, 30)}
    if kind == "array":
        return {"type": "array", "items": schema(rng, depth + 1), "minItems": 1, "maxItems": 2}
    if kind == "object":
        names = rng.sample(["a", "b", "name", "naïve"], rng.randint(1, 3))
        parts = {name: schema(rng, depth + 1) for name in names}
        return {"type": "object", "properties": parts, "required": names[:1], "additionalProperties": False}
    return {"type": kind}


def test_constrained_answers_validate_and_leave_others_alone(engine: Engine) -> None:
    import jsonschema

    rng, decoder = random.Random(0), engine.decoder()
    prompt = ids(engine, "Tom has 3 apples and buys 4")
    wanted: dict[int, dict[str, Any]] = {}
    free = decoder.submit(prompt, Sampling(30))
    for number in range(40):
        asked = {"type": "object", "properties": {"x": schema(rng)}, "required": ["x"], "additionalProperties": False}
        sampling = Sampling(120, temperature=0.0 if number % 2 else 1.5, seed=number, n=1 + number % 2)
        wanted[decoder.submit(prompt, sampling, constraint=Constraint.json_schema(engine.tokenizer, asked))] = asked
    found = answers(run(decoder))
    finished = [(request, done) for (request, _), done in found.items() if request != free and done.finish == "stop"]
    assert len(finished) > 50
    for request, done in finished:
        jsonschema.validate(json.loads(done.text), wanted[request])
    alone = engine.generate([prompt], Sampling(30))[0]
    assert found[free, 0].ids == alone.ids


def test_an_answer_that_its_limit_cuts_says_so(engine: Engine) -> None:
    decoder = engine.decoder()
    decoder.submit(ids(engine, "Tom"), Sampling(4), constraint=Constraint.regex(engine.tokenizer, "(yes|no){40}"))
    (done,) = answers(run(decoder)).values()
    assert done.finish == "length"
    assert len(done.ids) == 4


def test_a_grammar_keeps_its_probabilities_where_it_leaves_a_choice(engine: Engine) -> None:
    """Draws from {yes, no} follow the model's own odds of the two, renormalised: 800 draws within four standard errors."""
    decoder, prompt = engine.decoder(), ids(engine, "Tom has")
    n = 800
    decoder.submit(prompt, Sampling(1, temperature=1.0, seed=3, n=n), constraint=Constraint.regex(engine.tokenizer, "[yn]"))
    drawn = [done.text.strip() for done in answers(run(decoder)).values()]
    with torch.inference_mode():
        odds = engine.model(input_ids=torch.tensor([prompt])).logits[0, -1].double().softmax(-1)
    names = engine.tokenizer.convert_ids_to_tokens(range(len(engine.tokenizer)))
    written = {"y": {"y", "<0x79>"}, "n": {"n", "<0x6E>"}}
    weight = {word: sum(float(odds[t]) for t, name in enumerate(names) if name in ways) for word, ways in written.items()}
    share = weight["y"] / sum(weight.values())
    assert abs(drawn.count("y") / n - share) < 4 * (share * (1 - share) / n) ** 0.5 + 1e-9
    assert set(drawn) <= {"y", "n"}


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda t: Constraint.json_schema(t, {"type": "nonsense"}), "Invalid type: nonsense"),
        (lambda t: Constraint.json_schema(t, {"allOf": [{"type": "string"}, {"type": "number"}]}), "Unsatisfiable"),
        (lambda t: Constraint.json_schema(t, {"not": {"type": "string"}}), "not"),
        (lambda t: Constraint.regex(t, "(a"), "regex parse error"),
        (lambda t: Constraint.lark(t, "start: foo"), "unknown name"),
    ],
)
def test_what_cannot_be_enforced_is_refused(engine: Engine, wrong: Any, says: str) -> None:
    with pytest.raises(InputError, match="can't be enforced") as refused:
        wrong(engine.tokenizer)
    assert says in str(refused.value)


def test_compressed_rows_run_beside_others_and_answer_as_alone(engine: Engine) -> None:
    decoder, prompt = engine.decoder(), ids(engine, "Tom has 3 apples and buys 4 more. How many apples has Tom now?")
    config, sampling = expected_attention.Config(ratio=0.5), Sampling(10, temperature=0.8, seed=5)
    free = decoder.submit(prompt, Sampling(16))
    small = decoder.submit(prompt, sampling, 0, kv=config)
    whole = decoder.submit(prompt, Sampling(10), kv=full.Config())
    gone = decoder.submit(prompt, Sampling(10), kv=config)
    decoder.cancel(gone)
    found = answers(run(decoder))
    assert gone not in {request for request, _ in found}
    alone = generate(engine.model, prompt, config, sampling, sorted(engine.end_ids))
    assert (found[small, 0].ids, found[small, 0].usage) == (alone.ids, alone.usage)
    usage = found[small, 0].usage
    assert usage is not None
    assert usage.cached < usage.length
    assert usage.nbytes < usage.full_nbytes
    plain = engine.generate([prompt], Sampling(16))[0]
    assert found[whole, 0].ids == plain.ids[:10]
    assert found[free, 0].ids == plain.ids
    assert found[free, 0].usage is None


def test_a_next_turn_begins_behind_the_last_one(engine: Engine) -> None:
    decoder = engine.decoder(remember=True)
    conversation = ids(engine, "Tom has 3 apples and buys 4 more. How many has he? ") * 2
    computed = 0
    for _ in range(3):
        asked = decoder.submit(conversation, Sampling(12))
        events = [event for event in run(decoder) if event.request == asked]
        fresh = engine.generate([conversation], Sampling(12))[0]
        assert [event.token for event in events] == fresh.ids
        assert events[0].reused == computed
        assert all(event.reused == 0 for event in events[1:])
        computed = len(conversation) + len(fresh.ids) - 1
        conversation = [*conversation, *fresh.ids, *ids(engine, " And then?")]


def test_memory_of_earlier_turns_is_bounded(engine: Engine) -> None:
    decoder = engine.decoder(batch_tokens=400, remember=True)
    for number in range(30):
        decoder.submit(ids(engine, f"Number {number}: Tom has {number} apples and buys {number} more."), Sampling(8))
        run(decoder)
    assert 0 < sum(len(held.ids) for held in decoder._known._prefixes.values()) == decoder._known.held <= 100


def test_an_end_token_at_a_dead_end_makes_no_whole_answer(engine: Engine) -> None:
    end = min(engine.end_ids)
    state = Constraint.regex(engine.tokenizer, "yes").state(engine.end_ids)
    assert not state.consume(end)
    while not state.complete:
        assert state.consume(int(state.allowed().argmax()))
    assert state.consume(end)


def test_compressed_requests_begin_one_by_one_within_the_budget(engine: Engine) -> None:
    prompt = ids(engine, "Tom has 3 apples")
    decoder = engine.decoder(batch_tokens=3 * (len(prompt) + 6))
    for _ in range(12):
        decoder.submit(prompt, Sampling(6), kv=full.Config())
    most, found = 0, []
    while not decoder.idle:
        before = len(decoder._compressed)
        found += decoder.step()
        most = max(most, len(decoder._compressed))
        assert len(decoder._compressed) <= before + 1
    assert most == 3
    (expected,) = {tuple(done.ids) for done in answers(found).values()}
    assert len(answers(found)) == 12
    assert list(expected) == engine.generate([prompt], Sampling(6))[0].ids


@pytest.mark.parametrize("method", ["expected_attention", "merging", "window", "cam", "quantized"])
def test_answers_of_one_compressed_request_read_its_prompt_once(engine: Engine, method: str) -> None:
    """Each is the answer that it would be alone, also when the others are finished; each says what it takes itself."""
    prompt = ids(engine, "Tom has 3 apples and buys 4 more. How many apples has Tom now?")
    config = methods.load("kv", method).Config(ratio=0.25)
    decoder, fed = engine.decoder(batch_tokens=4 * (len(prompt) + 40)), list[int]()
    hook = engine.model.register_forward_pre_hook(lambda _, __, given: fed.append(given["input_ids"].numel()), with_kwargs=True)
    stopped = Sampling(40, temperature=1.5, seed=5, n=4, stop=("a", "e"))
    try:
        request = decoder.submit(prompt, stopped, 0, kv=config)
        found = answers(run(decoder))
    finally:
        hook.remove()
    lengths = [len(found[request, sample].ids) for sample in range(4)]
    assert len(set(lengths)) > 1
    assert fed[0] == len(prompt)
    assert sum(fed) == len(prompt) + sum(lengths) - 4
    single = Sampling(40, temperature=1.5, seed=5, n=1, stop=("a", "e"))
    alone = engine.decoder()
    first = alone.submit(prompt, single, 0, kv=config)
    assert found[request, 0] == answers(run(alone))[first, 0]
    takes = [found[request, sample].usage for sample in range(4)]
    for usage, length in zip(takes, lengths, strict=True):
        assert usage is not None
        assert usage.length == len(prompt) + length - 1
        assert usage.nbytes <= usage.full_nbytes
    assert len({usage.full_nbytes / usage.length for usage in takes if usage is not None}) == 1


def test_many_answers_to_a_prompt_read_it_once(engine: Engine) -> None:
    prompt, decoder, fed = (
        ids(engine, "Tom has 3 apples and buys 4 more. How many apples has Tom now?"),
        engine.decoder(),
        list[int](),
    )
    rows = decoder.forward.rows
    decoder.forward.rows = lambda read, *more: (fed.extend(map(len, read)), rows(read, *more))[1]
    decoder.submit(prompt, Sampling(4, temperature=1.0, seed=1, n=16))
    assert len(answers(run(decoder))) == 16
    assert fed == [len(prompt)]
