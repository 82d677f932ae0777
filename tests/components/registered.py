"""Versions in a real registry, made of files with the names of a model: the registry looks at bytes, not at tensors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from components.gate import Evidence, Gate, Reason
from components.registry import Registry, Version

PARITY = {
    "ok": True,
    "reload": {"identical_tokens": True, "max_logit_difference": 0.0},
    "reload_merged": {"identical_tokens": True, "max_logit_difference": 0.0},
    "merged": {"kl": 1e-6, "top1": 1.0},
}


def folders(root: Path, content: bytes = b"weights") -> dict[str, Path]:
    """Files with the names of a model: the registry looks at bytes, not at tensors."""
    for name, file in (("adapter", "adapter_model.safetensors"), ("merged", "model.safetensors")):
        (root / name / "deep").mkdir(parents=True, exist_ok=True)
        (root / name / file).write_bytes(content + name.encode())
        (root / name / "deep" / "config.json").write_text('{"name": "ü\u2028"}', encoding="utf-8")
    return {name: root / name for name in ("adapter", "merged")}


def evidence(digest: str = "d1", **changes: Any) -> Evidence:
    stage = {"name": "sft", "method": "sft", "key": "k" * 64, "status": "ran", "seconds": 3.0}
    whole = Evidence(
        digest=digest,
        dataset={"md5": "abc.dir", "repository": "/repo", "revision": "f00d", "path": "data"},
        recipe={"name": "tiny", "seed": 0, "model": {"source": "pretrain"}},
        code={"revision": "beef", "clean": True},
        lock="10c4",
        seeds={"recipe": 0},
        stages=[stage],
        chat_template="7e44",
        metrics={"sft": {"heldout": {"accuracy": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 100}}}},
        evaluation={"heldout": {"accuracy": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 100}}},
        parity=PARITY,
        licence="Apache-2.0",
        runs={"lapidar": "run1"},
    )
    return replace(whole, **changes)


def gate(verdict: Any = "pass", digest: str = "d1", champion: str | None = None) -> Gate:
    return Gate(verdict, [Reason("champion", verdict, "because | it is so")], digest, champion)


def items(path: Path, scores: Sequence[float] = (0.0, 1.0)) -> dict[str, Path]:
    lines = [{"benchmark": "heldout", "id": i, "scores": {"accuracy": s}, "answer": "a\u2028b"} for i, s in enumerate(scores)]
    path.write_bytes(b"".join(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in lines))
    return {"items.jsonl": path}


def registered(registry: Registry, tmp_path: Path, digest: str = "d1", name: str = "tiny") -> Version:
    handle = registry.upload(name, folders(tmp_path / digest, digest.encode()), digest)
    files = items(tmp_path / f"{digest}.jsonl")
    return registry.register(handle, evidence(digest), gate(digest=digest), files)
