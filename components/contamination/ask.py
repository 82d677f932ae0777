"""Asks a model whether it has seen benchmarks, and adds what it says to what the corpus said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from components import methods
from components.artifacts import ModelRef
from components.config import MethodConfig
from components.contamination.answers import Memory
from components.contamination.check import Found, Said
from components.contamination.suite import Benchmark


def memory(ref: ModelRef, device: str) -> Memory:
    """The model, loaded."""
    from components.models.load import load_model

    model, tokenizer = load_model(ref, device)
    return Memory(model.eval(), tokenizer, int(model.config.get_text_config().max_position_embeddings))


def ask(
    found: Found,
    benchmarks: Sequence[Benchmark],
    known: Benchmark | None,
    configs: Sequence[MethodConfig],
    model: Memory,
    seed: int,
) -> dict[str, Any]:
    """Runs tests of the model; returns their figures by benchmark and method.

    Args:
        found: gets what the tests say.
        known: items that the model can't have seen, of the same kind.
    """
    figures: dict[str, Any] = {}
    others = [item.text for item in known.items] if known else []
    for benchmark in benchmarks:
        said = found.said[benchmark.name]
        for config in configs:
            test = methods.load("membership", config.method).test
            finding = test(config, [item.text for item in benchmark.items], others, model, seed)
            flagged = frozenset(benchmark.items[number].id for number in finding.flagged)
            said[config.method] = Said(
                finding.state != "not checked", finding.reason, flagged, contaminated=finding.state == "contaminated"
            )
            figures.setdefault(benchmark.name, {})[config.method] = dict(finding.figures)
        for name, other in said.items():
            if name in methods.names("membership") and other.reason == "no model was given":
                said[name] = replace(other, reason="it was switched off")
    return figures
