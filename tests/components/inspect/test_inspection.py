"""Documents, prompts, settings; and that a model is as it was after it has been looked at."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from components import inspection, methods
from components.artifacts import ModelRef
from components.errors import InputError, LapidarError
from components.inspection import Document, Prompt, inspect

PROMPT = Prompt((1, 17, 44, 250, 9, 44, 131, 300, 7, 12), 7)
Build = Callable[[str], Any]


@pytest.fixture(scope="module")
def documents(built: Build, tokenizer: Any, tiny_sft: ModelRef) -> dict[str, Document]:
    """One of each view."""
    from components.models.load import load_model

    found = {v: inspect(v, {}, built("mixtral"), tokenizer, PROMPT) for v in methods.names("inspect") if v != "adapter"}
    return found | {"adapter": inspect("adapter", {}, *load_model(tiny_sft))}


def test_documents_are_json_and_arrow(documents: dict[str, Document], tmp_path: Path) -> None:
    from pyarrow import feather

    for view, document in documents.items():
        found = json.loads(document.to_json())
        assert (found["schema"], found["view"]) == (1, view)
        assert len({len(column) for column in found["columns"].values()}) == 1
        table = document.to_arrow()
        assert not any("double" in str(field.type) for field in table.schema)
        again = Document.from_arrow(table)
        assert again.facts == found["facts"]
        assert again.settings == found["settings"]
        assert list(again.columns) == list(found["columns"])
        for name, column in found["columns"].items():
            assert again.columns[name] == pytest.approx(column, rel=1e-6) if _numbers(column) else True
        for ending in (".json", ".arrow"):
            size = document.save(tmp_path / f"{view}{ending}")
            assert 0 < size < 200_000
        assert json.loads((tmp_path / f"{view}.json").read_text()) == found
        assert Document.from_arrow(feather.read_table(tmp_path / f"{view}.arrow")).to_dict()["view"] == view


def _numbers(column: list[Any]) -> bool:
    return all(isinstance(value, (int, float)) for value in column)


def test_documents_can_be_shown(documents: dict[str, Document]) -> None:
    from io import StringIO

    from rich.console import Console

    expected = {
        "tokens": "perplexity",
        "attention": "what each token looks at",
        "norms": "embeddings",
        "logit_lens": "own prediction",
        "neighbours": "nearest by cosine",
        "rope": "attention factor",
        "experts": "Load of 4 experts, 2 a token",
        "adapter": "whole update",
        "sensitivity": "Most sensitive",
    }
    assert expected.keys() == documents.keys()
    for view, document in documents.items():
        console = Console(file=StringIO(), width=132)
        for part in methods.load("inspect", view).show(document, console.width):
            console.print(part)
        text = console.file.getvalue()  # type: ignore[attr-defined]
        assert expected[view] in text
        assert max(map(len, text.splitlines())) <= 132


def test_what_is_no_number_is_none() -> None:
    document = Document("x", {}, {"loss": float("nan")}, {"a": [1.0, float("inf")], "b": [[0.5], None]})
    assert document.to_dict()["facts"] == {"loss": None}
    assert document.to_dict()["columns"] == {"a": [1.0, None], "b": [[0.5], None]}
    assert list(document.rows)[1] == {"a": float("inf"), "b": None}


def test_another_arrow_table_is_refused(tmp_path: Path) -> None:
    import pyarrow

    with pytest.raises(InputError, match="holds no view of schema 1"):
        Document.from_arrow(pyarrow.table({"a": [1]}))
    document = Document("x", {}, {}, {"a": [1]})
    with pytest.raises(InputError, match=r"should end in \.arrow or \.feather or \.json"):
        document.save(tmp_path / "x.parquet")
    with pytest.raises(InputError, match=r"can't be written \(No such file"):
        document.save(tmp_path / "missing" / "x.json")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"tops": 3}, "tokens has no setting 'tops'; it has top=5, max_tokens=512"),
        ({"top": 0}, "tokens: top=0: input should be greater than or equal to 1"),
        ({"top": "many"}, "tokens: top='many': input should be a valid integer"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        inspection.configure("tokens", settings)
    with pytest.raises(InputError, match="did you mean 'tokens'"):
        inspection.configure("token", {})


def test_prompts(tokenizer: Any, built: Build) -> None:
    whole = Prompt.of(tokenizer, "Tom has 3 apples", " and buys 4.")
    assert tokenizer.decode(whole.ids[whole.answer_from :]) == " and buys 4."
    assert list(whole.ids) == tokenizer("Tom has 3 apples and buys 4.")["input_ids"]
    assert Prompt.of(tokenizer, "Tom").answer_from == len(Prompt.of(tokenizer, "Tom").ids)
    chat = Prompt.of(tokenizer, "How many?", " 4", chat=True)
    from components.models.chat import prompt_ids

    assert list(chat.ids[: chat.answer_from]) == prompt_ids(tokenizer, [{"role": "user", "content": "How many?"}])
    for prompt in (None, Prompt(())):
        with pytest.raises(InputError, match="add --prompt TEXT"):
            inspect("tokens", {}, built("llama"), tokenizer, prompt)
    with pytest.raises(InputError, match="129 tokens, the model's context 128"):
        inspect("tokens", {}, built("llama"), tokenizer, Prompt((5,) * 129))


def test_prompts_of_a_tokenizer_with_word_marks(stories260k: Path) -> None:
    from components.models.load import load_tokenizer

    tokenizer = load_tokenizer(stories260k)
    prompt = Prompt.of(tokenizer, "Once upon a time", ", there")
    assert list(prompt.ids) == tokenizer("Once upon a time, there")["input_ids"]
    assert prompt.ids[0] == tokenizer.bos_token_id
    assert tokenizer.convert_ids_to_tokens(prompt.ids[prompt.answer_from]) == ","


@pytest.mark.parametrize("broken", [False, True])
@pytest.mark.parametrize("view", ["tokens", "attention", "norms", "logit_lens", "experts"])
def test_a_model_is_as_it_was(built: Build, tokenizer: Any, view: str, broken: bool) -> None:
    """Also when the forward pass fails half way: no hook, no other attention, no evaluation mode is left behind."""
    from copy import deepcopy

    model = deepcopy(built("mixtral")).train()
    model.model.layers[0].eval()
    model.requires_grad_(True)
    model.set_attn_implementation("sdpa")
    before = _state(model)
    if broken:
        failing = model.model.layers[2].mlp.register_forward_pre_hook(_fail)
        with pytest.raises(RuntimeError, match="half way"):
            inspect(view, {}, model, tokenizer, PROMPT)
        failing.remove()
    else:
        inspect(view, {}, model, tokenizer, PROMPT)
    assert _state(model) == before
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    model(input_ids=torch.tensor([PROMPT.ids])).logits.sum().backward()


def _fail(*_: Any) -> None:
    raise RuntimeError("half way")


def _state(model: Any) -> tuple[Any, ...]:
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    attention = [m.config._attn_implementation for m in model.modules() if hasattr(m, "config")]
    random = torch.random.get_rng_state().tolist()
    weights = sum(float(p.detach().double().sum()) for p in model.parameters())
    return hooks, attention, [m.training for m in model.modules()], random, weights


def test_a_document_that_is_too_large_is_refused(built: Build, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "MAX_BYTES", 1000)
    with pytest.raises(LapidarError, match="ask for fewer tokens, layers or heads"):
        inspect("attention", {}, built("llama"), tokenizer, PROMPT)


def test_an_unknown_architecture_is_named(tokenizer: Any) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(vocab_size=320, n_embd=8, n_layer=1, n_head=2, n_positions=16))
    with pytest.raises(InputError, match="GPT2LMHeadModel isn't laid out as decoder layers"):
        inspect("norms", {}, model, tokenizer, PROMPT)
    assert inspect("tokens", {}, model, tokenizer, PROMPT).columns["id"] == list(PROMPT.ids)


def test_tokens_keep_their_spaces(tokenizer: Any) -> None:
    from components.inspect._text import pieces

    piece = pieces(tokenizer)
    ids = tokenizer("Tom has apples.\n", add_special_tokens=False)["input_ids"]
    assert "".join(piece(i) for i in ids) == "Tom has apples.\n"
    assert piece(99_999) == "<99999>"
