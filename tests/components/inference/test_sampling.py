"""Draws follow the distribution that transformers' own processors give."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from components.errors import InputError
from components.inference.sampling import Sampling, choose, nucleus, penalise, stream

CASES = [
    Sampling(temperature=1.0),
    Sampling(temperature=0.7, top_p=0.9),
    Sampling(temperature=1.5, top_p=0.5),
    Sampling(temperature=1.0, top_k=5),
    Sampling(temperature=1.0, top_k=400),
    Sampling(temperature=0.8, min_p=0.1),
    Sampling(temperature=0.9, top_k=12, top_p=0.8, min_p=0.05, repetition_penalty=1.3),
    Sampling(temperature=1.0, repetition_penalty=0.5),
]
SEEN = [3, 3, 8, 11, 39]


def logits_of_a_model() -> torch.Tensor:
    torch.manual_seed(0)
    logits = torch.randn(1, 40) * 2
    logits[0, 4] = logits[0].sort(descending=True).values[4]  # a tie at the edge of the five best
    return logits


def expected(logits: torch.Tensor, s: Sampling) -> np.ndarray:
    import transformers as t

    ids = torch.tensor([SEEN])
    processors = t.LogitsProcessorList()
    if s.repetition_penalty != 1:
        processors.append(t.RepetitionPenaltyLogitsProcessor(s.repetition_penalty))
    if s.temperature != 1:
        processors.append(t.TemperatureLogitsWarper(s.temperature))
    if s.top_k:
        processors.append(t.TopKLogitsWarper(s.top_k))
    if s.top_p < 1:
        processors.append(t.TopPLogitsWarper(s.top_p))
    if s.min_p:
        processors.append(t.MinPLogitsWarper(s.min_p))
    return processors(ids, logits.double()).softmax(-1)[0].numpy()


def filtered(logits: torch.Tensor, sampling: list[Sampling]) -> np.ndarray:
    penalised = penalise(logits, [SEEN] * len(sampling), [s.repetition_penalty for s in sampling])
    probabilities, tokens = nucleus(penalised, sampling)
    back = torch.zeros_like(probabilities).scatter(-1, tokens, probabilities)
    return (back / back.sum(-1, keepdim=True)).numpy()


def test_filters_are_transformers_own_for_rows_of_different_settings() -> None:
    logits = logits_of_a_model()
    found = filtered(logits.expand(len(CASES), -1), CASES)
    for row, case in zip(found, CASES, strict=True):
        wanted = expected(logits, case)
        assert ((row == 0) == (wanted == 0)).all(), case
        assert np.abs(row - wanted).max() < 1e-6, case
    assert len({int((row > 0).sum()) for row in found}) >= 4


@pytest.mark.parametrize("case", CASES)
def test_draws_follow_the_distribution(case: Sampling) -> None:
    draws = 10_000
    logits = penalise(logits_of_a_model().expand(draws, -1), [SEEN] * draws, [case.repetition_penalty] * draws)
    wanted = expected(logits_of_a_model(), case)
    tokens = choose(logits, [case] * draws, [stream(7, i).random() for i in range(draws)]).numpy()
    counts = np.bincount(tokens, minlength=40)
    assert not counts[wanted == 0].any()
    common = wanted * draws >= 5
    rest = ~common & (wanted > 0)
    observed = [*counts[common], counts[rest].sum()] if rest.any() else counts[common]
    hoped = [*wanted[common], wanted[rest].sum()] if rest.any() else wanted[common]
    assert chisquare(observed, np.array(hoped) / sum(hoped) * sum(observed)).pvalue > 0.001


def test_zero_temperature_is_the_most_probable_token_beside_rows_that_draw() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0], [5.0, 3.0, 1.0], [0.0, 0.0, 50.0]])
    settings = [Sampling(), Sampling(top_k=2, top_p=0.1), Sampling(temperature=1.0)]
    assert choose(logits, settings, [0.9, 0.9, 0.5]).tolist() == [1, 0, 2]


def test_a_nucleus_of_one_token_is_greedy() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0]]).expand(50, -1)
    settings = [Sampling(temperature=1.0, top_p=1e-9)] * 50
    assert set(choose(logits, settings, [stream(0, i).random() for i in range(50)]).tolist()) == {1}


def test_a_stream_is_an_answers_own() -> None:
    assert (stream(3, 5).random(4) == stream(3, 5).random(9)[:4]).all()
    others = [stream(4, 5), stream(3, 6), stream(3, 5, 1)]
    assert len({s.random() for s in [*others, stream(3, 5)]}) == 4
    draws = np.stack([stream(0, i, j).random(20) for i in range(100) for j in range(5)])
    assert draws.min() >= 0
    assert draws.max() < 1
    assert abs(draws.mean() - 0.5) < 0.02
    assert abs(np.corrcoef(draws[0::5].ravel(), draws[1::5].ravel())[0, 1]) < 0.1


@pytest.mark.parametrize(
    "wrong", [{"temperature": -1.0}, {"top_p": 0.0}, {"top_k": -2}, {"min_p": 1.5}, {"repetition_penalty": 0.0}, {"n": 0}]
)
def test_values_out_of_range_are_named(wrong: dict[str, float]) -> None:
    (name,) = wrong
    with pytest.raises(InputError, match=f"{name}=.*has to be"):
        Sampling(**wrong)  # type: ignore[arg-type]
