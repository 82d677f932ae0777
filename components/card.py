"""The model card of a registered version: Hugging Face layout, YAML front matter and what the evidence says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from components.gate import Evidence, Gate


def render(name: str, evidence: Evidence, gate: Gate) -> str:
    """``README.md`` of a version; equal evidence gives equal text."""
    front = yaml.safe_dump(_front_matter(name, evidence), sort_keys=False, allow_unicode=True)
    parts = [
        f"---\n{front}---\n\n# {name}\n\nTrained and registered by Lapidar. "
        "Everything below comes from the version's `evidence.json`.",
        "## Evaluation\n\n" + _table(["benchmark", "metric", "value", "95 % interval", "n"], _metric_rows(evidence)),
        f"## Gate: {gate.verdict}\n\n" + _table(["check", "verdict", "finding"], _gate_rows(gate)),
        "## Parity\n\n" + _table(["hand-over", "finding"], _parity_rows(evidence.parity)),
        "## Origin\n\n" + _table(["", ""], _origin_rows(evidence)),
        "## Stages\n\n" + _table(["stage", "method", "key"], _stage_rows(evidence)),
        "## Files\n\n`adapter/` (PEFT), `merged/` (full weights) and, if the recipe exports, `export/` (for serving): "
        "safetensors with the tokenizer and the chat template. `checksums.json` has the sha256 of each.",
        "## Recipe\n\n```yaml\n" + yaml.safe_dump(evidence.recipe, sort_keys=False, allow_unicode=True) + "```",
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(name: str, evidence: Evidence) -> dict[str, Any]:
    source = evidence.recipe.get("model", {}).get("source")
    front: dict[str, Any] = {"license": evidence.licence or "unknown", "library_name": "transformers"}
    front["pipeline_tag"] = "text-generation"
    front["tags"] = ["lapidar", *[str(stage["method"]) for stage in evidence.stages if stage.get("method")]]
    front["tags"] = list(dict.fromkeys(front["tags"]))
    if source and source != "pretrain":
        front["base_model"] = source
    if results := list(_results(evidence)):
        front["model-index"] = [{"name": name, "results": results}]
    return front


def _results(evidence: Evidence) -> Iterator[dict[str, Any]]:
    for benchmark, metrics in evidence.evaluation.items():
        dataset = {"type": benchmark, "name": benchmark, "revision": evidence.dataset.get("md5")}
        values = [{"type": metric, "value": found["value"]} for metric, found in metrics.items() if "value" in found]
        if values:
            yield {"task": {"type": "text-generation"}, "dataset": dataset, "metrics": values}


def _metric_rows(evidence: Evidence) -> Iterator[list[Any]]:
    for benchmark, metrics in evidence.evaluation.items():
        for metric, found in metrics.items():
            if "low" in found:
                interval = f"{found['low']:.3f} to {found['high']:.3f}"
                yield [benchmark, metric, f"{found['value']:.3f}", interval, found["n"]]
            else:
                yield [benchmark, metric, found.get("value", ""), "", found.get("n", "")]


def _gate_rows(gate: Gate) -> Iterator[list[Any]]:
    yield from ([reason.check, reason.verdict, reason.text] for reason in gate.reasons)


def _parity_rows(parity: Mapping[str, Any]) -> Iterator[list[Any]]:
    for hand_over, found in parity.items():
        text = ", ".join(f"{k} {v}" for k, v in found.items()) if isinstance(found, dict) else found
        yield [hand_over, text]


def _origin_rows(evidence: Evidence) -> Iterator[list[Any]]:
    yield ["weights sha256", f"`{evidence.digest}`"]
    for key in ("md5", "revision", "repository", "path"):
        yield [f"dataset {key}", f"`{evidence.dataset.get(key)}`"]
    state = {True: "clean", False: "with uncommitted changes", None: "state unknown"}[evidence.code.get("clean")]
    yield ["code revision", f"`{evidence.code.get('revision')}` ({state})"]
    yield ["lock sha256", f"`{evidence.lock}`"]
    yield ["seeds", ", ".join(f"{name} {seed}" for name, seed in evidence.seeds.items()) or "unknown"]
    yield ["chat template sha256", f"`{evidence.chat_template}`"]
    for benchmark, state in evidence.contamination.items():
        yield [f"contamination of {benchmark}", state]


def _stage_rows(evidence: Evidence) -> Iterator[list[Any]]:
    yield from ([s.get("name"), s.get("method"), f"`{s.get('key')}`"] for s in evidence.stages)


def _table(header: list[str], rows: Iterator[list[Any]]) -> str:
    """A Markdown table; bars and line breaks in cells are made harmless."""
    lines = ["| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in rows]
    if not lines:
        return "Not recorded."
    return "\n".join(["| " + " | ".join(header) + " |", "| " + " | ".join("---" for _ in header) + " |", *lines])
