"""Registered model versions in MLflow: plain safetensors under a LoggedModel, and the evidence that they carry.

Two phases, because a child stage compares the copy that comes back before there is a version::

    registry = Registry(settings, uri)
    handle = registry.upload(name, {"adapter": path, "merged": path, "export": path}, digest, params, mlflow_run_id)
    copy = registry.download(handle, scratch)                      # the parity stage compares it
    gate = decide(evidence, registry.champion(name), config, items)
    version = registry.register(handle, evidence, gate, {"items.jsonl": path})
    if gate.verdict == "pass":
        version = registry.promote(name, version.version, gate)

MLflow's transformers flavor isn't used: it saves a PEFT model under names that load as fresh random weights, silently.
"""

from __future__ import annotations

import json
import logging
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from components import audit, mlflow_client, model_files, noise, promotion, supplements, versions
from components import evidence as evidence_files
from components.aliases import CANDIDATE, CHAMPION, Ledger
from components.database.engine import Database, open_database
from components.database.models import Registration, now
from components.errors import InputError, LapidarError, ParityError
from components.floors import NoiseFloors, Subject
from components.gate import Champion, Evidence, Gate, Item
from components.mlflow_client import Connection, patiently
from components.model_files import LoggedModelHandle
from components.noise import Floor
from components.promotion import ApprovalNeeded, Decision, GateError, Override
from components.settings import Settings
from components.versions import Version

__all__ = ["ApprovalNeeded", "GateError", "LoggedModelHandle", "Override", "Registry", "Version", "fetch"]
logger = logging.getLogger(__name__)
Result = TypeVar("Result")
_URI = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<version>\d+)|@(?P<alias>[A-Za-z][\w-]*))")


class Registry:
    """The registry behind ``settings.tracking_uri``, else the local services' ``uri``, else SQLite in the home.

    Args:
        seconds: how long a tracker may not answer before that is an error.
    """

    def __init__(self, settings: Settings, uri: str | None = None, experiment: str = "lapidar", seconds: float = 60.0) -> None:
        self._settings, self._uri, self._experiment, self._seconds = settings, uri, experiment, seconds
        self._backend = mlflow_client.backend(settings)

    def upload(
        self,
        name: str,
        folders: Mapping[str, Path],
        digest: str,
        params: Mapping[str, Any] | None = None,
        run: str | None = None,
    ) -> LoggedModelHandle:
        """Uploads model folders; the same digest under the same name is uploaded once, a broken upload is finished.

        Args:
            name: the registered model's name.
            folders: by the name that they get in the registry: ``adapter``, ``merged``, ``export``.
            digest: sha256 that stands for all of them.
            params: shown beside the model in MLflow; may be nested.
            run: MLflow's id of the run that it comes from.

        Raises:
            InputError: if a folder holds a pickle or no safetensors.
            LapidarError: if the digest stands for other files already.

        """
        return self._ask(lambda c: model_files.upload(c, name, folders, digest, params or {}, run))

    def download(self, source: LoggedModelHandle | str, target: Path, folders: tuple[str, ...] | None = None) -> Path:
        """Downloads plain files to ``target/<folder>/`` and compares each with its sha256 at upload.

        Args:
            source: an upload, ``models:/name/version`` or ``models:/name@alias``.
            target: replaced if it exists.
            folders: which of ``adapter``, ``merged``, ``export``; all by default.

        Raises:
            ParityError: if a file isn't what was uploaded.
            InputError: if there is no such version or it has no such folder.

        """
        if isinstance(source, str):
            version = self.resolve(source)
            return self._ask(lambda c: model_files.download(c, version, version.uri, target, folders))
        return self._ask(lambda c: model_files.download(c, source, source.name, target, folders))

    def register(
        self, handle: LoggedModelHandle, evidence: Evidence, gate: Gate, files: Mapping[str, Path] | None = None
    ) -> Version:
        """Makes the version of a digest, exactly once, and gives it the alias ``candidate``.

        Registering it again gives the same version. Newer evidence takes the place of the old, which stays beside it.

        Args:
            handle: what ``upload`` returned.
            evidence: what the version carries; its parity must hold.
            gate: the verdict on it, kept with its reasons.
            files: UTF-8 files to keep with it; ``items.jsonl`` is what the next candidate is compared with.

        Raises:
            ParityError: unless ``evidence.parity["ok"]`` is True.

        """
        if evidence.parity.get("ok") is not True:
            raise ParityError(
                f"{handle.name} isn't registered: the copy from the registry isn't shown to be the trained model "
                f"(parity: {json.dumps(evidence.parity, default=str)[:500]})"
            )
        if not evidence.digest == gate.digest == handle.digest:
            raise LapidarError(
                f"{handle.name} isn't registered: evidence ({evidence.digest}), gate ({gate.digest}) and "
                f"upload ({handle.digest}) are about different weights"
            )
        return self._ask(lambda c: self._register(c, handle, evidence, gate, files or {}))

    def promote(
        self, name: str, version: str, gate: Gate, override: Override | None = None, who: str = "", reason: str = ""
    ) -> Version:
        """Gives a version the alias ``champion`` if its gate passes, or by a named override that is logged for good.

        Args:
            who: the person who promotes; needed where the version's policy asks for several.
            reason: why, for the audit log; an override has its own.

        Raises:
            GateError: if the gate doesn't pass, is about other weights, or compared with a champion since replaced.
            ApprovalNeeded: if more people must agree; this one's agreement is kept.
            InputError: if there is no such version, the override lacks a name or a reason, or one person agrees twice.
        """
        found = self.resolve(f"models:/{name}/{version}")
        policy = self._ask(lambda c: supplements.policy(self._evidence(c, found)["evidence"], name))
        decision = Decision(found, gate, override, who, policy.approvals, reason)
        self._ask(lambda c: promotion.promote(c, self._ledger, decision))
        return self.resolve(found.uri)

    def rollback(self, name: str, who: str, reason: str) -> Version:
        """Makes the champion before the present one champion again; returns it.

        Raises:
            InputError: if there was none, or it can't be champion any more.
        """
        back = self._ask(lambda c: promotion.rollback(c, self._ledger, name, who, reason))
        return self.resolve(back.uri)

    def supplement(self, uri: str, fields: Mapping[str, Any], items: Sequence[Item] = (), who: str = "lapidar") -> dict[str, Any]:
        """Adds evidence to a version (a judge's verdict, votes, contamination, further evaluations) and decides its gate again.

        What the version carried before stays beside it. No alias moves.

        Args:
            fields: by the name of the evidence's field; those of ``evaluation`` are added to the benchmarks that there are.
            items: evaluated items of further benchmarks.
            who: who adds it, for the audit log.

        Returns:
            The version as ``show`` has it.

        Raises:
            InputError: if there is no such version, or a field can't be added.
        """
        version = self.resolve(uri)
        champion = self.champion(version.name)
        self._ask(lambda c: supplements.supplement(c, self._ledger, version, champion, fields, items, who))
        return self.show(version.uri)

    def audit(self, name: str | None = None) -> list[dict[str, Any]]:
        """Lines of the audit log, oldest first."""
        self._ask(self._ledger.settle)
        with self._database.read() as session:
            return [audit.to_dict(entry) for entry in audit.entries(session, self._backend, name)]

    def audit_faults(self) -> list[str]:
        """Where the audit log was changed, and aliases that it doesn't justify; empty if all is well."""
        self._ask(self._ledger.settle)
        return self._ask(lambda c: list(self._ledger.faults(c)))

    def champion(self, name: str) -> Champion | None:
        """The current champion with its evaluation items, as the gate wants it; None if there is none."""
        self._ask(self._ledger.settle)
        version = self._ask(lambda c: versions.aliased(c, name, CHAMPION))
        if version is None:
            return None
        return Champion(version.version, version.digest, self._items(version), self.floors(version.uri))

    def floors(self, uri: str) -> dict[tuple[str, str], Floor]:
        """Noise floors of a version's evaluation: those in the database, else those that it was registered with."""
        version = self.resolve(uri)
        found = self._ask(lambda c: self._evidence(c, version))["evidence"].get("noise", {})
        known = noise.from_json(found.get("floors", {}))
        return known | NoiseFloors(self._database).find(Subject(found["model"], found["settings"])) if "model" in found else known

    def resolve(self, uri: str) -> Version:
        """The version behind ``models:/name/version`` or ``models:/name@alias``.

        Raises:
            InputError: if there is none; names what there is.

        """
        match = _URI.fullmatch(uri)
        if match is None:
            raise InputError(f"{uri!r} isn't of the form models:/name/version or models:/name@alias")
        name, number, alias = match["name"], match["version"], match["alias"]
        found = self._ask(lambda c: versions.aliased(c, name, alias) if alias else versions.numbered(c, name, number))
        if found is None:
            have = ", ".join(" ".join([v.version, *(f"@{a}" for a in v.aliases)]) for v in self.list_versions(name))
            raise InputError(f"there is no {uri}; {name} has {f'versions {have}' if have else 'no versions'}")
        return found

    def items(self, uri: str) -> list[dict[str, Any]] | None:
        """The evaluated items that a version carries; None if it carries none."""
        return self._items(self.resolve(uri))

    def _items(self, version: Version) -> list[dict[str, Any]] | None:
        with tempfile.TemporaryDirectory() as scratch:
            return self._ask(lambda c: evidence_files.items(c, version.location, version.evidence, Path(scratch)))

    def note(self, uri: str, tags: Mapping[str, str]) -> None:
        """Tags of a version that aren't evidence, e.g. ``lapidar.reproduced``."""
        version = self.resolve(uri)
        self._ask(lambda c: versions.note(c, version, tags))

    def list_versions(self, name: str | None = None) -> list[Version]:
        """All versions of a model, or of all models, newest first."""
        return self._ask(lambda c: versions.search(c, f"name = '{name}'" if name else ""))

    def show(self, uri: str) -> dict[str, Any]:
        """All that a version carries: ``name, version, uri, digest, aliases, created, evidence, gate, overrides, pending``."""
        self._ask(self._ledger.settle)
        version = self.resolve(uri)
        found = self._ask(lambda c: self._evidence(c, version))
        champion = self._ask(lambda c: versions.aliased(c, version.name, CHAMPION))
        with self._database.read() as session:
            people = {
                "overrides": promotion.overrides(session, self._ledger, version),
                "pending": promotion.pending(session, self._ledger, version, champion.version if champion else None),
            }
        names = ("name", "version", "uri", "digest", "aliases", "created")
        return {n: getattr(version, n) for n in names} | found | people

    @staticmethod
    def _evidence(connection: Connection, version: Version) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as scratch:
            return evidence_files.read(connection, version.location, version.evidence, Path(scratch))

    @cached_property
    def _ledger(self) -> Ledger:
        return Ledger(self._database, self._backend)

    @cached_property
    def _database(self) -> Database:
        return open_database(self._settings)

    @cached_property
    def _connection(self) -> Connection:
        return mlflow_client.connect(self._settings, self._uri, self._experiment)

    def _ask(self, action: Callable[[Connection], Result]) -> Result:
        address = self._settings.tracking_uri or self._uri or str(self._settings.services)
        return patiently(lambda: action(self._connection), address, self._seconds)

    def _register(
        self,
        connection: Connection,
        handle: LoggedModelHandle,
        evidence: Evidence,
        gate: Gate,
        files: Mapping[str, Path],
    ) -> Version:
        """Evidence first, so that no version is ever without; then the version, under the lock of its database row.

        A process killed between MLflow's commit and ours leaves a version that the next attempt finds by its tag.
        """
        name, digest, ledger = handle.name, handle.digest, self._ledger
        ledger.settle(connection)
        before = versions.tagged(connection, name, digest)
        if before is not None and gate.champion == digest:  # a champion compared with itself: the first verdict says more
            gate = Gate.from_dict(self._evidence(connection, before)["gate"])
        found = evidence_files.content(evidence, gate, files)
        if before is None or before.evidence != found["id"]:
            evidence_files.write(connection, handle.model_id, name, evidence, gate, files)
        tags = evidence_files.tags(found) | {"lapidar.checksums": handle.checksums}
        with self._database.write() as session:
            row = self._claim(session, name, digest, evidence.runs.get("lapidar"))
            version = versions.numbered(connection, name, row.version) if row.version else None
            version = version or versions.tagged(connection, name, digest) or versions.create(connection, handle, tags)
            row.version = version.version
            audit.lock(session)
            candidate = ledger.current(session, connection, name, CANDIDATE)
            if candidate != version.version:
                who = evidence.runs.get("lapidar") or "lapidar"
                ledger.begin(session, version, CANDIDATE, "register", candidate, who=who, reason="registered", verdict=gate.verdict)
        if version.evidence != found["id"]:
            versions.note(connection, version, tags)
        ledger.settle(connection)
        return versions.numbered(connection, name, version.version) or version

    def _claim(self, session: Session, name: str, digest: str, run: str | None) -> Registration:
        """The locked row of a digest: another process that registers it waits here until this one has committed."""
        key = {"tracker": self._backend, "name": name, "digest": digest}
        # both dialects' inserts know on_conflict_do_nothing; their common base doesn't
        insert: Any = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
        session.execute(insert(Registration).values(**key, run_id=run, created_at=now()).on_conflict_do_nothing())
        return session.scalars(select(Registration).filter_by(**key).with_for_update()).one()


def fetch(uri: str, settings: Settings, download: bool = True) -> Path | None:
    """Folder with the merged weights of a version; each digest is downloaded once into the home.

    Args:
        download: False gives None instead of downloading.

    Raises:
        InputError: if there is no such version; names what there is.
        ParityError: if a file isn't what was uploaded.

    """
    registry = Registry(settings)
    version = registry.resolve(uri)
    target = settings.root / "registry" / version.digest[:16]
    if not (target / "merged").is_dir():
        if not download:
            return None
        registry.download(version.uri, target, ("merged",))
    return target / "merged"
