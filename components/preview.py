"""Rows of a dataset as the model will see them, with the trained tokens marked, before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from components.artifacts import DatasetRef, ModelRef, Sealed
from components.data.records import Record, read
from components.errors import InputError
from components.models.chat import choose_template
from components.recipe import Recipe
from components.training.rows import Row, marked, sft_row

ROWS = 3
CHECKED = 1000
ROWS_OF_PAIRS = 100


@dataclass(frozen=True)
class Preview:
    """Rows of the split that is trained on first.

    Attributes:
        rows: texts, trained tokens between ⟦ and ⟧.
        checked: rows that were tokenized, from the first on.
        longest: tokens of the longest of them.
        left_out: how many of them are longer than ``limit``, so that training leaves them out.
    """

    split: str
    rows: list[str]
    checked: int
    longest: int
    left_out: int
    limit: int | None


def tokenizer(recipe: Recipe, base: Sealed | None, source: ModelRef | None, data: DatasetRef | None) -> Any | None:
    """The tokenizer with its chat template that a run will train with; None if it can't be known yet.

    Args:
        recipe: names the base model and its chat template.
        base: the sealed base model, if there is one.
        source: the base model's files, if it isn't trained here.
        data: the dataset, whose corpus makes the tokenizer of a base that is trained here.
    """
    from components.models.load import load_tokenizer

    if base is not None and (base.path / "model").is_dir():
        return load_tokenizer(base.path / "model")
    if source is not None:
        found = load_tokenizer(source.base)
    elif recipe.model.source == "pretrain" and data is not None and "corpus" in data.splits:
        from components.models.sources.pretrain import train_tokenizer

        found = train_tokenizer([record["text"] for record in read(data.file("corpus"), "text")], recipe.model.pretrain)
    else:
        return None
    choose_template(found, recipe.model.chat_template, recipe.model.eos_token)
    return found


def preview(recipe: Recipe, data: DatasetRef, tokenizer: Any, context: int | None = None) -> Preview | None:
    """The first rows that are trained on; None for a recipe that trains on none.

    Args:
        context: tokens that the model has positions for; longer rows aren't trained on, whatever ``max_length`` says.

    Raises:
        InputError: if a row has no trained token, or the split that training needs isn't there.
    """
    chosen = _split(recipe)
    if chosen is None:
        return None
    name, limit = chosen
    limit = min(limit, context) if limit is not None and context else limit
    if name not in data.splits:
        raise InputError(f"the dataset has no split {name!r}, only {', '.join(sorted(data.splits))}; add it to the data section")
    file, rows, longest, left_out = data.file(name), list[Row](), 0, 0
    for number, record in zip(range(1, CHECKED + 1), read(file, data.splits[name].kind), strict=False):
        row = _row(tokenizer, name, record, f"row {number} of {file.name}")
        rows += [row] if len(rows) < ROWS else []
        longest, left_out = max(longest, len(row.input_ids)), left_out + (limit is not None and len(row.input_ids) > limit)
    checked = min(CHECKED, data.splits[name].rows)
    if left_out == checked:
        setting = "max_prompt_length" if name == "prompts" else "max_length"
        raise InputError(f"every row of {file.name} is longer than {limit} tokens (the longest has {longest}); raise {setting}")
    return Preview(name, [marked(tokenizer, row) for row in rows], checked, longest, left_out, limit)


def longest_pair(recipe: Recipe, data: DatasetRef, tokenizer: Any) -> int | None:
    """Tokens of the longest of the first preference answers; None if no stage reads any."""
    if "preference" not in data.splits or not any("preference" in config.splits() for config in recipe.align):
        return None
    lengths = [0]
    for _, record in zip(range(ROWS_OF_PAIRS), read(data.file("preference"), "preference"), strict=False):
        for side in ("chosen", "rejected"):
            row = _row(tokenizer, "preference", {**record, "chosen": record[side]}, "a row of preference.jsonl")
            lengths.append(len(row.input_ids))
    return max(lengths)


def _split(recipe: Recipe) -> tuple[str, int | None] | None:
    """(split, longest row) of the first stage that trains."""
    for config in [recipe.sft, *recipe.align]:
        if config is not None:
            limit = getattr(config, "max_length", None) or getattr(config, "max_prompt_length", None)
            return config.splits()[0], limit
    return ("corpus", None) if recipe.model.source == "pretrain" else None


def _row(tokenizer: Any, split: str, record: Record, place: str) -> Row:
    """A row of any split: answers are trained on; a prompt for generation has none yet; of text all is trained on."""
    if split == "sft":
        return sft_row(tokenizer, record, place)
    if split == "preference":
        from components.models.chat import prompt_messages

        prompt = prompt_messages(record["prompt"])
        return sft_row(tokenizer, {"messages": [*prompt, {"role": "assistant", "content": record["chosen"]}]}, place)
    if split == "prompts":
        from components.models.chat import prompt_ids

        ids = prompt_ids(tokenizer, [{"role": "user", "content": record["prompt"]}])
        return Row(ids, [0] * len(ids))
    ids = tokenizer(record["text"], add_special_tokens=False)["input_ids"]
    return Row(ids, [1] * len(ids))
