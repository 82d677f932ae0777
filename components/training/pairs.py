"""Preference pairs in the conversational form that TRL renders with the model's chat template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.data.records import read
from components.errors import InputError
from components.models.chat import prompt_ids, prompt_messages

Pair = dict[str, list[dict[str, str]]]


def conversational_pairs(tokenizer: Any, file: Path, max_length: int) -> tuple[list[Pair], int]:
    """(pairs as prompt, chosen, rejected messages; how many are longer than ``max_length`` tokens and were left out).

    Raises:
        InputError: if none is left, or the template renders a prompt differently when an answer follows.
    """
    pairs, too_long = [], 0
    for number, record in enumerate(read(file, "preference"), 1):
        pair = _pair(record)
        start = prompt_ids(tokenizer, pair["prompt"])
        wholes = [tokenizer.apply_chat_template(pair["prompt"] + pair[side], return_dict=False) for side in ("chosen", "rejected")]
        if any(whole[: len(start)] != start for whole in wholes):
            raise InputError(
                f"row {number} of {file.name}: the chat template renders the prompt differently when an answer follows"
            )
        if max(len(whole) for whole in wholes) > max_length:
            too_long += 1
        else:
            pairs.append(pair)
    if not pairs:
        raise InputError(f"every pair of {file.name} is longer than max_length={max_length} tokens; raise it or shorten the rows")
    return pairs, too_long


def _pair(record: dict[str, Any]) -> Pair:
    return {
        "prompt": prompt_messages(record["prompt"]),
        "chosen": [{"role": "assistant", "content": record["chosen"]}],
        "rejected": [{"role": "assistant", "content": record["rejected"]}],
    }
