"""Evidence that comes after registration: a judge's verdict, votes, contamination, more evaluations; the gate is decided again."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import fields as fields_of
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import select

from components import audit, versions
from components import evidence as evidence_files
from components.aliases import Ledger
from components.database.models import Registration
from components.errors import InputError
from components.gate import Champion, Evidence, Gate, Item, decide
from components.mlflow_client import Connection
from components.recipe import RegisterConfig
from components.versions import Version

LATER = ("judgement", "votes", "contamination", "evaluation", "speed", "noise", "parity")
_COMPARED = ("champion", "guards")


def policy(evidence: Mapping[str, Any], name: str) -> RegisterConfig:
    """The gate's limits that a version was registered with."""
    known = evidence.get("recipe", {}).get("register") or {"name": name}
    return RegisterConfig.model_validate({key: value for key, value in known.items() if key in RegisterConfig.model_fields})


def carried(evidence: Evidence, before: Mapping[str, Any]) -> Evidence:
    """New evidence about the same weights, with what was added to the old one since and isn't measured by a run."""
    old = Evidence.from_dict(before)
    kept = {name: getattr(old, name) for name in ("judgement", "votes", "contamination") if not getattr(evidence, name)}
    further = {name: found for name, found in old.evaluation.items() if name not in evidence.evaluation}
    return replace(evidence, **kept, evaluation={**evidence.evaluation, **further})


def supplement(
    connection: Connection,
    ledger: Ledger,
    version: Version,
    champion: Champion | None,
    fields: Mapping[str, Any],
    items: Sequence[Item],
    who: str,
) -> None:
    """See ``Registry.supplement``. Writers of one version wait for each other, so none loses what another one added."""
    if unknown := [name for name in fields if name not in LATER]:
        known = ", ".join(LATER)
        raise InputError(f"{unknown[0]!r} can't be added to the evidence of {version.uri}; what may be added later: {known}")
    with ledger.database.write() as session, tempfile.TemporaryDirectory() as scratch:
        key = {"tracker": ledger.tracker, "name": version.name, "digest": version.digest}
        session.scalars(select(Registration).filter_by(**key).with_for_update()).one_or_none()
        latest = versions.numbered(connection, version.name, version.version) or version
        found = evidence_files.read(connection, latest.location, latest.evidence, Path(scratch))
        evidence = _with(Evidence.from_dict(found["evidence"]), fields)
        whole = [*(evidence_files.items(connection, latest.location, latest.evidence, Path(scratch)) or []), *_new(items, found)]
        gate = decide(evidence, champion, policy(found["evidence"], version.name), whole)
        if champion is not None and champion.digest == evidence.digest:
            gate = _first_comparison(gate, Gate.from_dict(found["gate"]))
        files = _items_file(Path(scratch), whole)
        written = evidence_files.write(connection, _model_id(connection, latest), version.name, evidence, gate, files)
        versions.note(connection, latest, evidence_files.tags(written))
        audit.append(
            session,
            ledger.tracker,
            version.name,
            "evidence",
            who=who,
            reason=", ".join(fields) or "decided again",
            to_version=version.version,
            digest=version.digest,
            verdict=gate.verdict,
        )


def _with(evidence: Evidence, fields: Mapping[str, Any]) -> Evidence:
    names = {each.name for each in fields_of(Evidence)}
    changed = {name: json.loads(json.dumps(value)) for name, value in fields.items() if name in names}
    if "evaluation" in changed:
        changed["evaluation"] = {**evidence.evaluation, **changed["evaluation"]}
    if "parity" in changed:  # how it is served; what was compared before it was registered stays
        if changed["parity"].keys() != {"served"}:
            raise InputError("of parity only 'served' can be added; the rest is compared before a version is registered")
        changed["parity"] = {**evidence.parity, **changed["parity"]}
    return replace(evidence, **changed)


def _new(items: Sequence[Item], found: Mapping[str, Any]) -> Sequence[Item]:
    """Further items, of benchmarks that weren't there: what a version was registered with isn't exchanged."""
    known = found["evidence"].get("evaluation", {})
    if double := next((item["benchmark"] for item in items if item["benchmark"] in known), None):
        raise InputError(f"{double!r} was evaluated already; items of an evaluation aren't exchanged, register the version again")
    return items


def _first_comparison(gate: Gate, first: Gate) -> Gate:
    """A champion compared with itself says nothing; what it was compared with when it was decided first says more."""
    kept = [reason for reason in first.reasons if reason.check in _COMPARED]
    if not kept or first.champion == gate.digest:
        return gate
    reasons = [reason for reason in gate.reasons if reason.check not in _COMPARED]
    verdicts = {reason.verdict for reason in [*reasons, *kept]}
    verdict: Any = "fail" if "fail" in verdicts else "unknown" if "unknown" in verdicts else "pass"
    return Gate(verdict, [*kept, *reasons], gate.digest, first.champion)


def _items_file(scratch: Path, items: Sequence[Item]) -> dict[str, Path]:
    if not items:
        return {}
    file = scratch / evidence_files.ITEMS
    file.write_bytes(b"".join(json.dumps(item, ensure_ascii=False).encode() + b"\n" for item in items))
    return {evidence_files.ITEMS: file}


def _model_id(connection: Connection, version: Version) -> str:
    """The LoggedModel whose artifacts a version's files are."""
    query = f"tags.`lapidar.digest` = '{version.digest}' AND tags.`lapidar.model` = '{version.name}'"
    found = connection.client.search_logged_models([connection.experiment_id], query)
    return str(next(model.model_id for model in found if model.artifact_location == version.location))
