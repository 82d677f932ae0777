"""Looks for the evaluation's items in the recipe's training splits; the result goes into the version's evidence.

Writes ``metrics.json`` (``state``, ``reason``, and by benchmark and method the same with the number of flagged items), and
``matches.jsonl``, one line an item, method and training row::

    {"benchmark": "heldout", "id": "h1", "method": "ngram", "similarity": 0.92, "how": "11 of its 12 8-grams",
     "file": "sft.jsonl", "split": "sft", "row": 17, "rows": 1, "position": 0, "item": "…", "training": "…"}

Tests of the model itself need known non-members to be calibrated on: ``lapidar contamination --model`` runs those.
"""

from __future__ import annotations

from typing import Literal

from components.artifacts import Inputs
from components.config import MethodConfig
from components.contamination import check, corpus, suite
from components.contamination.check import Policy
from components.contamination.scores import MATCHES
from components.contamination.suite import Benchmark
from components.data.records import write
from components.stage import Stage

_TRAINING = ("corpus", "sft", "preference", "prompts")


class Config(Policy, MethodConfig):
    """How the training splits are looked through: all of them, so that none is overlooked.

    Attributes:
        stored: benchmarks with data of their own; filled from the recipe's ``evaluate``.
    """

    method: Literal["screen"] = "screen"
    stored: tuple[str, ...] = ()

    def splits(self) -> tuple[str, ...]:
        """Training splits, and what is held out."""
        return (*_TRAINING, "heldout")


def run(config: Config, inputs: Inputs, stage: Stage) -> None:
    """Looks for every benchmark in every training split."""
    data = inputs.data
    names = [name for name in _TRAINING if data is not None and name in data.splits]
    files = [corpus.Source(data.file(name), f"{name}.jsonl", name) for name in names] if data is not None else []
    total, done = sum(source.path.stat().st_size for source in files), 0

    def progress(length: int) -> None:
        nonlocal done
        done += length
        stage.events.progress(done, total)

    benchmarks = _benchmarks(inputs)
    found = check.look(
        benchmarks, files, config, stage.work / "blocks", no_corpus="the dataset has no training split", on_progress=progress
    )
    write(stage.out / MATCHES, found.matches)
    stage.save_metrics({**check.summarise(benchmarks, found, config), "rows": found.rows})


def _benchmarks(inputs: Inputs) -> list[Benchmark]:
    """What the recipe evaluates: its held-out split, and stored benchmarks."""
    found = []
    if inputs.data is not None and "heldout" in inputs.data.splits:
        found.append(suite.load(inputs.data.path))
    return found + [suite.stored(ref) for _, ref in sorted(inputs.benchmarks.items())]
