"""The end of a run: upload, read back, compare, decide, register. Nothing of it is done twice for the same weights."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components import floors, local_services, methods, noise, supplements
from components.artifacts import ModelRef
from components.comparison import ITEMS, read_items
from components.errors import LapidarError
from components.gate import Evidence, Gate, decide
from components.graph import ModelSource, Node
from components.model_files import LoggedModelHandle
from components.recipe import RegisterConfig
from components.registry import Registry
from components.store import MANIFEST
from components.versions import Version
from flows import provenance, report
from flows.stages import VERIFY

if TYPE_CHECKING:
    from flows.run import Run, Step


@dataclass(frozen=True)
class Upload:
    """The weights of a run in the registry, before they are a version.

    Attributes:
        folders: what was uploaded, by the name that it has in the registry.
        existing: the version that has these weights already, if there is one.

    """

    registry: Registry
    handle: LoggedModelHandle
    folders: Mapping[str, Path]
    existing: Version | None

    @property
    def digest(self) -> str:
        """sha256 over all uploaded weights."""
        return self.handle.digest


def config(run: Run) -> RegisterConfig:
    """The recipe's ``register`` section."""
    if run.recipe.register_ is None:
        raise LapidarError("the recipe has no 'register' section")
    return run.recipe.register_


def upload(run: Run) -> Upload:
    """Puts adapter, merged and exported weights into the registry, unless they are there."""
    registry = Registry(run.settings, local_services.address(run.settings, "mlflow"))
    name, folders = config(run).name, _folders(run)
    digest = _digest(run)
    existing = next((v for v in registry.list_versions(name) if v.digest == digest), None)
    mlflow_run = run.tracker.mlflow_run_id() if existing is None else None
    handle = registry.upload(name, folders, digest, params=run.recipe.dump(), run=mlflow_run)
    return Upload(registry, handle, folders, existing)


def verify_node(run: Run, uploaded: Upload) -> Node:
    """The stage that compares every hand-over of the model; its ``reloaded`` models come back from the registry."""
    models = {"trained": run.graph.models[run.graph.final], "merged": _merged(run)}
    if "export" in run.graph.models:
        models["export"] = run.graph.models["export"]
    copies = reloaded(run, uploaded)
    models |= {role: ModelSource(role) for role in copies}
    run.outside |= copies
    settings = methods.load("verify", "parity").Config()
    return Node(VERIFY, "verify", "parity", settings, settings.splits(), models)


def reload_folder(run: Run) -> Path:
    """Where the copy from the registry goes."""
    return run.settings.work / "reload" / run.id


def reloaded(run: Run, uploaded: Upload) -> dict[str, ModelRef]:
    """The registry's copies by role. Their digests name the upload: another upload is verified anew."""
    folder = reload_folder(run)
    trained = run.graph.models[run.graph.final]

    def copy(name: str) -> ModelRef:
        digest = hashlib.sha256(f"{uploaded.handle.model_id} {uploaded.digest} {name}".encode()).hexdigest()
        if name == "adapter":
            return ModelRef(run.sealed[trained.base].path / "model", folder / name, digest)
        return ModelRef(folder / name, None, digest)

    copies = {"reloaded": copy("adapter" if trained.adapter else "merged"), "reloaded_merged": copy("merged")}
    if "export" in uploaded.folders:
        copies["reloaded_exported"] = copy("export")
    return copies


def fetch(run: Run, uploaded: Upload) -> None:
    """Downloads what was uploaded; every file is compared with its sha256."""
    uploaded.registry.download(uploaded.handle, reload_folder(run))


def forget(run: Run) -> None:
    """Removes the copy, and those of runs that were killed: only one run at a time is in a home."""
    shutil.rmtree(reload_folder(run).parent, ignore_errors=True)


def register(run: Run, uploaded: Upload) -> tuple[Version, Gate, bool]:
    """(version, gate's verdict, whether both stood there already). Promotes if the gate passes.

    Raises:
        ParityError: if the copy from the registry isn't the trained model.

    """
    registry, name = uploaded.registry, config(run).name
    evidence = _evidence(run, uploaded)
    version, gate = uploaded.existing, None
    if version is not None:
        shown = registry.show(version.uri)
        evidence, gate = supplements.carried(evidence, shown["evidence"]), _known_gate(shown, evidence)
    champion = registry.champion(name)
    cached = version is not None and gate is not None and "candidate" in version.aliases  # else a kill came in between
    if version is None or gate is None or not cached:
        items = _items(run)
        gate = gate or decide(evidence, champion, config(run), read_items(items.parent) if items else None)
        version = registry.register(uploaded.handle, evidence, gate, {ITEMS: items} if items else {})
    still = champion.digest if champion else None
    alone = config(run).approvals == 1
    if gate.verdict == "pass" and alone and "champion" not in version.aliases and gate.champion == still:
        version = registry.promote(name, version.version, gate)
    return version, gate, cached


def _known_gate(shown: Mapping[str, Any], evidence: Evidence) -> Gate | None:
    """The verdict that a version carries, if it rests on the same stages and the same data."""
    old = shown["evidence"]
    same = old.get("dataset", {}).get("md5") == evidence.dataset["md5"] and _keys(old.get("stages", [])) == _keys(evidence.stages)
    same = same and old.get("recipe", {}).get("register") == evidence.recipe["register"]
    return Gate.from_dict(shown["gate"]) if same and shown.get("gate") else None


def _keys(stages: list[dict[str, Any]]) -> dict[str, str]:
    return {stage["name"]: stage["key"] for stage in stages}


def _evidence(run: Run, uploaded: Upload) -> Evidence:
    code = provenance.code()
    data = run.data
    scores = report.evaluations(run)
    evaluated = [name for name in ("export", run.graph.final) if name in scores]
    base = run.sealed["base"].metrics
    runs = {"lapidar": run.id, "prefect": run.prefect_id or "", "mlflow": run.tracker.mlflow_run_id(timeout=5.0) or ""}
    return Evidence(
        digest=uploaded.digest,
        dataset={
            "md5": data.md5,
            "repository": str(data.repository),
            "revision": data.revision,
            "path": str(data.path),
        }
        if data
        else {},
        recipe=run.recipe.dump(),
        code={"revision": code.revision, "clean": code.clean},
        lock=code.lock,
        seeds={"recipe": run.recipe.seed},
        stages=[_stage(run, step) for step in run.steps],
        chat_template=base.get("chat_template_sha256"),
        licence=run.recipe.model.licence or base.get("licence"),
        sizes={name: _size(folder) for name, folder in uploaded.folders.items()},
        metrics=scores,
        evaluation=scores[evaluated[0]] if evaluated else {},
        parity=run.sealed[VERIFY].metrics,
        contamination=report.contamination(run) or {},
        noise=_noise(run),
        speed=_speed(run),
        machine=provenance.machine(run.settings),
        runs=runs,
    )


def _stage(run: Run, step: Step) -> dict[str, Any]:
    """What the evidence says of a stage: enough to tell what was different if a rerun makes another output."""
    made = run.store.record(run.sealed[step.name]) if step.name in run.sealed else {}
    found = asdict(step) | {name: made[name] for name in ("code", "versions", "device") if name in made}
    read = {
        name: digest for name, digest in made.get("inputs", {}).items() if name.startswith(("benchmark:", "judge:", "model:source"))
    }
    return found | ({"inputs": read} if read else {})


def _noise(run: Run) -> dict[str, Any]:
    """What the registered model's evaluation was of, and the noise floors that are known for it."""
    items = _items(run)
    if items is None or (of := floors.subject(items.parent)) is None:
        return {}
    known = floors.known(items.parent, run.settings)
    return of.to_dict() | ({"floors": noise.to_json(known)} if known else {})


def _speed(run: Run) -> dict[str, Any]:
    """How fast one chat was when the version was verified; below ``log/``, because it differs between equal runs."""
    file = run.sealed[VERIFY].path / "log" / "speed.json"
    return json.loads(file.read_bytes()) if file.exists() else {}


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _items(run: Run) -> Path | None:
    """The evaluated items of what is registered: the export's if there is one, else the trained model's."""
    for name in ("export", run.graph.final):
        if (sealed := run.sealed.get(f"evaluate.{name}")) is not None:
            return sealed.path / ITEMS
    return None


def _merged(run: Run) -> ModelSource:
    return run.graph.models.get("merge", run.graph.models[run.graph.final])


def _folders(run: Run) -> dict[str, Path]:
    """What is uploaded, by the name that it gets in the registry."""
    trained = run.graph.models[run.graph.final]
    folders = {"adapter": run.sealed[trained.adapter].path / "adapter"} if trained.adapter else {}
    folders["merged"] = run.sealed[_merged(run).base].path / "model"
    if "export" in run.graph.models:
        folders["export"] = run.sealed["export"].path / "model"
    return folders


def _digest(run: Run) -> str:
    """sha256 over all files of the uploaded folders, from the manifests of the sealed outputs."""
    digest = hashlib.sha256()
    for name, folder in sorted(_folders(run).items()):
        files = json.loads((folder.parent / MANIFEST).read_bytes())["files"]
        for file, value in sorted(files.items()):
            if file.startswith(f"{folder.name}/"):
                digest.update(f"{name}/{file.partition('/')[2]} {value}\n".encode())
    return digest.hexdigest()
