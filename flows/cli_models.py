"""``lapidar models list|show``: registered versions and what they carry."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import typer

from components import local_services
from components.errors import InputError
from components.settings import Settings
from flows import output
from flows.summary import contamination

if TYPE_CHECKING:
    from components.registry import Registry, Version

_METRIC = "accuracy"


def list_versions(name: str | None, as_json: bool) -> None:
    """Prints one line a version: digest, aliases, the gate's metric with its interval, the gate."""
    registry = _registry()
    found = registry.list_versions() if registry else []
    if name is not None:
        _check_name(name, found)
    rows = [_row(version) for version in found if name in (None, version.name)]
    if as_json:
        output.document(rows)
        return
    if not rows:
        typer.echo("no versions yet; `lapidar run quickstart` makes one")
        return
    cells = [_cells(row) for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    for row in cells:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def show(uri: str, as_json: bool) -> None:
    """Prints a version's evidence, parity chain, gate with reasons, and lineage."""
    registry = registry_for(uri)
    shown = registry.show(uri)
    if as_json:
        output.document(shown)
        return
    for line in lines(shown):
        typer.echo(line)


def lines(shown: Mapping[str, Any]) -> list[str]:
    """A version as text for people: one section each for evaluation, parity, gate, lineage and stages."""
    evidence, gate = shown["evidence"], shown["gate"]
    created = datetime.fromtimestamp(shown["created"], UTC).isoformat(timespec="seconds")
    found = [
        f"{shown['uri']} ({', '.join(shown['aliases']) or 'no alias'})",
        f"  digest   {shown['digest']}",
        f"  created  {created}",
    ]
    found += ["evaluation", *_evaluation(evidence["evaluation"])]
    found += _floors(evidence.get("noise", {}).get("floors", {}))
    found += contamination(evidence["contamination"]) or ["contamination: not checked (no stage looked for it)"]
    found += ["parity chain", *_parity(evidence["parity"])]
    found += [f"gate: {gate['verdict']}"]
    for reason in gate["reasons"]:
        found += textwrap.wrap(
            f"{reason['check']}: {reason['text']}", 120, initial_indent=f"  {reason['verdict']:<9}", subsequent_indent=" " * 11
        )
    for entry in shown["overrides"]:
        found.append(f"  override by {entry['who']} at {entry['at']} past {entry['gate']['verdict']}: {entry['reason']}")
    for entry in shown["pending"]:
        why = f": {entry['reason']}" if entry["reason"] else ""
        found.append(f"  {entry['kind']} asked for by {entry['who']} at {entry['at']}, waits for somebody else{why}")
    found += ["lineage", *(f"  {name:<20}{value}" for name, value in _lineage(evidence))]
    found += ["stages", *(f"  {stage['name']:<20}{stage['method']:<14}{stage['key']}" for stage in evidence["stages"])]
    return found


def _evaluation(benchmarks: Mapping[str, Any]) -> list[str]:
    return [
        f"  {benchmark} {metric:<18}{_estimate(value)} n={value.get('n', '?')}"
        for benchmark, metrics in benchmarks.items()
        for metric, value in metrics.items()
    ]


def _floors(floors: Mapping[str, Any]) -> list[str]:
    rows = [(name, metric, found) for name, metrics in floors.items() for metric, found in metrics.items()]
    lines = [f"  {name} {metric:<18}±{found['half_width']:.3f} ({found['runs']} runs)" for name, metric, found in rows]
    return ["noise floor", *lines] if lines else []


def _parity(parity: Mapping[str, Any]) -> list[str]:
    """The hand-overs in their order, then whether all of them hold."""
    order = sorted(parity, key=lambda name: (name == "ok", name.startswith("reload"), name))
    return [f"  {'all hold' if name == 'ok' else name:<20}{_flat(parity[name])}" for name in order]


def _lineage(evidence: Mapping[str, Any]) -> list[tuple[str, str]]:
    dataset, code = evidence["dataset"], evidence["code"]
    clean = {True: "clean", False: "with uncommitted changes", None: "state unknown"}[code.get("clean")]
    return [
        (
            "dataset",
            f"{dataset.get('md5')} {dataset.get('path')} at revision {dataset.get('revision')} of {dataset.get('repository')}",
        ),
        ("recipe", f"{evidence['recipe'].get('name')}, base model {evidence['recipe'].get('model', {}).get('source')}"),
        ("code", f"{code.get('revision')} ({clean})"),
        ("lock", str(evidence["lock"])),
        ("seeds", _flat(evidence["seeds"])),
        ("chat template", str(evidence["chat_template"])),
        ("licence", str(evidence["licence"])),
        ("runs", _flat(evidence["runs"])),
    ]


def _row(version: Version) -> dict[str, Any]:
    recipe, evaluation = _tag(version, "recipe"), _tag(version, "evaluation")
    metric = (recipe.get("register") or {}).get("metric", _METRIC)
    return {
        "name": version.name,
        "version": version.version,
        "uri": version.uri,
        "digest": version.digest,
        "aliases": version.aliases,
        "created": version.created,
        "metric": metric,
        "evaluation": {benchmark: values[metric] for benchmark, values in evaluation.items() if metric in values},
        "gate": version.tags.get("lapidar.gate", "unknown"),
        "overridden": version.tags.get("lapidar.override.who"),
    }


def _cells(row: Mapping[str, Any]) -> list[str]:
    scores = "; ".join(f"{benchmark} {row['metric']} {_estimate(value)}" for benchmark, value in row["evaluation"].items())
    gate = f"gate {row['gate']}" + (f" (override by {row['overridden']})" if row["overridden"] else "")
    created = datetime.fromtimestamp(row["created"], UTC).strftime("%Y-%m-%d %H:%M")
    return [row["uri"], row["digest"][:12], ", ".join(row["aliases"]) or "-", scores or "not evaluated", gate, created]


def _tag(version: Version, name: str) -> dict[str, Any]:
    """A tag's JSON object; empty if it is too long for a tag: ``show`` has all of it."""
    try:
        found = json.loads(version.tags.get(f"lapidar.{name}", ""))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _estimate(value: Mapping[str, Any]) -> str:
    if "low" not in value:
        return str(value.get("value", ""))
    return f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"


def _flat(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return ", ".join(f"{key} {_flat(inside)}" for key, inside in value.items()) if isinstance(value, Mapping) else str(value)


def _registry() -> Registry | None:
    """The registry; None where nothing was ever tracked, so that looking makes no database."""
    settings = Settings()
    address = local_services.address(settings, "mlflow")
    if not (settings.tracking_uri or address or (settings.services / "mlflow.db").exists()):
        return None
    from components.registry import Registry

    return Registry(settings, address)


def registry_for(uri: str) -> Registry:
    """The registry, if it has a model of the URI's name.

    Raises:
        InputError: if the URI has another form or no model that name; names the nearest.

    """
    name = uri.removeprefix("models:/").replace("@", "/").partition("/")[0]
    if not uri.startswith("models:/"):
        raise InputError(
            f"{uri!r} isn't a version; write models:/NAME/VERSION or models:/NAME@ALIAS, `lapidar models list` has them"
        )
    registry = _registry()
    if registry is None:
        raise InputError(f"there is no {uri}; nothing is registered in this home yet, `lapidar run quickstart` makes a version")
    _check_name(name, registry.list_versions())
    return registry


def _check_name(name: str, found: list[Version]) -> None:
    names = list(dict.fromkeys(version.name for version in found))
    if name in names:
        return
    near = get_close_matches(name, names, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"registered are {', '.join(names) or 'none yet'}"
    raise InputError(f"no registered model is named {name!r}; {hint}")
