"""ΔW of adapters against the difference that PEFT's own merge makes, and its measures against plain SVD."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from components.artifacts import ModelRef
from components.errors import InputError
from components.inspection import Document, inspect
from components.models.load import load_model

VARIANTS: dict[str, dict[str, Any]] = {
    "lora": {},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "pissa": {"init_lora_weights": "pissa"},
}
TARGETS = ["q_proj", "down_proj"]


def adapter(base: Path, folder: Path, **settings: Any) -> Path:
    """An adapter of rank 4 that isn't what it was at the start any more, on layer 1 only."""
    model, _ = load_model(ModelRef(base, None, ""))
    torch.manual_seed(1)
    config = LoraConfig(r=4, lora_alpha=6, target_modules=TARGETS, layers_to_transform=[1], task_type="CAUSAL_LM", **settings)
    peft = get_peft_model(model, config)
    with torch.no_grad():
        for name, values in peft.named_parameters():
            if "lora_" in name:
                values += 0.1 * torch.randn_like(values)
    peft.save_pretrained(str(folder))
    return folder


def opened(base: Path, folder: Path) -> tuple[Any, Any]:
    return load_model(ModelRef(base, folder, ""))


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name.removesuffix(".weight"): w.double() for name, w in model.state_dict().items() if name.endswith("proj.weight")}


@pytest.fixture(scope="module", params=list(VARIANTS))
def seen(request: pytest.FixtureRequest, tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Document, Any]:
    """(variant, the view, ΔW by module as PEFT merges it)."""
    folder = adapter(tiny_llama, tmp_path_factory.mktemp(request.param) / "adapter", **VARIANTS[request.param])
    document = inspect("adapter", {"directions": 3}, *opened(tiny_llama, folder))
    base, _ = load_model(ModelRef(tiny_llama, None, ""))
    merged = opened(tiny_llama, folder)[0].merge_and_unload()
    before, after = weights(base), weights(merged)
    return request.param, document, {name: (after[name] - before[name], before[name]) for name in before}


def test_norms_and_singular_values_are_those_of_the_merged_difference(seen: tuple[str, Document, Any]) -> None:
    variant, document, changes = seen
    assert document.facts["variant"] == [variant]
    for row in document.rows:
        change, base = changes[row["module"]]
        values = torch.linalg.svdvals(change)
        assert row["frobenius"] == pytest.approx(float(change.norm()), rel=1e-4)
        assert row["spectral"] == pytest.approx(float(values[0]), rel=1e-4)
        assert row["relative_frobenius"] == pytest.approx(float(change.norm() / base.norm()), rel=1e-4)
        assert row["relative_spectral"] == pytest.approx(float(values[0] / torch.linalg.svdvals(base)[0]), rel=1e-4)
        count = min(len(row["singular_values"]), 8)
        torch.testing.assert_close(torch.tensor(row["singular_values"][:count]).double(), values[:count], rtol=1e-3, atol=1e-5)
        share = values / values.sum()
        assert row["effective_rank"] == pytest.approx(float(torch.special.entr(share).sum().exp()), rel=2e-3)
        assert row["stable_rank"] == pytest.approx(float(change.norm() ** 2 / values[0] ** 2), rel=1e-3)
    ranks = {row["kind"]: row["effective_rank"] for row in document.rows}
    if variant in ("lora", "rslora"):
        assert all(1 < rank <= 4 for rank in ranks.values())
    if variant == "pissa":
        assert all(4 < rank <= 8 for rank in ranks.values())  # the trained directions and those that it began with
    if variant == "dora":
        assert ranks["q_proj"] > 8  # every row is scaled


def test_overlap_is_the_paper_s_subspace_similarity(seen: tuple[str, Document, Any]) -> None:
    for row in seen[1].rows:
        change, base = seen[2][row["module"]]
        u, _, v = torch.linalg.svd(change)
        base_u, _, base_v = torch.linalg.svd(base)
        left = (u[:, :3].T @ base_u[:, :3]).norm() ** 2 / 3
        right = (v[:3] @ base_v[:3].T).norm() ** 2 / 3
        assert row["left_overlap"] == pytest.approx(float(left), abs=2e-3)
        assert row["right_overlap"] == pytest.approx(float(right), abs=2e-3)
        assert row["left_chance"] == 3 / len(base)
        assert row["right_chance"] == 3 / base.shape[1]


def test_what_was_selected(seen: tuple[str, Document, Any]) -> None:
    _, document, changes = seen
    assert [(row["layer"], row["kind"]) for row in document.rows] == [(1, "q_proj"), (1, "down_proj")]
    facts = document.facts
    assert (facts["layers"], facts["kinds"], facts["modules"]) == ([1], ["down_proj", "q_proj"], 2)
    assert facts["kinds_left_alone"] == ["gate_proj", "k_proj", "lm_head", "o_proj", "up_proj", "v_proj"]
    named = {row["module"] for row in document.rows}
    assert all(float(change.abs().max()) < 1e-9 for name, (change, _) in changes.items() if name not in named)
    whole = sum(float(changes[name][0].norm() ** 2) for name in named) ** 0.5
    assert facts["frobenius"] == pytest.approx(whole, rel=1e-4)
    factors = 4 * (64 + 64) + 4 * (128 + 64)
    assert facts["parameters"] == factors + (64 + 64 if seen[0] == "dora" else 0)


def test_an_adapter_on_four_bits_is_measured_against_what_they_stand_for(tiny_sft: ModelRef) -> None:
    from bitsandbytes.functional import dequantize_4bit

    model, tokenizer = load_model(tiny_sft)
    found = inspect("adapter", {}, model, tokenizer)
    assert not found.notes
    assert found.facts["modules"] == 14
    layers = dict(model.get_base_model().named_modules())
    for row in found.rows:
        layer = layers[row["module"]]
        base = dequantize_4bit(layer.base_layer.weight.data, layer.base_layer.weight.quant_state).float()
        change = layer.get_delta_weight("default")
        assert row["relative_frobenius"] == pytest.approx(float(change.norm() / base.norm()), rel=1e-4)
        assert row["base_spectral"] == pytest.approx(float(torch.linalg.svdvals(base)[0]), rel=1e-4)
        assert row["frobenius"] > 0


def test_eight_bits(tiny_llama: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    folder = adapter(tiny_llama, tmp_path / "adapter")
    base = AutoModelForCausalLM.from_pretrained(tiny_llama, quantization_config=BitsAndBytesConfig(load_in_8bit=True))
    found = inspect("adapter", {}, PeftModel.from_pretrained(base, str(folder)).eval(), None)
    plain = inspect("adapter", {}, *opened(tiny_llama, folder))
    for row, wanted in zip(found.rows, plain.rows, strict=True):
        assert row["base_frobenius"] == pytest.approx(wanted["base_frobenius"], rel=0.01)
        assert row["frobenius"] == pytest.approx(wanted["frobenius"], rel=1e-5)
        assert row["left_overlap"] == pytest.approx(wanted["left_overlap"], abs=0.05)


def test_the_product_is_never_formed(tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A LoRA's own singular values come from its factors; only the base is decomposed, and estimated where it is large."""
    from components.inspect import _update

    loaded = opened(tiny_llama, adapter(tiny_llama, tmp_path / "adapter"))
    exact = inspect("adapter", {"directions": 4}, *loaded)
    seen: list[tuple[int, ...]] = []
    svd = torch.linalg.svd
    monkeypatch.setattr(torch.linalg, "svd", lambda matrix, **k: (seen.append(tuple(matrix.shape)), svd(matrix, **k))[1])
    monkeypatch.setattr(_update, "decompose", lambda *_: exact_base)
    exact_base = _update.Spectrum(
        torch.eye(64)[:, :4].double(), torch.ones(4).double(), torch.eye(64)[:, :4].double(), 1.0, True, False
    )
    with monkeypatch.context() as only:
        only.setattr(_update, "_overlap", lambda *_: {})
        inspect("adapter", {}, *loaded)
    assert seen == [(4, 4)] * 2
    monkeypatch.undo()
    state = torch.random.get_rng_state()
    large = inspect("adapter", {"directions": 4, "exact_up_to": 8}, *loaded)
    assert torch.equal(state, torch.random.get_rng_state())
    assert any("2 modules exceed exact_up_to=8" in note for note in large.notes)
    for row, wanted in zip(large.rows, exact.rows, strict=True):
        assert row["effective_rank"] == wanted["effective_rank"]
        assert row["base_spectral"] == pytest.approx(wanted["base_spectral"], rel=0.02)
        assert row["left_overlap"] == pytest.approx(wanted["left_overlap"], abs=0.1)
    torch.randn(1)
    again = inspect("adapter", {"directions": 4, "exact_up_to": 8}, *loaded)
    assert again.to_json() == large.to_json()


def test_limits_and_choices(tiny_sft: ModelRef) -> None:
    loaded = load_model(tiny_sft)
    few = inspect("adapter", {"modules": r"layers\.1\..*q_proj", "values": 2}, *loaded)
    assert few.columns["module"] == ["model.layers.1.self_attn.q_proj"]
    assert len(few.columns["singular_values"][0]) == 2
    assert few.facts["modules"] == 14
    cut = inspect("adapter", {"seconds": 1e-9}, *loaded)
    assert len(cut.columns["module"]) == 1
    assert "13 of 14 modules left out after 1e-09 s" in cut.notes[0]
    with pytest.raises(InputError, match=r"modules='nothing' matches none of the adapted modules, e\.g\. model\.layers\.0"):
        inspect("adapter", {"modules": "nothing"}, *loaded)


def test_an_untrained_adapter_changes_nothing(tiny_llama: Path) -> None:
    model, tokenizer = load_model(ModelRef(tiny_llama, None, ""))
    peft = get_peft_model(model, LoraConfig(r=4, target_modules=TARGETS, task_type="CAUSAL_LM"))
    found = inspect("adapter", {}, peft, tokenizer)
    assert found.columns["frobenius"] == found.columns["effective_rank"] == found.columns["stable_rank"] == [0.0] * 4
    assert found.columns["left_overlap"] == [None] * 4
    assert "4 modules are as they were before training" in found.notes[0]
    found.to_arrow()
    peft.merge_adapter()
    with pytest.raises(InputError, match="the adapter is merged into its base; unmerge it"):
        inspect("adapter", {}, peft, tokenizer)


def test_pissa_without_its_base_is_refused(tiny_llama: Path, tmp_path: Path) -> None:
    folder = adapter(tiny_llama, tmp_path / "adapter", init_lora_weights="pissa")
    model, tokenizer = opened(tiny_llama, folder)
    model.get_base_model().config._name_or_path = model.get_base_model().name_or_path = str(tmp_path)
    with pytest.raises(InputError, match=r"PiSSA split model.layers.1.self_attn.q_proj from its base"):
        inspect("adapter", {}, model, tokenizer)


def test_other_views_see_the_adapter_at_work(tiny_sft: ModelRef, built: Callable[[str], Any]) -> None:
    from components.inspection import Prompt

    model, tokenizer = load_model(tiny_sft)
    prompt = Prompt.of(tokenizer, "Tom has 3 apples.")
    with_it = inspect("tokens", {}, model, tokenizer, prompt)
    with model.disable_adapter():
        without = inspect("tokens", {}, model, tokenizer, prompt)
    assert with_it.facts["surprisal"] < without.facts["surprisal"] - 0.02
    for view in ("attention", "norms", "logit_lens", "neighbours", "rope"):
        found = inspect(view, {}, model, tokenizer, prompt)
        assert not found.notes, found.notes
