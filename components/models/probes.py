"""Token rows on which models are compared: fixed sentences, and rows of the dataset rendered as the model sees them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.artifacts import RecordKind
from components.data.records import read
from components.models.chat import as_messages, prompt_ids, prompt_messages

FIXED = (
    "Once upon a time there was a little girl who had a red ball.",
    "Question: Tom has 3 apples and buys 4 more. How many apples does Tom have now?",
    "The quick brown fox jumps over the lazy dog. 0 1 2 3 4 5 6 7 8 9",
    "def add(a, b):\n    return a + b\n",
)


def rendered(tokenizer: Any, file: Path, kind: RecordKind, count: int, max_length: int = 256) -> list[list[int]]:
    """The first ``count`` records as token ids, cut to ``max_length``: whole conversations, or prompts where no answer is."""
    rows: list[list[int]] = []
    for record in read(file, kind):
        if len(rows) == count:
            break
        rows.append(_ids(tokenizer, record, kind)[:max_length])
    return [row for row in rows if len(row) > 1]


def prompts(tokenizer: Any, file: Path | None, kind: RecordKind, count: int, max_length: int = 256) -> list[list[int]]:
    """Fixed sentences and the first prompts of a split, as token ids that a model can be asked to continue."""
    rows = [tokenizer(text, add_special_tokens=True)["input_ids"] for text in FIXED]
    if file is not None:
        rows += [_prompt(tokenizer, record) for _, record in zip(range(count), read(file, kind), strict=False)]
    return [row[-max_length:] for row in rows if len(row) > 1]


def _prompt(tokenizer: Any, record: dict[str, Any]) -> list[int]:
    if record.get("tools"):
        from components.agents.prompts import prompt_ids as with_tools

        return with_tools(tokenizer, record["prompt"], record["tools"])
    return prompt_ids(tokenizer, prompt_messages(record["prompt"]))


def _ids(tokenizer: Any, record: dict[str, Any], kind: RecordKind) -> list[int]:
    if kind == "text":
        ids: list[int] = tokenizer(record["text"])["input_ids"]
        return ids
    if kind == "sft":
        prompt, completion = as_messages(record)
        whole: list[int] = tokenizer.apply_chat_template(prompt + completion, return_dict=False)
        return whole
    return _prompt(tokenizer, record)
