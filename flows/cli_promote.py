"""``lapidar promote``, ``rollback``, ``audit`` and ``models gate``: who becomes champion, and the record of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from components.errors import InputError
from flows import output
from flows.cli_models import registry_for

DONE, GATE_NOT_PASSED = 0, 3
BROKEN = 1


def promote(uri: str, override: bool, who: str, reason: str, as_json: bool) -> int:
    """Makes a version the champion if its gate passed, or by a named override; returns the exit code."""
    from components.gate import Gate
    from components.registry import GateError, Override

    if reason and not override:
        raise InputError("--reason belongs to an override; add --override, or leave it out to obey the gate")
    if override and not (who.strip() and reason.strip()):
        raise InputError("an override is logged for good with a name and a reason; add --who NAME and --reason TEXT")
    registry = registry_for(uri)
    shown = registry.show(uri)
    gate = Gate.from_dict(shown["gate"])
    try:
        version = registry.promote(shown["name"], shown["version"], gate, Override(who, reason) if override else None, who)
    except GateError as error:
        typer.echo(f"lapidar: {error}", err=True)
        if as_json:
            pending = registry.show(uri)["pending"]
            found = {"version": _brief(shown), "promoted": False, "gate": shown["gate"], "pending": pending, "error": str(error)}
            output.document(found)
        return GATE_NOT_PASSED
    now = registry.show(version.uri)
    if as_json:
        found = {"version": _brief(now), "promoted": True, "gate": now["gate"], "pending": now["pending"]}
        output.document(found | {"overrides": now["overrides"]})
        return DONE
    typer.echo(f"{version.uri} is champion of {version.name} ({', '.join(version.aliases)})")
    if len(now["overrides"]) > len(shown["overrides"]):
        last = now["overrides"][-1]
        typer.echo(f"by an override of {last['who']} past a gate that says {gate.verdict}: {last['reason']}")
    return DONE


def rollback(name: str, who: str, reason: str, as_json: bool) -> None:
    """Makes the champion before the present one champion again."""
    registry = registry_for(f"models:/{name.removeprefix('models:/')}")
    name = name.removeprefix("models:/")
    before = registry.champion(name)
    version = registry.rollback(name, who, reason)
    if as_json:
        found = {"name": name, "from": before.version if before else None, "to": version.version}
        output.document(found | {"aliases": version.aliases, "who": who, "reason": reason})
        return
    was = f", not version {before.version}" if before else ""
    typer.echo(f"{version.uri} is champion of {name} again{was}; rolled back by {who}: {reason}")


def audit(name: str | None, verify: bool, as_json: bool) -> int:
    """Prints the audit log; with ``verify`` returns 1 where it was changed or an alias has no reason in it."""
    from components import local_services
    from components.registry import Registry
    from components.settings import Settings

    settings = Settings()
    registry = registry_for(f"models:/{name}") if name else Registry(settings, local_services.address(settings, "mlflow"))
    entries = registry.audit(name)
    faults = registry.audit_faults() if verify else []
    if as_json:
        output.document({"entries": entries} | ({"intact": not faults, "faults": faults} if verify else {}))
        return BROKEN if faults else DONE
    for entry in entries:
        typer.echo(_line(entry))
    if not entries:
        typer.echo("the audit log has no lines yet")
    for fault in faults:
        typer.echo(f"lapidar: {fault}", err=True)
    if verify and not faults:
        typer.echo("intact: every line follows the one before it, and every alias is where the log says")
    return BROKEN if faults else DONE


def gate(uri: str, who: str, as_json: bool) -> int:
    """Decides a version's gate again and prints it; returns 3 unless it passes."""
    registry = registry_for(uri)
    shown = registry.supplement(uri, {}, who=who.strip() or "lapidar")
    if as_json:
        output.document({"version": _brief(shown), "gate": shown["gate"]})
    else:
        typer.echo(f"{shown['uri']}: gate {shown['gate']['verdict']}")
        for reason in shown["gate"]["reasons"]:
            typer.echo(f"  {reason['verdict']:<9}{reason['check']}: {reason['text']}")
    return DONE if shown["gate"]["verdict"] == "pass" else GATE_NOT_PASSED


def _line(entry: Mapping[str, Any]) -> str:
    moved = f"version {entry['to_version']}"
    if entry["alias"]:
        moved = f"{entry['alias']} {entry['from_version'] or '-'} → {entry['to_version'] or '-'}"
    parts = [f"{entry['position']:>4}", entry["at"], entry["name"], f"{entry['action']:<8}", moved]
    parts += [f"gate {entry['verdict']}"] if entry["verdict"] else []
    return "  ".join([*parts, f"{entry['who']}: {entry['reason']}"])


def _brief(shown: Mapping[str, Any]) -> dict[str, Any]:
    return {key: shown[key] for key in ("name", "version", "uri", "digest", "aliases")}
