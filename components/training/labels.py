"""Answers with a label, liked or not, in the conversational form that TRL renders with the model's chat template."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from components.data.records import read
from components.errors import InputError
from components.models.chat import Message, prompt_ids, prompt_messages


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
    for place, row in _answers(files):
        start = prompt_ids(tokenizer, row["prompt"])
        whole: list[int] = tokenizer.apply_chat_template(row["prompt"] + row["completion"], return_dict=False)
        if whole[: len(start)] != start:
            raise InputError(f"{place}: the chat template renders the prompt differently when an answer follows")
        if len(whole) > max_length:
            too_long += 1
        else:
            rows.append(row)
    if not rows:
        raise InputError(f"every row of {', '.join(files)} is longer than max_length={max_length} tokens; raise it")
    random.Random(seed).shuffle(rows)
    return rows, too_long


def _answers(files: Mapping[str, Path]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where a row stands, the answer with its label): two of a pair."""
    for split, file in files.items():
        for number, record in enumerate(read(file, "labelled" if split == "labelled" else "preference"), 1):
            place = f"row {number} of {file.name}"
            if split == "labelled":
                yield place, _row(record["prompt"], record["completion"], record["label"])
            else:
                yield place, _row(record["prompt"], record["chosen"], True)
                yield place, _row(record["prompt"], record["rejected"], False)


def _row(prompt: str | list[Message], answer: str, liked: bool) -> dict[str, Any]:
    return {"prompt": prompt_messages(prompt), "completion": [{"role": "assistant", "content": answer}], "label": liked}
