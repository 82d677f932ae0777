"""A judge's verdict becomes evidence of a registered version, and its gate is decided again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from components.gate import Evidence, Gate, Reason
from components.registry import Registry
from components.settings import Settings
from flows import cli_judge

PARITY = {
    "ok": True,
    "reload": {"identical_tokens": True, "max_logit_difference": 0.0},
    "reload_merged": {"identical_tokens": True, "max_logit_difference": 0.0},
    "merged": {"kl": 1e-6, "top1": 1.0},
}
RECIPE = {"name": "tiny", "model": {"source": "pretrain"}, "register": {"name": "tiny", "judge": {"min_kappa": 0.4}}}


@pytest.fixture
def versions(home: Settings, tiny_llama: Path, tmp_path: Path) -> Registry:
    """Version 1, which is champion, and version 2, a candidate with other weights."""
    import torch
    from transformers import AutoModelForCausalLM

    registry = Registry(home)
    for number in (1, 2):
        folder = tmp_path / f"v{number}" / "merged"
        shutil.copytree(tiny_llama, folder)
        model = AutoModelForCausalLM.from_pretrained(tiny_llama)
        torch.manual_seed(number)
        torch.nn.init.normal_(model.lm_head.weight)
        model.save_pretrained(folder)
        digest = f"{number}" * 64
        handle = registry.upload("tiny", {"merged": folder}, digest)
        gate = Gate("pass", [Reason("champion", "pass", "there is none")], digest, None)
        version = registry.register(handle, Evidence(digest=digest, recipe=RECIPE, parity=PARITY, licence="mit"), gate)
        if number == 1:
            registry.promote("tiny", version.version, gate)
    return registry


@pytest.mark.parametrize("calibrated", [True, False])
def test_a_verdict_is_recorded_and_the_gate_says_what_it_thinks_of_the_judge(
    versions: Registry, home: Settings, tmp_path: Path, monkeypatch: Any, capsys: Any, calibrated: bool
) -> None:
    monkeypatch.setenv("LAPIDAR_HOME", str(home.home))
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"id": i, "prompt": f"Tom has {i} apples."}) + "\n" for i in range(12)))
    if calibrated:
        pairs = tmp_path / "pairs.jsonl"
        rows = [{"prompt": "p", "a": "x" * (1 + i % 3), "b": "xx", "label": ["b", "tie", "a"][i % 3]} for i in range(60)]
        pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
        cli_judge.judge([], cli_judge.Options("longest", audit=str(pairs)), as_json=False)
    options = cli_judge.Options("longest", record="models:/tiny/2", max_tokens=12, temperature=1.0)
    cli_judge.judge(["models:/tiny/2", "models:/tiny@champion", str(prompts)], options, as_json=False)
    said, shown = capsys.readouterr().out, versions.show("models:/tiny/2")
    found = shown["evidence"]["judgement"]
    assert (found["judge"], found["against"]) == ("longest", "1" * 64)
    assert found["win_rate"]["n"] == 12
    reasons = [reason for reason in shown["gate"]["reasons"] if reason["check"] == "judge"]
    if calibrated:
        assert found["audit"]["kappa"]["value"] == 1
        assert any("win rate" in reason["text"] for reason in reasons)
        assert {reason["verdict"] for reason in reasons[:2]} == {"pass"}
    else:
        assert found["audit"]["kappa"] is None
        assert {"unknown", "pass"} == {reason["verdict"] for reason in reasons}
        assert not any("win rate" in reason["text"] for reason in reasons)
        assert shown["gate"]["verdict"] != "pass"
    assert f"recorded with models:/tiny/2; its gate is now {shown['gate']['verdict']}" in said
    for reason in shown["gate"]["reasons"]:
        told = f"  {reason['verdict']} {reason['check']}: {reason['text']}\n" in said
        assert told == (reason["verdict"] != "pass")
    assert "diagnosis: too few items for one, it takes 20" in said
