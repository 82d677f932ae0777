"""KTO learns from single answers: what is liked, what isn't, in an order that its estimate of the KL needs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from components import events
from components.align import kto
from components.artifacts import DatasetRef, Inputs, ModelRef, Split
from components.data import records
from components.errors import InputError
from components.models.load import load_tokenizer
from components.stage import Stage
from components.training.labels import labelled_rows
from components.training.pairs import conversational_pairs

PAIR = {"prompt": "What is 1 + 1?", "chosen": "2.", "rejected": "3."}
LABELLED = [{"prompt": f"What is {n} + 1?", "completion": f"{n + 1}" if n % 3 else "No.", "label": bool(n % 3)} for n in range(24)]


@pytest.fixture(scope="module")
def thumbs(tiny_data: DatasetRef, tmp_path_factory: pytest.TempPathFactory) -> DatasetRef:
    """The tiny dataset with labelled answers beside its pairs."""
    folder = tmp_path_factory.mktemp("thumbs")
    (folder / "preference.jsonl").write_bytes(tiny_data.file("preference").read_bytes())
    records.write(folder / "labelled.jsonl", LABELLED)
    splits = {**tiny_data.splits, "labelled": Split("labelled", "labelled", len(LABELLED), "")}
    return replace(tiny_data, path=folder, splits=splits)


def test_rows_are_both_answers_of_a_pair_and_the_labelled_ones_mixed(tiny_llama: Path, thumbs: DatasetRef) -> None:
    tokenizer = load_tokenizer(tiny_llama)
    files = {name: thumbs.file(name) for name in ("preference", "labelled")}
    rows, left = labelled_rows(tokenizer, files, 1024, seed=0)
    pairs = list(records.read(files["preference"]))
    assert left == 0
    expected = {(p["prompt"], p[side], side == "chosen") for p in pairs for side in ("chosen", "rejected")}
    expected |= {(row["prompt"], row["completion"], row["label"]) for row in LABELLED}
    assert {(row["prompt"][0]["content"], row["completion"][0]["content"], row["label"]) for row in rows} == expected
    assert rows == labelled_rows(tokenizer, files, 1024, seed=0)[0]
    assert rows != labelled_rows(tokenizer, files, 1024, seed=1)[0]
    batches = [rows[start : start + 8] for start in range(0, len(rows) - 7, 8)]
    assert all(0 < sum(row["label"] for row in batch) < 8 for batch in batches), "liked and disliked stand together"
    neighbours = sum(one["prompt"] == other["prompt"] for one, other in pairwise(rows))
    assert neighbours < len(rows) / 10, "an answer's KL is estimated on another one's prompt"


def test_a_conversation_stands_before_an_answer_as_it_was_held(tiny_llama: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(tiny_llama)
    asked = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is 2 + 2?"},
        {"role": "assistant", "content": "4."},
        {"role": "user", "content": "And twice that?"},
    ]
    records.write(tmp_path / "preference.jsonl", [{"prompt": asked, "chosen": "8.", "rejected": "9."}, PAIR])
    records.write(tmp_path / "labelled.jsonl", [{"prompt": asked, "completion": "8.", "label": True}])
    pairs, _ = conversational_pairs(tokenizer, tmp_path / "preference.jsonl", 1024)
    assert [pair["prompt"] for pair in pairs] == [asked, [{"role": "user", "content": PAIR["prompt"]}]]
    files = {name: tmp_path / f"{name}.jsonl" for name in ("preference", "labelled")}
    rows, left = labelled_rows(tokenizer, files, 1024, seed=0)
    assert (len(rows), left) == (5, 0)
    assert sum(row["prompt"] == asked for row in rows) == 3


def test_long_rows_are_left_out_and_none_left_is_an_error(tiny_llama: Path, thumbs: DatasetRef) -> None:
    tokenizer = load_tokenizer(tiny_llama)
    files = {"labelled": thumbs.file("labelled")}
    lengths = [len(tokenizer.apply_chat_template(_chat(row), return_dict=False)) for row in LABELLED]
    limit = sorted(lengths)[len(lengths) // 2]
    rows, left = labelled_rows(tokenizer, files, limit, seed=0)
    assert left == sum(length > limit for length in lengths) > 0
    assert len(rows) + left == len(LABELLED)
    with pytest.raises(InputError, match="every row of labelled is longer than max_length=2"):
        labelled_rows(tokenizer, files, 2, seed=0)


def _chat(row: dict[str, Any]) -> list[dict[str, str]]:
    return [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["completion"]}]


def test_liked_and_disliked_count_alike_in_sum_unless_set(
    tiny_sft: ModelRef, thumbs: DatasetRef, new_stage: Callable[..., Stage]
) -> None:
    """Sixteen liked and eight disliked answers: at the reference each kind's loss is half, so their weights show in the first."""
    common: dict[str, Any] = {"rows": "labelled", "batch_size": 24, "max_steps": 1, "logging_every": 1}
    assert kto.weights(kto.Config(), 16, 8) == (1.0, 2.0)
    for settings, first in (({}, 0.5 * (16 * 1 + 8 * 2) / 24), ({"desirable_weight": 3.0}, 0.5 * (16 * 3 + 8) / 24)):
        stage = new_stage()
        torch.manual_seed(0)
        kto.run(kto.Config(**common, **settings), Inputs(thumbs, {"model": tiny_sft}), stage)
        (loss,) = [event["value"] for event in events.metrics(stage.events.path) if event["name"] == "loss"]
        assert loss == pytest.approx(first, abs=1e-5)
        found = json.loads((stage.out / "metrics.json").read_bytes())
        assert (found["rows"], found["liked"], found["left_out"]) == (24, 16, 0)


def test_it_says_which_splits_it_reads() -> None:
    assert kto.Config().splits() == ("preference",)
    assert kto.Config(rows="both").splits() == ("preference", "labelled")
    with pytest.raises(ValueError, match="no other answer to estimate the KL from"):
        kto.Config(batch_size=1)
    assert kto.Config(batch_size=1, loss_type="apo_zero_unpaired").batch_size == 1


def test_a_dataset_without_thumbs_is_named(tiny_sft: ModelRef, tiny_data: DatasetRef, new_stage: Callable[..., Stage]) -> None:
    with pytest.raises(InputError, match="no split 'labelled'"):
        kto.run(kto.Config(rows="labelled"), Inputs(tiny_data, {"model": tiny_sft}), new_stage())
