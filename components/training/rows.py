"""Rows as the model will see them: token ids, and which of them are trained on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.data.records import read
from components.errors import InputError
from components.models.chat import as_messages, prompt_ids, rendered_ids


@dataclass(frozen=True)
class Row:
    """One SFT row: token ids and, position by position, whether the token is trained on."""

    input_ids: list[int]
    completion_mask: list[int]


def context(model: Any) -> int | None:
    """Tokens that a model has positions for; None if it has no such limit."""
    limit: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return limit


def longest(model: Any, max_length: int) -> int:
    """Tokens that a row may have: ``max_length``, and no more than the model has positions for."""
    return min(max_length, context(model) or max_length)


def sft_rows(tokenizer: Any, file: Path, max_length: int) -> tuple[list[Row], int]:
    """(rows, how many didn't fit ``max_length`` tokens and were left out).

    Raises:
        InputError: if a row has no trained token, or a prompt isn't the beginning of its conversation.
    """
    rows, too_long = [], 0
    for number, record in enumerate(read(file, "sft"), 1):
        row = sft_row(tokenizer, record, f"row {number} of {file.name}")
        if len(row.input_ids) > max_length:
            too_long += 1
        else:
            rows.append(row)
    if not rows:
        raise InputError(
            f"every row of {file.name} is longer than max_length={max_length} tokens; "
            "raise it (the model's context permitting) or shorten the rows"
        )
    return rows, too_long


def sft_row(tokenizer: Any, record: dict[str, Any], place: str) -> Row:
    """Renders one record through the chat template; everything behind the prompt's tokens is trained on.

    Tokens that the template puts behind the end of the answer (a newline, say) are cut: the answer ends there.
    """
    prompt, completion = as_messages(record)
    try:
        start, whole = prompt_ids(tokenizer, prompt), rendered_ids(tokenizer, prompt + completion)
    except InputError as error:
        raise InputError(f"{place}: {error}") from error
    if whole[: len(start)] != start:
        raise InputError(
            f"{place}: the chat template renders the prompt differently when an answer follows, so the model would be asked "
            "what it was never trained on; use a template whose generation prompt is a prefix of the whole conversation"
        )
    end = _end_of_answer(whole, len(start), tokenizer.eos_token_id)
    mask = [0] * len(start) + [1] * (end - len(start))
    if not any(mask):
        raise InputError(
            f"{place} has no trained token: the chat template leaves nothing of the answer {completion[0]['content']!r}"
        )
    return Row(whole[:end], mask)


def _end_of_answer(ids: list[int], start: int, eos: int) -> int:
    """One past the last end-of-sequence token, or the end of the row if the template has none."""
    for position in range(len(ids) - 1, start - 1, -1):
        if ids[position] == eos:
            return position + 1
    return len(ids)


def marked(tokenizer: Any, row: Row) -> str:
    """The row as text, trained tokens between ⟦ and ⟧."""
    text, inside = "", False
    for ids, flag in _runs(zip(row.input_ids, row.completion_mask, strict=True)):
        if bool(flag) != inside:
            text, inside = text + ("⟦" if flag else "⟧"), bool(flag)
        text += tokenizer.decode(ids)
    return text + ("⟧" if inside else "")


def _runs(pairs: Iterable[tuple[int, int]]) -> list[tuple[list[int], int]]:
    """Groups neighbours with equal flags."""
    runs: list[tuple[list[int], int]] = []
    for token, flag in pairs:
        if runs and runs[-1][1] == flag:
            runs[-1][0].append(token)
        else:
            runs.append(([token], flag))
    return runs
