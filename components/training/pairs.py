"""Preference pairs in the conversational form that TRL renders with the model's chat template."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from components.data.records import Record, read
from components.errors import InputError
from components.models.chat import prompt_messages

Pair = dict[str, Any]


def conversational_pairs(tokenizer: Any, file: Path, max_length: int) -> tuple[list[Pair], int]:
    """(pairs as prompt, chosen, rejected messages; how many are longer than ``max_length`` tokens and were left out).

    Raises:
        InputError: if none is left, or the template renders a prompt differently when an answer follows.
    """
    pairs, too_long = [], 0
    for number, record in enumerate(read(file, "preference"), 1):
        pair: Pair = {**asked(tokenizer, record), **{side: answer(record[side]) for side in ("chosen", "rejected")}}
        place = f"row {number} of {file.name}"
        if max(length(tokenizer, pair, pair[side], place) for side in ("chosen", "rejected")) > max_length:
            too_long += 1
        else:
            pairs.append(pair)
    if not pairs:
        raise InputError(
            f"every pair of {file.name} is longer than max_length={max_length} tokens; "
            "raise it (the model's context permitting) or shorten the rows"
        )
    return pairs, too_long


def asked(tokenizer: Any, record: Record) -> dict[str, Any]:
    """``prompt`` as this tokenizer's template takes it, with what tools were called and said, and ``tools`` as TRL takes them.

    Raises:
        InputError: if a call in the prompt isn't one.
    """
    messages, tools = prompt_messages(record["prompt"]), record.get("tools") or []
    if tools or any(message.get("tool_calls") or message["role"] == "tool" for message in messages):
        from components.agents.prompts import prepared

        prompt, given = prepared(tokenizer, messages, tools)
        return {"prompt": prompt, **({"tools": json.dumps(given, ensure_ascii=False)} if given else {})}
    return {"prompt": messages}


def answer(text: str) -> list[dict[str, str]]:
    """An answer as TRL takes it."""
    return [{"role": "assistant", "content": text}]


def length(tokenizer: Any, row: dict[str, Any], said: list[dict[str, str]], place: str) -> int:
    """Tokens of a prompt with an answer.

    Raises:
        InputError: if the template refuses them, or renders the prompt differently when an answer follows.
    """
    from jinja2 import TemplateError

    tools = json.loads(row["tools"]) if row.get("tools") else None
    try:
        start: list[int] = tokenizer.apply_chat_template(row["prompt"], tools=tools, add_generation_prompt=True, return_dict=False)
        whole: list[int] = tokenizer.apply_chat_template(row["prompt"] + said, tools=tools, return_dict=False)
    except (TemplateError, TypeError) as error:
        raise InputError(f"{place}: the model's chat template refuses it: {str(error)[:300]}") from error
    if whole[: len(start)] != start:
        raise InputError(f"{place}: the chat template renders the prompt differently when an answer follows")
    return len(whole)


def dataset(rows: Sequence[dict[str, Any]]) -> Any:
    """Rows as a dataset that keeps calls as they are: Arrow would give each of them the arguments of all others, as None."""
    from datasets import Dataset

    names = dict.fromkeys(name for row in rows for name in row)  # it would take those of the first row only
    return Dataset.from_list([{name: row.get(name) for name in names} for row in rows], on_mixed_types="use_json")
