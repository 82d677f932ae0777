"""Rows whose prompts hold tool calls: what TRL renders is what the model saw, in every family's format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from components.agents.prompts import prompt_ids
from components.data import records
from components.errors import InputError
from components.training.labels import labelled_rows
from components.training.pairs import conversational_pairs, dataset
from tests.components.agents.conftest import CONVERSATION, FAMILIES, TOOLS, tokenizer_of

MESSAGES = [{**message, "content": message["content"] or ""} for message in CONVERSATION]
OTHER = [
    {"role": "user", "content": "Which colour?"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "call_3", "type": "function", "function": {"name": "pick", "arguments": '{"colour": "red"}'}}],
    },
    {"role": "tool", "tool_call_id": "call_3", "content": "red"},
]
ROWS: list[dict[str, Any]] = [
    {"prompt": "Hello?", "chosen": "Hi.", "rejected": "No."},
    {"prompt": MESSAGES, "tools": TOOLS, "chosen": "3, noon.", "rejected": "4."},
    {"prompt": OTHER, "tools": TOOLS, "chosen": "Red.", "rejected": "Blue."},
]


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_trainer_renders_what_the_model_saw(family: str, tiny_llama: Path, tmp_path: Path) -> None:
    """Through Arrow, where a call would get the arguments of every other call as None."""
    tokenizer = tokenizer_of(family, tiny_llama)
    records.write(tmp_path / "preference.jsonl", ROWS)
    pairs, too_long = conversational_pairs(tokenizer, tmp_path / "preference.jsonl", 5000)
    labelled, _ = labelled_rows(tokenizer, {"preference": tmp_path / "preference.jsonl"}, 5000, 0)
    assert (len(pairs), too_long, len(labelled)) == (3, 0, 6)
    wanted = [prompt_ids(tokenizer, [{"role": "user", "content": "Hello?"}])]
    wanted += [prompt_ids(tokenizer, row["prompt"], TOOLS) for row in ROWS[1:]]
    for rows in (pairs, labelled):
        seen = []
        for row in dataset(rows):  # as TRL's tokenize_fn does it
            tools = json.loads(row["tools"]) if row.get("tools") else None
            seen.append(tokenizer.apply_chat_template(row["prompt"], tools=tools, add_generation_prompt=True, return_dict=False))
        assert sorted(seen) == sorted(wanted * (len(rows) // 3))


def test_dpo_trains_on_them(tiny_llama: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM
    from trl import DPOConfig, DPOTrainer

    tokenizer = tokenizer_of("hermes", tiny_llama)
    records.write(tmp_path / "preference.jsonl", ROWS)
    pairs, _ = conversational_pairs(tokenizer, tmp_path / "preference.jsonl", 5000)
    model = AutoModelForCausalLM.from_pretrained(str(tiny_llama))
    arguments = DPOConfig(str(tmp_path / "out"), max_steps=1, report_to=[], use_cpu=True, max_length=None, save_strategy="no")
    trainer = DPOTrainer(model, args=arguments, train_dataset=dataset(pairs), processing_class=tokenizer)
    assert trainer.train_dataset[1]["prompt_ids"] == prompt_ids(tokenizer, MESSAGES, TOOLS)
    assert trainer.train().global_step == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tools": {"name": "f"}}, r"row 1 of preference\.jsonl: 'tools' is an object"),
        ({"prompt": [*OTHER[:1], {**OTHER[1], "tool_calls": [{"name": "f"}]}, OTHER[2]]}, r"'prompt\.1\.tool_calls' are no calls"),
        ({"prompt": OTHER[:2]}, r"the last message of 'prompt' is of role 'assistant', expected 'user' or 'tool'"),
    ],
)
def test_wrong_rows_are_named(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    records.write(tmp_path / "preference.jsonl", [{**ROWS[2], **change}])
    with pytest.raises(InputError, match=message):
        list(records.read(tmp_path / "preference.jsonl", "preference"))
