"""Who becomes champion: a version whose gate passes, or by a named override; where the policy says so, not by one person alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from components import audit, versions
from components.aliases import CHAMPION, Ledger
from components.database.models import Approval, PromotionOverride, now
from components.errors import InputError, LapidarError
from components.gate import Gate
from components.mlflow_client import Connection
from components.versions import Version

GATE = "gate"
"""Who promotes where nobody is named: the gate that passed."""


class GateError(LapidarError):
    """A version that isn't allowed to become champion."""


class ApprovalNeeded(GateError):
    """A promotion that was written down and waits for more people."""


@dataclass(frozen=True)
class Override:
    """A person's decision to promote past a gate that didn't pass; logged for good."""

    who: str
    reason: str


@dataclass(frozen=True)
class Decision:
    """One person's or the gate's wish that a version becomes champion.

    Attributes:
        approvals: how many people the policy asks for.
        reason: why, where there is no override, which has its own.
    """

    version: Version
    gate: Gate
    override: Override | None
    who: str
    approvals: int
    reason: str = ""

    @property
    def person(self) -> str:
        """Who decides."""
        return " ".join((self.override.who if self.override else self.who).split())

    @property
    def why(self) -> str:
        """The reason that is logged."""
        return self.override.reason if self.override else self.reason.strip()


def promote(connection: Connection, ledger: Ledger, decision: Decision) -> None:
    """Moves ``champion``, or keeps the approval until there are enough.

    Raises:
        GateError: if the gate doesn't allow it and there is no override.
        ApprovalNeeded: if more people must agree; what was asked for is kept.
        InputError: if a name or a reason is missing, or the same person agrees twice.
    """
    ledger.settle(connection)
    with ledger.database.write() as session:
        waits = _decide(session, connection, ledger, decision)
    if waits is not None:
        raise ApprovalNeeded(waits)
    ledger.settle(connection)


def _decide(session: Session, connection: Connection, ledger: Ledger, decision: Decision) -> str | None:
    """Writes the decision down, in one transaction; returns what it waits for, if it waits."""
    audit.lock(session)
    version, before = decision.version, ledger.current(session, connection, decision.version.name, CHAMPION)
    champion = versions.numbered(connection, version.name, before) if before else None
    refusal = _refusal(version, decision.gate, champion)
    if refusal is not None and decision.override is None:
        raise GateError(refusal)
    if decision.override and not (decision.person and decision.override.reason.strip()):
        raise InputError("an override needs the name of the person who decides and the reason; give both")
    kind = "promote" if refusal is None else "override"
    if kind == "promote" and before == version.version:
        return None  # it is champion already
    asked = [*_waiting(session, ledger, version, kind, before)]
    if decision.approvals > 1:
        if (waits := _agree(session, ledger, decision, kind, before, asked)) is not None:
            return waits
        asked = [*_waiting(session, ledger, version, kind, before)]
    who = ", ".join(each.who for each in asked) or decision.person or GATE
    reason = "; ".join(f"{each.who}: {each.reason}" for each in asked if each.reason) or decision.why
    tags: dict[str, str] = {"lapidar.gate": decision.gate.verdict}
    if kind == "override":
        _log_override(session, ledger, decision, who, reason)
        at = now().isoformat(timespec="seconds")
        tags |= {"lapidar.override.who": who, "lapidar.override.reason": reason, "lapidar.override.at": at}
    entry = ledger.begin(session, version, CHAMPION, kind, before, who=who, reason=reason, verdict=decision.gate.verdict, tags=tags)
    for each in asked:
        each.position = entry.position
    return None


def _agree(
    session: Session, ledger: Ledger, decision: Decision, kind: str, before: str | None, asked: list[Approval]
) -> str | None:
    """Adds one person's agreement; returns what is still waited for."""
    version, person = decision.version, decision.person
    if not person:
        raise InputError(
            f"{decision.approvals} people must agree before {version.uri} becomes champion; say who you are: --who NAME"
        )
    if person.casefold() in {each.who.casefold() for each in asked}:
        raise InputError(f"{person} agreed already that {version.uri} becomes champion; it takes somebody else")
    reason = decision.why
    session.add(
        Approval(
            tracker=ledger.tracker,
            name=version.name,
            version=version.version,
            kind=kind,
            evidence=version.evidence,
            against=before or "",
            who=person,
            reason=reason,
        )
    )
    audit.append(
        session,
        ledger.tracker,
        version.name,
        "approve",
        who=person,
        reason=reason or kind,
        to_version=version.version,
        digest=version.digest,
        verdict=decision.gate.verdict,
    )
    session.flush()
    names = [*(each.who for each in asked), person]
    if len(names) >= decision.approvals:
        return None
    flag = " --override --reason TEXT" if kind == "override" else ""
    return (
        f"{version.uri} waits: {len(names)} of {decision.approvals} people agreed ({', '.join(names)}); somebody else "
        f"confirms with `lapidar promote {version.uri} --who NAME{flag}`"
    )


def rollback(connection: Connection, ledger: Ledger, name: str, who: str, reason: str) -> Version:
    """Makes the champion before the present one champion again, by the audit log.

    Raises:
        InputError: if there was none, it was deleted, or the present champion isn't the log's.
    """
    if not (who.strip() and reason.strip()):
        raise InputError("a rollback is logged for good with a name and a reason; give both: --who NAME --reason TEXT")
    ledger.settle(connection)
    with ledger.database.write() as session:
        audit.lock(session)
        before, known = ledger.current(session, connection, name, CHAMPION), ledger.champions(session, name)
        if before is None:
            raise InputError(f"{name} has no champion, so there is nothing to roll back")
        if known and known[-1] != before:
            raise InputError(
                f"the champion of {name} is version {before}, and the audit log says version {known[-1]}: somebody moved the alias "
                "by hand; see `lapidar audit --verify`, and promote a version by its number"
            )
        if len(known) < 2:
            raise InputError(f"{name} has no previous champion: version {before} is the first that the audit log knows")
        version = versions.numbered(connection, name, known[-2])
        if version is None:
            raise InputError(f"version {known[-2]}, the champion before, was deleted; promote another version of {name}")
        verdict = version.tags.get("lapidar.gate")
        ledger.begin(session, version, CHAMPION, "rollback", before, who=who.strip(), reason=reason.strip(), verdict=verdict)
    ledger.settle(connection)
    return version


def pending(session: Session, ledger: Ledger, version: Version, champion: str | None) -> list[dict[str, Any]]:
    """Approvals of a version that wait for more people, JSON-ready."""
    return [
        {"who": each.who, "reason": each.reason, "kind": each.kind, "at": _at(each.created_at)}
        for kind in ("promote", "override")
        for each in _waiting(session, ledger, version, kind, champion)
    ]


def overrides(session: Session, ledger: Ledger, version: Version) -> list[dict[str, Any]]:
    """Overrides by which a version became champion, JSON-ready, oldest first."""
    query = select(PromotionOverride).filter_by(tracker=ledger.tracker, name=version.name, version=version.version)
    rows = session.scalars(query.order_by(PromotionOverride.id)).all()
    return [{"who": r.who, "reason": r.reason, "at": _at(r.created_at), "gate": json.loads(r.gate)} for r in rows]


def _at(when: datetime) -> str:
    """ISO 8601 with its time zone, which SQLite forgets."""
    return (when if when.tzinfo is not None else when.replace(tzinfo=UTC)).isoformat()


def _waiting(session: Session, ledger: Ledger, version: Version, kind: str, before: str | None) -> list[Approval]:
    """Approvals that still count: of the same evidence, against the same champion, and not used yet."""
    query = select(Approval).filter_by(
        tracker=ledger.tracker,
        name=version.name,
        version=version.version,
        kind=kind,
        evidence=version.evidence,
        against=before or "",
        position=None,
    )
    return list(session.scalars(query.order_by(Approval.id)))


def _log_override(session: Session, ledger: Ledger, decision: Decision, who: str, reason: str) -> None:
    version = decision.version
    session.add(
        PromotionOverride(
            tracker=ledger.tracker,
            name=version.name,
            version=version.version,
            digest=version.digest,
            who=who,
            reason=reason,
            gate=json.dumps(decision.gate.to_dict()),
        )
    )


def _refusal(version: Version, gate: Gate, champion: Version | None) -> str | None:
    """Why a version may not become champion; None if it may."""
    what = f"{version.uri} isn't promoted"
    if gate.digest != version.digest:
        return f"{what}: the gate is about other weights ({gate.digest}, the version has {version.digest})"
    if gate.verdict != "pass":
        reasons = "; ".join(f"{r.check} {r.verdict}: {r.text}" for r in gate.reasons if r.verdict != "pass")
        return f"{what}: its gate is {gate.verdict} ({reasons}); an override needs --override with a name and a reason"
    now_champion = champion.digest if champion else None
    if now_champion not in (gate.champion, version.digest):
        return f"{what}: the champion has changed since its gate was decided; decide again: `lapidar models gate {version.uri}`"
    return None
