"""Tests of a model's memory: a tiny model that learnt a benchmark by heart, and the same one before that."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.artifacts import ModelRef
from components.contamination.answers import Memory
from components.contamination.ask import ask, memory
from components.contamination.check import MODEL, Found, Policy, Said, summarise
from components.contamination.items import Item
from components.contamination.membership import min_k, order
from components.contamination.suite import Benchmark


def problems(seed: int, count: int = 80) -> list[str]:
    rng = random.Random(seed)
    names, things = ("Tom", "Ann", "Max", "Lia", "Sam"), ("apples", "stones", "eggs", "books", "pears")
    return [f"{rng.choice(names)} has {rng.randrange(90)} {rng.choice(things)} and {rng.randrange(90)}." for _ in range(count)]


SEEN, UNSEEN = problems(0), problems(1)


@pytest.fixture(scope="module")
def before(tiny_llama: Path) -> Memory:
    return memory(ModelRef(tiny_llama, None, ""), "cpu")


@pytest.fixture(scope="module")
def after(tiny_llama: Path) -> Memory:
    """The model after it has read the benchmark, each item and all in their order, again and again."""
    import torch

    torch.manual_seed(0)
    trained = memory(ModelRef(tiny_llama, None, ""), "cpu")
    ids = [token for text in SEEN for token in trained.encode(text + "\n\n")]
    starts = range(0, len(ids) - 200, 200)
    ordered = torch.tensor([[trained.start, *ids[i : i + 200]] for i in starts])
    alone = [torch.tensor([trained.start, *trained.encode(text)]) for text in SEEN]
    alone = torch.nn.utils.rnn.pad_sequence(alone, batch_first=True, padding_value=-100)
    optimizer = torch.optim.AdamW(trained.model.parameters(), lr=5e-3)
    trained.model.requires_grad_(True)
    for step in range(240):
        batch = (ordered, alone)[step % 2]
        loss = trained.model(input_ids=batch.clamp_min(0), labels=batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return trained


@pytest.mark.parametrize("module", [min_k, order])
def test_what_was_learnt_by_heart_shows_and_what_was_not_does_not(module: Any, before: Memory, after: Memory) -> None:
    config = module.Config()
    assert module.test(config, SEEN, UNSEEN, after, 0).state == "contaminated"
    assert module.test(config, SEEN, UNSEEN, before, 0).state == "clean"
    assert module.test(config, problems(2), UNSEEN, after, 0).state == "clean"


def test_figures_of_min_k(after: Memory) -> None:
    found = min_k.test(min_k.Config(), SEEN, UNSEEN, after, 0)
    assert found.figures["auc"] > 0.9
    assert found.figures["non_members_above"] <= 0.05 * len(UNSEEN)
    assert len(found.flagged) == found.figures["above"] >= 25
    assert found == min_k.test(min_k.Config(), SEEN, UNSEEN, after, 0)


@pytest.mark.parametrize("module", [min_k, order])
def test_nothing_is_said_without_calibration_or_with_too_little(module: Any, before: Memory) -> None:
    for known, few in ((([]), "no known non-members"), (UNSEEN[:6], "at least")):
        found = module.test(module.Config(), SEEN, known, before, 0)
        assert found.state == "not checked"
        assert few in found.reason


def test_an_order_that_non_members_prefer_as_well_says_nothing(after: Memory) -> None:
    assert order.test(order.Config(), problems(2), SEEN, after, 0).state == "not checked"


def test_scores_follow_the_definition(before: Memory) -> None:
    import torch

    ids = before.encode(SEEN[0])
    ((token, mean, deviation),) = before.read([ids])
    with torch.inference_mode():
        logp = before.model(torch.tensor([[before.start, *ids]])).logits[0, :-1].log_softmax(-1)
    p = logp.exp()
    np.testing.assert_allclose(token, logp[range(len(ids)), ids], atol=1e-4)
    np.testing.assert_allclose(mean, (p * logp).sum(-1), atol=1e-4)
    np.testing.assert_allclose(deviation, (p * (logp - (p * logp).sum(-1, keepdim=True)) ** 2).sum(-1).sqrt(), atol=1e-3)


def test_the_benchmark_as_a_whole_is_contaminated(after: Memory) -> None:
    benchmark = Benchmark("b", tuple(Item("b", str(i), text) for i, text in enumerate(SEEN)))
    known = Benchmark("k", tuple(Item("k", str(i), text) for i, text in enumerate(UNSEEN)))
    found = Found({"b": {name: Said(False, "no model was given") for name in MODEL} | {"exact": Said(True, "")}})
    figures = ask(found, [benchmark], known, [order.Config()], after, 0)
    said = summarise([benchmark], found, Policy(require=("exact",)))["benchmarks"]["b"]
    assert (said["state"], said["methods"]["order"]["state"]) == ("contaminated", "contaminated")
    assert said["methods"]["min_k"] == {"state": "not checked", "reason": "it was switched off", "flagged": 0}
    assert figures["b"]["order"]["p"] < 0.01
