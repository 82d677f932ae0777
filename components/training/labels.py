"""Answers with a label, liked or not, in the conversational form that TRL renders with the model's chat template."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from components.data.records import read
from components.errors import InputError
from components.training.pairs import answer, asked, length


def labelled_rows(tokenizer: Any, files: Mapping[str, Path], max_length: int, seed: int) -> tuple[list[dict[str, Any]], int]:
    """(rows as prompt, completion, label; how many are longer than ``max_length`` tokens and were left out).

    KTO estimates its KL from the other answers of a batch and takes the rows in their order: so they are mixed here, by the
    seed. Else liked answers would stand apart from disliked ones, or both answers to a prompt side by side.

    Args:
        files: ``preference`` and ``labelled`` split files, one or both.

    Raises:
        InputError: if none is left, or the template renders a prompt differently when an answer follows.
    """
    rows, too_long = [], 0
    for place, row in _answers(tokenizer, files):
        if length(tokenizer, row, row["completion"], place) > max_length:
            too_long += 1
        else:
            rows.append(row)
    if not rows:
        raise InputError(f"every row of {', '.join(files)} is longer than max_length={max_length} tokens; raise it")
    random.Random(seed).shuffle(rows)
    return rows, too_long


def _answers(tokenizer: Any, files: Mapping[str, Path]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where a row stands, the answer with its label): two of a pair."""
    for split, file in files.items():
        for number, record in enumerate(read(file, "labelled" if split == "labelled" else "preference"), 1):
            place = f"row {number} of {file.name}"
            if split == "labelled":
                yield place, {**asked(tokenizer, record), "completion": answer(record["completion"]), "label": record["label"]}
            else:
                for side, liked in (("chosen", True), ("rejected", False)):
                    yield place, {**asked(tokenizer, record), "completion": answer(record[side]), "label": liked}
