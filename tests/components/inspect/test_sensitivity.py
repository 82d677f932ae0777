"""Sensitivity against models that the quantize stage's own library made, one layer quantized and the others left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from components.artifacts import ModelRef
from components.errors import InputError
from components.inspection import Document, Prompt, inspect
from components.models import precision
from components.models.load import load_model

TEXTS = ("Question: Tom has 3 apples and buys 4. How many?", "The answer is 7.", "Tom buys 8 apples. The answer is 9.")


@pytest.fixture(scope="module")
def loaded(tiny_llama: Path) -> tuple[Any, Any]:
    return load_model(ModelRef(tiny_llama, None, ""))


@pytest.fixture(scope="module")
def document(loaded: tuple[Any, Any]) -> Document:
    formats = ["rtn2", "rtn4", "nf4", "llm_int8"]
    return inspect("sensitivity", {"texts": list(TEXTS), "formats": formats}, *loaded)


def loss(model: Any, tokenizer: Any) -> float:
    """Mean over texts of each text's mean cross-entropy, one text at a time, by transformers itself."""
    losses = []
    for text in TEXTS:
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        with torch.no_grad():
            losses.append(float(model(input_ids=ids, labels=ids).loss))
    return sum(losses) / len(losses)


@pytest.mark.parametrize(
    ("form", "settings"), [("nf4", {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}), ("llm_int8", {"load_in_8bit": True})]
)
def test_one_layer_as_bitsandbytes_loads_it(
    document: Document, loaded: tuple[Any, Any], tiny_llama: Path, form: str, settings: Any
) -> None:
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    from components.models.load import keep_weight_layout

    double = {"bnb_4bit_use_double_quant": True, "bnb_4bit_compute_dtype": torch.float32} if form == "nf4" else {}
    config = BitsAndBytesConfig(llm_int8_skip_modules=["lm_head", *precision.layers(loaded[0])[0]], **settings, **double)
    other: Any = AutoModelForCausalLM.from_pretrained(
        tiny_llama, dtype=torch.float32, quantization_config=config, device_map="cpu", local_files_only=True
    )
    keep_weight_layout(other)
    (row,) = [r for r in document.rows if (r["layer"], r["format"]) == (1, form)]
    wanted = loss(other.eval(), loaded[1]) - loss(*loaded)
    assert wanted != 0
    assert row["value"] == pytest.approx(wanted, abs=2e-6)
    assert row["low"] <= row["value"] <= row["high"]


def test_one_module_by_hand(loaded: tuple[Any, Any], tiny_llama: Path) -> None:
    found = inspect("sensitivity", {"texts": list(TEXTS), "formats": ["rtn3"], "by": "module"}, *loaded)
    assert len(found.columns["part"]) == 14
    other, _ = load_model(ModelRef(tiny_llama, None, ""))
    module = other.model.layers[1].mlp.down_proj
    module.weight.data = precision.rounded(module.weight, 3)
    (row,) = [r for r in found.rows if r["part"] == "model.layers.1.mlp.down_proj"]
    assert (row["layer"], row["kind"]) == (1, "down_proj")
    assert row["value"] == pytest.approx(loss(other, loaded[1]) - loss(*loaded), abs=1e-6)


def test_fewer_bits_cost_more_and_the_model_is_as_it_was(document: Document, loaded: tuple[Any, Any]) -> None:
    assert document.facts["loss"] == pytest.approx(loss(*loaded), abs=1e-6)
    model, _ = loaded
    assert all(type(m) is torch.nn.Linear for layer in precision.layers(model) for m in layer.values())
    assert len(document.columns["part"]) == 8
    assert document.facts["texts"] == 3


def test_it_is_bounded_and_says_what_it_needs(loaded: tuple[Any, Any], tiny_nf4: ModelRef) -> None:
    cut = inspect("sensitivity", {"texts": list(TEXTS), "seconds": 1e-9}, *loaded)
    assert len(cut.columns["part"]) == 1
    assert "7 of 8 measurements left out" in cut.notes[0]
    one = inspect("sensitivity", {"formats": ["rtn2"]}, *loaded, Prompt.of(loaded[1], TEXTS[0]))
    assert set(one.columns["low"]) == {None}
    with pytest.raises(InputError, match="add --prompt TEXT, or texts"):
        inspect("sensitivity", {}, *loaded)
    with pytest.raises(InputError, match="quantizes plain weights"):
        inspect("sensitivity", {"texts": list(TEXTS)}, *load_model(tiny_nf4))


def test_only_answers_count_where_there_are_some(loaded: tuple[Any, Any]) -> None:
    model, tokenizer = loaded
    asked, answer = "How many apples?", " The answer is 7."
    found = inspect("sensitivity", {"texts": [asked], "answers": [answer], "formats": ["rtn2"]}, model, tokenizer)
    prompt = Prompt.of(tokenizer, asked, answer, chat=True)
    ids = torch.tensor([prompt.ids])
    labels = torch.where(torch.arange(len(prompt.ids)) >= prompt.answer_from, ids, -100)
    assert found.facts["loss"] == pytest.approx(float(model(input_ids=ids, labels=labels).loss), abs=1e-6)
    with pytest.raises(InputError, match="2 texts and 1 answers"):
        inspect("sensitivity", {"texts": [asked, asked], "answers": [answer]}, model, tokenizer)
