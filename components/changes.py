"""Why a stage has to run: what differs between it and the sealed outputs of the same stage. Reads manifests, writes nothing.

Sample reasons: ``sft.lr changed from 0.001 to 0.002`` · ``input changed: model from quantize`` · ``code changed`` ·
``versions changed: trl 1.15.0 → 1.16.0`` · ``never run`` · ``follows from sft``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components import methods
from components.artifacts import Inputs, Sealed
from components.errors import LapidarError
from components.graph import Graph, Node, input_digests
from components.spool import flatten
from components.store import MANIFEST, Store, content_digest

_SHOWN = 6


@dataclass(frozen=True)
class Past:
    """A sealed output of an earlier run: how it was made.

    Attributes:
        record: ``config``, ``inputs``, ``seed``, ``code``, ``versions``, ``seconds``, ``run``, ``time``.
    """

    method: str
    key: str
    record: Mapping[str, Any]
    metrics: Mapping[str, Any]


class Look(Store):
    """A store that is only looked at: nothing is set aside, and nothing is fetched but a mirror's manifests."""

    def open(self, stage: str, method: str, key: str) -> Sealed | None:
        """The sealed output of a key, here or in the mirror, or None."""
        return super().open(stage, method, key) or self._mirrored(stage, method, key)

    def _set_aside(self, path: Path) -> None:
        """Leaves what is damaged where it is."""

    def _pull(self, stage: str, key: str) -> bool:
        return False

    def _mirrored(self, stage: str, method: str, key: str) -> Sealed | None:
        if self.remote is None or self.path(stage, key).exists():
            return None
        import fsspec

        try:
            filesystem, source = fsspec.core.url_to_fs(self._url(stage, key))
            if not filesystem.exists(f"{source}/{MANIFEST}"):
                return None
            manifest = json.loads(filesystem.cat_file(f"{source}/{MANIFEST}"))
        except Exception as error:
            raise LapidarError(f"the mirror {self.remote} doesn't answer ({error}); a run needs it too") from error
        return Sealed(stage, method, key, self.path(stage, key), content_digest(manifest["files"]))


def history(root: Path, node: Node) -> list[Past]:
    """Sealed outputs of a stage's name and section, newest first."""
    found = []
    for file in (root / node.section).glob(f"*/{MANIFEST}"):
        if "." in file.parent.name:
            continue  # damaged or replaced
        try:
            manifest = json.loads(file.read_bytes())
            metrics = file.with_name("metrics.json")
            past = Past(
                manifest["method"],
                manifest["key"],
                manifest["record"],
                json.loads(metrics.read_bytes()) if metrics.exists() else {},
            )
        except (OSError, ValueError, KeyError):
            continue
        if past.record.get("name") == node.name:
            found.append(past)
    return sorted(found, key=lambda past: float(past.record.get("time", 0)), reverse=True)


def closest(node: Node, given: Inputs | None, seed: int, past: list[Past]) -> Past | None:
    """The earlier output that differs least from what the stage would make now; the newest of several."""
    return min(past, key=lambda each: len(_differences(node, node.name, given, seed, each)), default=None)


def reasons(node: Node, prefix: str, given: Inputs | None, waits_for: str, seed: int, past: list[Past], damaged: bool) -> list[str]:
    """Why a stage isn't cached, most telling first.

    Args:
        node: the stage.
        prefix: its dotted name in the recipe: ``sft``, ``align.0``.
        given: what it would read; None if ``waits_for`` has to run first.
        waits_for: a stage, the data, or whatever else has to be there before.
        seed: the recipe's seed.
        past: its ``history``.
        damaged: whether an output of its key is there and doesn't match its manifest.
    """
    found = [] if given is not None else [f"follows from {waits_for}"]
    if damaged:
        return [*found, "its sealed output is damaged"]
    before = closest(node, given, seed, past)
    if before is None:
        return [*found, "never run"]
    differences = _differences(node, prefix, given, seed, before)
    if not differences and given is not None:
        return ["the device class changed"]  # the only part of a key that the differences leave out
    more = len(differences) - _SHOWN
    return found + differences[:_SHOWN] + ([f"and {more} more"] if more > 0 else [])


def prefixes(graph: Graph) -> dict[str, str]:
    """Stage name → its dotted name in the recipe, as overrides use it."""
    found, aligned = {}, 0
    for node in graph.nodes:
        if node.section == "align":
            found[node.name], aligned = f"align.{aligned}", aligned + 1
        elif node.section == "model":
            found[node.name] = "model.pretrain" if node.method == "pretrain" else "model"
        else:
            found[node.name] = node.section
    return found


def _differences(node: Node, prefix: str, given: Inputs | None, seed: int, past: Past) -> list[str]:
    record = past.record
    found = [] if past.method == node.method else [f"{prefix}.method changed from {past.method} to {node.method}"]
    now, then = flatten(node.config.model_dump(mode="json")), flatten(dict(record.get("config", {})))
    for name in sorted((now.keys() | then.keys()) - {"method"}):
        if now.get(name) != then.get(name):
            found.append(f"{prefix}.{name} changed from {_shown(then.get(name))} to {_shown(now.get(name))}")
    if record.get("seed") != seed:
        found.append(f"seed changed from {record.get('seed')} to {seed}")
    if given is not None:
        found += _inputs(node, given, record.get("inputs", {}))
    if record.get("code") != methods.code_digest(*node.modules):
        found.append("code changed")
    found += _versions(record.get("versions", {}), methods.versions(*node.modules))
    return found


def _inputs(node: Node, given: Inputs, then: Mapping[str, str]) -> list[str]:
    now, found = input_digests(node, given), []
    for name in sorted(now.keys() | then.keys()):
        if now.get(name) == then.get(name):
            continue
        kind, _, role = name.partition(":")
        source = node.models.get(role)
        place = f"model from {source.adapter or source.base}" if kind == "model" and source is not None else f"{kind} {role}"
        found.append(f"input changed: {place}")
    return found


def _versions(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    changed = [n for n in sorted(now.keys() | then.keys()) if now.get(n) != then.get(n)]
    listed = ", ".join(f"{name} {then.get(name, 'none')} → {now.get(name, 'none')}" for name in changed)
    return [f"versions changed: {listed}"] if changed else []


def _shown(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:39] + "…"
