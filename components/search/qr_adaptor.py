"""Bits and LoRA rank of each layer by a search in three steps: QR-Adaptor (Zhou et al. 2025, arXiv 2505.03802).

1. Sensitivity: how much the loss rises when one layer alone is rounded; from it come the first configurations.
2. Genetic search (NSGA-II, Deb et al. 2002) over bits and ranks of all layers, for two goals: the loss on held-out rows after a
   few real LoRA steps, and the bytes of weights and adapter.
3. Bayesian refinement: a Gaussian process for each goal proposes where the Pareto front would grow most (logEHVI, arXiv
   2310.20708).

Of what was tried and takes no more bytes than uniform NF4 with the recipe's rank, the lowest loss is chosen. Chosen and uniform
are then trained again with other seeds, as few steps, and compared on rows that nothing was chosen on. Other than in the paper,
trials are compared by their loss, not by a benchmark's score: that takes fewer rows.

Rows come from the ``sft`` split alone: what the evaluation asks stays unseen.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from components.adapters.lora import Config as LoraConfig
from components.artifacts import Inputs
from components.config import MethodConfig
from components.models.precision import Width
from components.stage import Stage


class Config(MethodConfig):
    """Size of the search. What is None is taken from the ``sft`` section.

    Attributes:
        bits: widths that a layer may have, ascending; 16 leaves it as it is.
        ranks: LoRA ranks that a layer may have, ascending; 0 gives it no adapter.
        genetic: configurations tried in the first two steps.
        bayesian: configurations tried in the third.
        population: size of a generation.
        steps: optimizer steps of a trial.
        rows: held-out rows that trials are compared on; as many others confirm the choice.
        seeds: trainings of the chosen and of the uniform configuration for the confirmation.
        max_bytes: most bytes of layers and adapter; None: as many as uniform NF4 with the adapter's rank.
        adapter: how a trial adapts; its rank is that of the uniform configuration.
    """

    method: Literal["qr_adaptor"] = "qr_adaptor"
    bits: tuple[Width, ...] = (2, 3, 4, 8)
    ranks: tuple[Annotated[int, Field(ge=0, le=512)], ...] = (0, 4, 8, 16)
    genetic: int = Field(32, ge=2)
    bayesian: int = Field(12, ge=0)
    population: int = Field(8, ge=2)
    steps: int = Field(30, ge=1)
    rows: int = Field(64, ge=2)
    seeds: int = Field(3, ge=1)
    max_bytes: int | None = Field(None, ge=1)
    adapter: LoraConfig | None = None
    lr: float | None = Field(None, gt=0)
    batch_size: int | None = Field(None, ge=1)
    max_length: int | None = Field(None, ge=2)

    @model_validator(mode="after")
    def _ascending(self) -> Config:
        for name, values in (("bits", self.bits), ("ranks", self.ranks)):
            if len(values) < 2 or sorted(set(values)) != list(values):
                raise ValueError(f"{name}={list(values)} leaves nothing to search: give two or more values, ascending")
        return self

    def splits(self) -> tuple[str, ...]:
        """Trains and measures on SFT rows."""
        return ("sft",)


def run(config: Config, inputs: Inputs, stage: Stage) -> None:
    """Writes ``front.json`` (see ``components.front``): every trial, which of them are on the front, the choice and why."""
    from components.front import FILE, SCHEMA
    from components.search._bench import Bench
    from components.search._propose import first, propose

    bench = Bench(config, inputs, stage)
    sensitivity = bench.sensitivity()
    reference = bench.uniform()
    trials = propose(config, first(config, sensitivity, bench.rank), bench.tried, stage.seed)
    budget = config.max_bytes or reference["bytes"]
    chosen = _choose(trials, budget)
    confirmed = bench.confirm(chosen)
    content = {
        "schema": SCHEMA,
        "bits": list(config.bits),
        "ranks": list(config.ranks),
        "sensitivity": sensitivity,
        "trials": trials,
        "reference": reference,
        "budget": budget,
        "chosen": {name: chosen[name] for name in ("number", "bits", "ranks", "loss", "bytes")},
        "confirmed": confirmed,
        "why": _why(chosen, trials, budget, confirmed),
    }
    (stage.out / FILE).write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    figures = {
        f"{side}_{name}": found[name] for side, found in (("chosen", chosen), ("uniform", reference)) for name in ("loss", "bytes")
    }
    front = sum(trial["front"] for trial in trials)
    stage.save_metrics({"trials": len(trials), "front": front, **figures, "difference": confirmed["difference"]})


def _choose(trials: list[dict[str, Any]], budget: int) -> dict[str, Any]:
    """The lowest loss within the budget, of equal ones the smallest; something has to be trained.

    Raises:
        StageFailed: if nothing fits.
    """
    from components.errors import StageFailed

    fitting = [trial for trial in trials if trial["bytes"] <= budget and any(trial["ranks"])]
    if not fitting:
        least = min(trial["bytes"] for trial in trials)
        raise StageFailed(
            f"no configuration that was tried fits {budget} bytes, the smallest takes {least}; raise search.max_bytes"
        )
    return min(fitting, key=lambda trial: (trial["loss"], trial["bytes"], trial["number"]))


def _why(chosen: dict[str, Any], trials: list[dict[str, Any]], budget: int, confirmed: dict[str, Any]) -> str:
    fitting = sum(trial["bytes"] <= budget for trial in trials)
    found = confirmed["difference"]
    if found["high"] < 0:
        verdict = "lower than"
    elif found["low"] > 0:
        verdict = "higher than"
    else:
        verdict = "not shown to differ from"
    return (
        f"lowest loss ({chosen['loss']:.4f}) of the {fitting} of {len(trials)} configurations that take at most {budget} bytes; on "
        f"{found['n']} further rows its loss is {verdict} that of uniform NF4 (difference {found['value']:+.4f}, 95 % "
        f"{found['low']:+.4f} to {found['high']:+.4f} nats a token)"
    )
