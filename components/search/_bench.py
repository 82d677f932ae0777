"""Trials of the search: a configuration is made, trained for a few steps, measured; each one once, also over a restart.

Sample line of ``trials.jsonl`` in the work folder; the key says bits, ranks, seed and the rows that were measured on::

    {"key": "[[2, 4], [0, 8], 0, …]", "losses": [0.61, 0.43], "bytes": 8192}
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from components.artifacts import Inputs
from components.errors import InputError
from components.models.load import load_model
from components.models.precision import FULL, layers, nf4, packs_4bit, stored_bytes
from components.models.sensitivity import TokenRow, increases, quantized, row_losses
from components.stage import Stage
from components.training.arguments import TrainConfig, trainer_arguments
from components.training.rows import Row, sft_rows

if TYPE_CHECKING:
    from components.search.qr_adaptor import Config

_CHOSEN_ON, _CONFIRMED_ON = "chosen on", "confirmed on"
_FLOAT32 = 4


class Bench:
    """The base model with rows to train on, to choose on and to confirm on.

    Raises:
        InputError: if the ``sft`` split has too few rows.
    """

    def __init__(self, config: Config, inputs: Inputs, stage: Stage) -> None:
        if config.adapter is None or config.lr is None or config.batch_size is None or config.max_length is None:
            raise InputError("search takes adapter, lr, batch_size and max_length from the sft section, and there is none")
        self.config, self.stage, self.adapter = config, stage, config.adapter
        self.model, self.tokenizer = load_model(inputs.model, stage.device)
        self.parts = [list(each) for each in layers(self.model)]
        rows, _ = sft_rows(self.tokenizer, inputs.split("sft"), config.max_length)
        if len(rows) < 2 * config.rows + config.batch_size:
            raise InputError(
                f"search.rows={config.rows}: the sft split has {len(rows)} rows, and a search holds twice search.rows out and "
                f"trains on {config.batch_size} or more; lower search.rows or add rows"
            )
        random.Random(stage.seed).shuffle(rows)
        held = {_CHOSEN_ON: rows[: config.rows], _CONFIRMED_ON: rows[config.rows : 2 * config.rows]}
        self.held = {name: [TokenRow(r.input_ids, [bool(flag) for flag in r.completion_mask]) for r in held[name]] for name in held}
        self.training = [_example(row) for row in rows[2 * config.rows :]]
        self.known = _read(stage)
        self._done = 0

    @property
    def rank(self) -> int:
        """Rank of the uniform configuration."""
        return int(self.adapter.r)

    def sensitivity(self) -> list[dict[str, Any]]:
        """Increase of the loss by layer and bits, each layer alone."""
        widths: list[Any] = [f"rtn{width}" for width in self.config.bits if width != FULL]
        parts = {str(i): names for i, names in enumerate(self.parts)}
        found = []
        rows = self.held[_CHOSEN_ON]
        for record in increases(self.model, parts, widths, rows, row_losses(self.model, rows)):
            bits = int(record["format"].removeprefix("rtn"))
            found.append({"layer": int(record["part"]), "bits": bits, **{k: record[k] for k in ("value", "low", "high", "n")}})
        return found

    def tried(self, bits: Sequence[int], ranks: Sequence[int]) -> tuple[float, int]:
        """(mean loss on the rows to choose on, bytes of layers and adapter) of a configuration."""
        losses, size = self._measure(bits, ranks, 0, _CHOSEN_ON)
        self._done += 1
        self.stage.events.progress(self._done, self.config.genetic + self.config.bayesian)
        self.stage.events.metric("loss", sum(losses) / len(losses), self._done)
        self.stage.events.metric("bytes", size, self._done)
        return sum(losses) / len(losses), size

    def uniform(self) -> dict[str, Any]:
        """What the search has to beat: NF4 and the adapter's rank everywhere."""
        losses, size = self._measure("nf4", [self.rank] * len(self.parts), 0, _CHOSEN_ON)
        return {"format": "nf4", "rank": self.rank, "loss": sum(losses) / len(losses), "bytes": size}

    def confirm(self, chosen: dict[str, Any]) -> dict[str, Any]:
        """Chosen and uniform configuration on rows that nothing was chosen on: means over seeds, row by row."""
        from dataclasses import asdict

        from components.statistics import bootstrap_mean

        def means(bits: Any, ranks: Sequence[int]) -> list[float]:
            runs = [self._measure(bits, ranks, seed + 1, _CONFIRMED_ON)[0] for seed in range(self.config.seeds)]
            return [sum(values) / len(values) for values in zip(*runs, strict=True)]

        ours, theirs = means(chosen["bits"], chosen["ranks"]), means("nf4", [self.rank] * len(self.parts))
        differences = [a - b for a, b in zip(ours, theirs, strict=True)]
        largest = max(*ours, *theirs)  # a loss has no upper bound: where nothing differs, what is seen has to do
        named = {"chosen": (ours, 0.0), "reference": (theirs, 0.0), "difference": (differences, -largest)}
        return {"seeds": self.config.seeds, "steps": self.config.steps} | {
            name: asdict(bootstrap_mean(values, (least, largest))) for name, (values, least) in named.items()
        }

    def _measure(self, bits: Any, ranks: Sequence[int], seed: int, held: str) -> tuple[list[float], int]:
        key = json.dumps([bits if isinstance(bits, str) else list(bits), list(ranks), seed, held])
        if key not in self.known:
            with ExitStack() as made:
                size = 0
                for i, names in enumerate(self.parts):
                    form: Any = bits if isinstance(bits, str) else f"rtn{bits[i]}"
                    size += sum(_bytes(self.model.get_submodule(name), form) for name in names)
                    if form != f"rtn{FULL}":
                        made.enter_context(quantized(self.model, names, form))
                losses, more = self._train(ranks, seed, held) if any(ranks) else (row_losses(self.model, self.held[held]), 0)
            self.known[key] = losses, size + more
            with (self.stage.work / "trials.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps({"key": key, "losses": losses, "bytes": size + more}) + "\n")
        return self.known[key]

    def _train(self, ranks: Sequence[int], seed: int, held: str) -> tuple[list[float], int]:
        """(losses after a few steps of LoRA, bytes of the adapter); the model is as before."""
        import torch
        from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

        from components.adapters import lora

        config = self.config
        torch.manual_seed(self.stage.seed + seed)
        adapted = lora.apply(self.adapter.model_copy(update={"ranks": tuple(ranks)}), self.model)
        size = _FLOAT32 * sum(p.numel() for p in adapted.parameters() if p.requires_grad)
        settings = TrainConfig(method="trial", lr=config.lr or 0, batch_size=config.batch_size or 0, max_steps=config.steps)
        arguments = trainer_arguments(settings, self.stage, len(self.training))
        arguments |= {
            "save_strategy": "no",
            "logging_strategy": "no",
            "seed": self.stage.seed + seed,
            "gradient_checkpointing": False,
        }
        arguments["data_seed"] = arguments["seed"]
        trainer = Trainer(
            model=adapted,
            args=TrainingArguments(**arguments),
            train_dataset=self.training,
            data_collator=DataCollatorForSeq2Seq(self.tokenizer),
        )
        trainer.train()
        losses = row_losses(adapted, self.held[held])
        adapted.unload()
        return losses, size


def _example(row: Row) -> dict[str, list[int]]:
    labels = [token if flag else -100 for token, flag in zip(row.input_ids, row.completion_mask, strict=True)]
    return {"input_ids": row.input_ids, "attention_mask": [1] * len(row.input_ids), "labels": labels}


def _bytes(module: Any, form: str) -> int:
    """Bytes of a module's weight matrix as the quantize stage would store it."""
    if form != "nf4":
        return stored_bytes(module.weight, int(form.removeprefix("rtn")))
    if not packs_4bit(module):
        return stored_bytes(module.weight, FULL)
    packed, state = nf4(module.weight)
    return int(packed.nbytes + sum(tensor.nbytes for tensor in state.as_dict(packed=True).values()))


def _read(stage: Stage) -> dict[str, tuple[list[float], int]]:
    """Trials of an earlier, killed attempt; a torn last line is left out."""
    file, found = stage.work / "trials.jsonl", dict[str, tuple[list[float], int]]()
    whole = file.read_text(encoding="utf-8").rpartition("\n")[0].splitlines() if file.exists() else []
    for line in whole:
        record = json.loads(line)
        found[record["key"]] = record["losses"], record["bytes"]
    if file.exists():
        file.write_text("".join(line + "\n" for line in whole), encoding="utf-8")
    return found
