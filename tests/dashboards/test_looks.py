"""What Inside draws of documents that a real model gave: pictures, tables in words, nothing raw."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from components.inspection import Document, Prompt, inspect

PROMPT = Prompt((1, 17, 44, 250, 9, 44, 131, 300, 7, 12), 7)
HEADS = {
    "attention": ["Layer", "Head", "entropy of each head, nats", "mean distance, tokens"],
    "logit_lens": ["Layer", "token", "would say", "entropy, nats"],
    "tokens": ["position", "token", "probability", "surprisal, nats"],
    "neighbours": ["token", "id", "norm", "nearest, with cosine"],
    "norms": ["Layer", "hidden state", "added by attention", "added by the MLP"],
    "rope": ["pair of dimensions", "wavelength, tokens", "turns in the trained context", "model"],
    "experts": ["Layer", "evenness of the load", "busiest, times the even load", "unused experts"],
}
CHARTS = {"attention": 2, "logit_lens": 1, "tokens": 0, "neighbours": 1, "norms": 2, "rope": 1, "experts": 2}


@pytest.fixture(scope="module")
def seen(tiny_llama: Path) -> Callable[[str], Document]:
    """A view of a tiny Llama, of a random mixture of experts where it needs one."""
    from transformers import MixtralConfig, MixtralForCausalLM

    from components.artifacts import ModelRef
    from components.models.load import load_model

    llama, tokenizer = load_model(ModelRef(tiny_llama, None, ""))
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    mixtral = MixtralForCausalLM(MixtralConfig(vocab_size=320, num_local_experts=4, **sizes)).eval()
    return lambda view: inspect(view, {}, mixtral if view == "experts" else llama, tokenizer, PROMPT)


def drawn(document: Document) -> AppTest:
    def script(document: object) -> None:
        from components.inspection import Document
        from dashboards.parts import looks

        assert isinstance(document, Document)
        looks.draw(document, "m-1")

    page = AppTest.from_function(script, kwargs={"document": document}, default_timeout=30).run()
    assert not page.exception
    return page


@pytest.mark.parametrize("view", list(HEADS))
def test_a_view_is_a_picture_and_a_table_in_words(view: str, seen: Callable[[str], Document]) -> None:
    page = drawn(seen(view))
    table = page.dataframe[0].value
    assert list(table.columns)[:4] == HEADS[view]
    assert len(table)
    assert not [cell for cell in table.to_numpy().flatten() if cell is None or str(cell).startswith("[")]
    figures = [each for each in page.get("bidi_component") if each.proto.component_name == "lapidar.figures"]
    assert len(page.get("vega_lite_chart") + figures) == CHARTS[view]


def test_embeddings_lie_where_the_document_says_and_how_much_of_them_is_told(seen: Callable[[str], Document]) -> None:
    document = seen("neighbours")
    page = drawn(document)
    [said] = [each.value for each in page.caption if "principal components" in each.value]
    assert f"{sum(document.facts['explained']):.0%}".replace("%", " %") in said
    assert len(page.dataframe[0].value) == sum(document.columns["asked"]) == 9
