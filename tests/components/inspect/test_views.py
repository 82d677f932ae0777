"""Every view of what a model makes of a text, against what transformers itself gives, on several architectures."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from components.errors import InputError
from components.inspection import Document, Prompt, inspect

ARCHITECTURES = ("llama", "qwen2", "qwen3", "mixtral", "qwen2_moe", "qwen3_moe", "deepseek_v2", "qwen2_vl")
PROMPT = Prompt((1, 17, 44, 250, 9, 44, 131, 300, 7, 12), 7)
IDS = torch.tensor([PROMPT.ids])
every_architecture = pytest.mark.parametrize("name", ARCHITECTURES)
Build = Callable[[str], Any]


def close(found: Any, wanted: torch.Tensor, tolerance: float = 2e-5) -> None:
    torch.testing.assert_close(torch.tensor(found), wanted.float(), rtol=tolerance, atol=tolerance)


def table(document: Document, column: str, **where: int) -> list[Any]:
    return [row[column] for row in document.rows if all(row[key] == value for key, value in where.items())]


@every_architecture
def test_tokens_are_those_of_the_logits(built: Build, tokenizer: Any, name: str) -> None:
    model = built(name)
    found = inspect("tokens", {"top": 3}, model, tokenizer, PROMPT)
    scores = model(input_ids=IDS).logits[0].log_softmax(-1)
    columns = found.columns
    wanted = scores[torch.arange(9), IDS[0, 1:]]
    close(columns["surprisal"][1:], -wanted)
    close(columns["probability"][1:], wanted.exp())
    close(columns["entropy"][1:], torch.distributions.Categorical(logits=scores[:-1]).entropy())
    order = scores.argsort(-1, descending=True)
    assert columns["top_ids"][1:] == order[:-1, :3].tolist()
    assert columns["rank"][1:] == [(order[i] == IDS[0, i + 1]).nonzero().item() + 1 for i in range(9)]
    assert columns["surprisal"][0] is columns["top_ids"][0] is None
    assert found.facts["next"]["top_ids"] == order[-1, :3].tolist()
    assert [row["position"] for row in found.rows if row["answer"]] == [7, 8, 9]
    labels = torch.where(torch.arange(10) >= 7, IDS, -100)
    close(found.facts["surprisal"], model(input_ids=IDS, labels=labels).loss)


@every_architecture
def test_attention_is_what_transformers_returns(built: Build, tokenizer: Any, name: str) -> None:
    model = built(name)
    found = inspect("attention", {}, model, tokenizer, PROMPT)
    reference = deepcopy(model)
    reference.set_attn_implementation("eager")
    maps = reference(input_ids=IDS, output_attentions=True).attentions
    assert len(maps) == 3
    for layer, expected in enumerate(maps):
        for head, weights in enumerate(expected[0]):
            shown = table(found, "map", layer=layer, head=head)[0]
            for i, row in enumerate(shown):
                close(row, weights[i, : i + 1], 1e-3)
                assert len(row) == i + 1
            (row,) = [r for r in found.rows if (r["layer"], r["head"]) == (layer, head)]
            looking = weights[1:]
            back = torch.tensor([[max(i - j, 0) for j in range(10)] for i in range(1, 10)])
            close(row["entropy"], torch.special.entr(looking).sum(-1).mean())
            close(row["distance"], (looking * back).sum(-1).mean())
            close(row["sink"], looking[:, 0].mean())
            close(row["previous"], torch.stack([weights[i, i - 1] for i in range(1, 10)]).mean())
            close(row["self"], torch.stack([weights[i, i] for i in range(1, 10)]).mean())


def test_attention_obeys_the_sliding_window(built: Build, tokenizer: Any) -> None:
    found = inspect("attention", {}, built("qwen2"), tokenizer, PROMPT)
    last = [table(found, "map", layer=layer, head=0)[0][9] for layer in (0, 2)]
    assert all(last[0][:6])
    assert last[1][:6] == [0.0] * 6


@every_architecture
def test_norms_are_those_of_the_hidden_states(built: Build, tokenizer: Any, name: str) -> None:
    model = built(name)
    decoder = model.get_decoder()
    between: list[torch.Tensor] = []  # what the second norm of each layer reads: the stream with attention's part
    hooks = [
        layer.post_attention_layernorm.register_forward_pre_hook(lambda _, inputs: between.append(inputs[0][0]))
        for layer in decoder.layers
    ]
    last: list[torch.Tensor] = []
    hooks.append(decoder.norm.register_forward_pre_hook(lambda _, inputs: last.append(inputs[0][0])))
    states = [s[0] for s in model(input_ids=IDS, output_hidden_states=True).hidden_states[:-1]] + last
    for hook in hooks:
        hook.remove()
    found = inspect("norms", {}, model, tokenizer, PROMPT)
    assert len(found.columns["layer"]) == 4
    for layer, state in enumerate(states):
        close(found.columns["hidden"][layer], state.norm(dim=-1))
        if layer:
            close(found.columns["attention"][layer], (between[layer - 1] - states[layer - 1]).norm(dim=-1), 1e-4)
            close(found.columns["mlp"][layer], (state - between[layer - 1]).norm(dim=-1), 1e-4)
    assert found.columns["attention"][0] is None
    assert found.facts["unexplained"] < 1e-5
    assert not found.notes
    weights = {w["name"]: w for w in found.columns["norm_weights"][2]}
    close(weights["input_layernorm"]["mean"], decoder.layers[1].input_layernorm.weight.mean())
    assert ("self_attn.q_norm" in weights) == name.startswith("qwen3")
    assert ("self_attn.kv_a_layernorm" in weights) == (name == "deepseek_v2")


@every_architecture
def test_lens_is_the_model_s_own_prediction_at_the_end(built: Build, tokenizer: Any, name: str) -> None:
    model = built(name)
    found = inspect("logit_lens", {"top": 2, "positions": [-1, 3]}, model, tokenizer, PROMPT)
    output = model(input_ids=IDS, output_hidden_states=True)
    assert found.facts["read"]["position"] == [3, 9]
    assert found.facts["last_layer_difference"] < 1e-4
    assert not found.notes
    final = output.logits[0].log_softmax(-1)
    for place in (3, 9):
        for layer in range(4):
            state = output.hidden_states[layer][0, place]
            logits = output.logits[0, place] if layer == 3 else model.get_output_embeddings()(model.get_decoder().norm(state))
            scores = logits.log_softmax(-1)
            (row,) = [r for r in found.rows if (r["layer"], r["position"]) == (layer, place)]
            top = scores.topk(2)
            assert row["top_ids"] == top.indices.tolist()
            close(row["top_probability"], top.values.exp())
            close(row["entropy"], torch.distributions.Categorical(logits=scores).entropy())
            best = final[place].argmax()
            close(row["final_probability"], scores[best].exp())
            assert row["final_rank"] == (scores > scores[best]).sum() + 1
            kl = torch.nn.functional.kl_div(scores, final[place], log_target=True, reduction="sum")
            close(row["kl"], kl, 1e-4)


@every_architecture
@pytest.mark.parametrize("matrix", ["input", "output"])
def test_neighbours_are_the_nearest_rows(built: Build, tokenizer: Any, name: str, matrix: str) -> None:
    model = built(name)
    found = inspect("neighbours", {"ids": [17, 300], "top": 4, "matrix": matrix}, model, tokenizer)
    weight = (model.get_input_embeddings() if matrix == "input" else model.get_output_embeddings()).weight
    for place, token in enumerate((17, 300)):
        cosine = torch.cosine_similarity(weight, weight[token], dim=-1)
        cosine[token] = -2
        best = cosine.topk(4)
        assert found.columns["neighbour_ids"][place] == best.indices.tolist()
        close(found.columns["cosine"][place], best.values)
    vectors = weight[found.columns["id"]].double().numpy()
    centred = vectors - vectors.mean(0)
    _, singular, axes = np.linalg.svd(centred, full_matrices=False)
    plane = np.array([found.columns["x"], found.columns["y"]]).T
    places = centred @ axes[:2].T
    signs = np.sign((places * plane).sum(0))  # an axis may point either way
    np.testing.assert_allclose(plane, places * signs, atol=1e-4)
    np.testing.assert_allclose(found.facts["explained"], (singular**2 / (singular**2).sum())[:2], rtol=1e-4)


def test_neighbours_look_through_the_vocabulary_in_pieces(built: Build, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from components.inspect import neighbours

    whole = inspect("neighbours", {}, built("llama"), tokenizer, PROMPT)
    monkeypatch.setattr(neighbours, "_CHUNK", 33)
    assert inspect("neighbours", {}, built("llama"), tokenizer, PROMPT).columns["neighbour_ids"] == whole.columns["neighbour_ids"]
    assert whole.columns["id"][:9] == [1, 17, 44, 250, 9, 131, 300, 7, 12]


@every_architecture
def test_rope_is_what_the_model_turns_by(built: Build, tokenizer: Any, name: str) -> None:
    model = built(name)
    found = inspect("rope", {}, model, tokenizer)
    close(found.columns["model"], model.get_decoder().rotary_emb.inv_freq, 1e-6)
    assert found.columns["default"] == found.columns["model"]
    assert found.facts["difference"] < 1e-6
    wanted = {"qwen3": 16, "deepseek_v2": 8}.get(name, 8)
    assert found.facts["dimensions"] == wanted


@pytest.mark.parametrize("name", ["llama", "deepseek_v2"])
@pytest.mark.parametrize(
    "scaling",
    [
        {"rope_type": "linear"},
        {"rope_type": "dynamic"},
        {"rope_type": "yarn", "original_max_position_embeddings": 128},
        {"rope_type": "llama3", "original_max_position_embeddings": 128, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    ],
    ids=lambda scaling: scaling["rope_type"],
)
def test_scaled_frequencies_are_those_of_a_model_made_that_way(
    built: Build, tokenizer: Any, name: str, scaling: dict[str, Any]
) -> None:
    """Asked of the plain model, and as a model's own scaling: both are what a model with that configuration runs with."""
    plain = built(name)
    config = deepcopy(plain.config)
    config.rope_parameters = {"rope_theta": 10000.0, "factor": 3.0} | scaling
    scaled = type(plain)(config).eval()
    kind = scaling["rope_type"]
    if kind == "dynamic":  # it stretches when it meets a longer text
        scaled(input_ids=torch.randint(3, 300, (1, 384)))
    rotary = scaled.get_decoder().rotary_emb
    found = inspect("rope", {"factor": 3, "scalings": [kind]}, plain, tokenizer)
    close(found.columns[kind], rotary.inv_freq, 1e-6)
    assert found.facts["attention_factor"][kind] == pytest.approx(rotary.attention_scaling)
    assert kind == "yarn" or rotary.attention_scaling == 1
    assert found.columns[kind] != found.columns["default"]
    own = inspect("rope", {"scalings": []}, scaled, tokenizer)
    close(own.columns["model"], rotary.original_inv_freq, 1e-6)
    assert own.columns["default"] == found.columns["default"]
    assert own.facts["attention_factor"]["model"] == pytest.approx(rotary.attention_scaling)
    assert own.facts["difference"] < 1e-6


def test_a_view_of_four_bits_is_of_the_function_that_they_compute(tiny_nf4: Any, tokenizer: Any) -> None:
    from components.models.load import load_model

    model, _ = load_model(tiny_nf4)
    for view in ("tokens", "attention", "norms", "logit_lens", "rope", "neighbours"):
        inspect(view, {}, model, tokenizer, PROMPT)
    found = inspect("tokens", {}, model, tokenizer, PROMPT)
    again, _ = load_model(tiny_nf4)
    scores = again(input_ids=IDS).logits[0].log_softmax(-1)
    close(found.columns["surprisal"][1:], -scores[torch.arange(9), IDS[0, 1:]])


def test_a_real_model_knows_its_stories(stories260k: Path) -> None:
    from components.artifacts import ModelRef
    from components.models.load import load_model

    model, tokenizer = load_model(ModelRef(stories260k, None, ""))
    prompt = Prompt.of(tokenizer, "Once upon a time, there was a little girl named", " Lily.")
    found = inspect("tokens", {}, model, tokenizer, prompt)
    assert [row["text"] for row in found.rows if row["answer"]] == [" Lily", "."]
    assert found.facts["perplexity"] < 1.5
    lens = inspect("logit_lens", {"positions": [prompt.answer_from - 1], "top": 1}, model, tokenizer, prompt)
    assert lens.columns["top_text"][-1] == [" Lily"]
    assert abs(lens.columns["kl"][-1]) < 1e-5 < lens.columns["kl"][1]
    near = inspect("neighbours", {"tokens": ["day"], "top": 8}, model, tokenizer)
    assert " time" in near.columns["neighbour_text"][0]


@pytest.mark.parametrize(
    ("view", "settings", "said"),
    [
        ("attention", {"layers": [3]}, "there is no layer 3; the model has layers 0 to 2"),
        ("attention", {"heads": [-1]}, "there is no head -1; the model has heads 0 to 3"),
        ("logit_lens", {"positions": [10]}, "there is no position 10; the text has tokens 0 to 9"),
        ("logit_lens", {"max_tokens": 9}, "10 tokens, more than max_tokens=9"),
        ("neighbours", {"ids": [320]}, "there is no token 320; the model has ids 0 to 319"),
        ("experts", {}, "LlamaForCausalLM is dense: in every layer each token passes through the same MLP"),
        ("adapter", {}, "this model has no adapter; give one with --adapter FOLDER"),
    ],
)
def test_what_a_model_has_not_is_said(built: Build, tokenizer: Any, view: str, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        inspect(view, settings, built("llama"), tokenizer, PROMPT)


@pytest.mark.parametrize(
    ("view", "settings", "said", "shape"),
    [
        ("tokens", {"max_tokens": 4}, "the first 4 of 10 tokens; max_tokens=10 shows all", 4),
        ("attention", {"max_tokens": 4}, "the first 4 of 10 tokens", 12),
        ("attention", {"max_values": 120}, "10 maps left out beyond max_values=120", 12),
        ("norms", {"max_tokens": 4}, "the first 4 of 10 tokens", 4),
        ("logit_lens", {"last": 2}, "the last 2 of 10 tokens", 8),
        ("neighbours", {"max_tokens": 2, "top": 1}, "the first 2 of 9 different tokens", None),
    ],
)
def test_what_is_cut_is_said(
    built: Build, tokenizer: Any, view: str, settings: dict[str, Any], said: str, shape: int | None
) -> None:
    found = inspect(view, settings, built("llama"), tokenizer, PROMPT)
    assert any(said in note for note in found.notes), found.notes
    if shape is not None:
        assert len(list(found.rows)) == shape
