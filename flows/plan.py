"""What a run of a recipe would do, without doing any of it: data, stages with reasons, cost, rows as the model sees them.

Writes nothing into the home. Sample of one stage::

    {"name": "sft", "method": "sft", "key": "3f…", "status": "run", "reasons": ["sft.lr changed from 0.001 to 0.002"],
     "seconds": 41.0, "seconds_from": "the run quickstart-…: 300 steps of 16 rows took 39 s", "memory_mb": {…}, "disk_mb": 3.1}
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from components import changes, cost, graph
from components.artifacts import BenchmarkRef, DatasetRef, ModelRef, Sealed
from components.changes import Look, Past
from components.data import needs, prepare, versions
from components.data.checks import DATA
from components.data.workspace import Workspace
from components.graph import Node
from components.models.resolve import NotFetched, kind, resolve
from components.paired import ALPHA
from components.preview import Preview, longest_pair, preview, tokenizer
from components.recipe import Recipe
from components.settings import Settings, device_class
from components.statistics import detectable_difference

_GATED = ("meta-llama/", "google/gemma")
_MIB = 2**20
_DISAGREEMENT = 0.2
"""Share of items that only one of two models gets right, as assumed before anything is measured."""


@dataclass
class Planned:
    """One stage: what would happen to it and why."""

    node: Node
    key: str | None
    sealed: Sealed | None
    reasons: list[str]
    past: Past | None
    resumes: bool = False


@dataclass
class Plan:
    """What is known of a run before it.

    Attributes:
        missing: what a run would fetch or can't do without, as sentences.
    """

    recipe: Recipe
    settings: Settings
    data: DatasetRef | None
    source: ModelRef | None
    stages: list[Planned]
    missing: list[str] = field(default_factory=list)
    preview: Preview | None = None
    no_preview: str = ""
    longest: dict[str, int] = field(default_factory=dict)

    @property
    def base(self) -> Sealed | None:
        """The sealed base model."""
        return next((stage.sealed for stage in self.stages if stage.node.name == "base"), None)


def build(recipe: Recipe, settings: Settings, project: Path) -> dict[str, Any]:
    """The plan of a recipe as one JSON-ready document.

    Raises:
        InputError: if the data, the base model or a row is wrong; what is merely not there yet stands under ``missing``.
    """
    missing: list[str] = []
    data = versions.find(recipe.data, settings, project)
    source = _source(recipe, settings, missing)
    needs.check_fewshot(recipe, data)
    stored, absent = needs.look(needs.measured(recipe), settings)
    missing += absent
    plan = Plan(recipe, settings, data, source, _stages(recipe, settings, data, source, stored), missing)
    _preview(plan)
    here, (shape, why) = device_class(settings), _shape(plan)
    device = here
    if here == "cpu" and shape is not None and cost.needs_accelerator(shape):
        device, millions = "cuda", shape.parameters / 1e6
        missing.append(
            f"a CUDA GPU: this machine has none, and training {millions:,.0f} M parameters on a CPU takes days; "
            "memory and time above are those of a GPU machine"
        )
    stages = [_described(plan, stage, shape, why, device) for stage in plan.stages]
    return {
        "recipe": recipe.dump(),
        "data": _data(plan, project),
        "model": {"source": recipe.model.source, "revision": recipe.model.revision, **_size(shape, why)},
        "device": here,
        "evaluation": _evaluation(plan),
        "stages": [_data_stage(plan), *stages, *_end(plan)],
        "memory": _memory(stages) | {"unknown": why},
        "disk": _disk(plan, stages, shape, device) | {"unknown": why},
        "time": _time(plan, stages),
        "rows": asdict(plan.preview) if plan.preview else None,
        "no_rows": plan.no_preview,
        "missing": missing,
    }


def _source(recipe: Recipe, settings: Settings, missing: list[str]) -> ModelRef | None:
    """The files of the base model, if they are here; else adds what is missing."""
    model = recipe.model
    try:
        return resolve(model, settings, fetch=False)
    except NotFetched as error:
        if kind(model.source) != "hub":
            missing.append(str(error))
            return None
    missing.append(
        f"the files of {model.source} at {model.revision}: they aren't in {settings.root / 'hub'}; "
        "a run downloads them, for which it needs a network"
    )
    if model.source.startswith(_GATED):
        from huggingface_hub import get_token

        text = f"a licence: {model.source} is gated; accept it at https://huggingface.co/{model.source}"
        missing.append(text if get_token() else f"{text} and give a token in HF_TOKEN (or `hf auth login`)")
    return None


def _stages(
    recipe: Recipe,
    settings: Settings,
    data: DatasetRef | None,
    source: ModelRef | None,
    stored: Mapping[str, BenchmarkRef],
) -> list[Planned]:
    nodes, store = graph.build(recipe), Look(settings.stages, settings.store)
    prefixes, sealed, found = changes.prefixes(nodes), dict[str, Sealed](), list[Planned]()
    outside = {"source": source} if source is not None else {}
    for node in nodes.nodes:
        waits_for = _waits_for(node, data, {*sealed, *outside})
        given = graph.inputs(node, data, sealed, outside, stored) if waits_for is None else None
        past = changes.history(settings.stages, node)
        key = graph.key(node, given, recipe.seed, settings) if given is not None else None
        output = store.open(node.section, node.method, key) if key is not None else None
        if output is not None:
            sealed[node.name] = output
            found.append(Planned(node, key, output, [], None))
            continue
        damaged = key is not None and store.path(node.section, key).exists()
        why = changes.reasons(node, prefixes[node.name], given, waits_for or "", recipe.seed, past, damaged)
        resumes = key is not None and any((settings.work / node.section / key).glob("checkpoint-*"))
        found.append(Planned(node, key, None, why, changes.closest(node, given, recipe.seed, past), resumes))
    return found


def _waits_for(node: Node, data: DatasetRef | None, there: set[str]) -> str | None:
    """What has to be made before a stage's inputs are known: a stage, the data, the base model's files; None if all is there."""
    for name in node.sources:
        if name not in there:
            return "the base model's files" if name == "source" else name
    return DATA if data is None and node.splits else None


def _preview(plan: Plan) -> None:
    """Adds the rows, or says why there are none."""
    if plan.data is None:
        plan.no_preview = "the data isn't built yet; `lapidar data build RECIPE` does that alone"
        return
    found = tokenizer(plan.recipe, plan.base, plan.source, plan.data)
    if found is None:
        plan.no_preview = "the base model's tokenizer isn't here yet"
        return
    plan.preview = preview(plan.recipe, plan.data, found, _context(plan))
    if plan.preview is None:
        plan.no_preview = "the recipe trains on no rows"
        return
    pair = longest_pair(plan.recipe, plan.data, found)
    plan.longest = {plan.preview.split: plan.preview.longest} | ({"preference": pair} if pair is not None else {})


def _context(plan: Plan) -> int | None:
    """Tokens that the base model has positions for, where its config says so."""
    if plan.recipe.model.source == "pretrain":
        return plan.recipe.model.pretrain.context
    if plan.source is None:
        return None
    config = json.loads((plan.source.base / "config.json").read_bytes())
    found = config.get("text_config", config).get("max_position_embeddings")
    return found if isinstance(found, int) else None


def _shape(plan: Plan) -> tuple[cost.Shape | None, str | None]:
    """The base model's size, or why it isn't known."""
    sealed = plan.base.path / "model" if plan.base is not None else None
    folder = sealed if sealed is not None and sealed.is_dir() else plan.source.base if plan.source is not None else None
    if folder is not None:
        why = cost.unknown(folder)
        return (None, why) if why else (cost.shape_of_folder(folder), None)
    if plan.recipe.model.source == "pretrain":
        return cost.shape_of_pretrain(plan.recipe.model.pretrain), None
    found = cost.shape_of_name(plan.recipe.model.source)
    return found, None if found else f"the files of {plan.recipe.model.source} aren't here, and its name says no size"


def _size(shape: cost.Shape | None, why: str | None) -> dict[str, Any]:
    return {"parameters": shape.parameters if shape else None, "parameters_from": shape.said if shape else f"size not known: {why}"}


def _data(plan: Plan, project: Path) -> dict[str, Any]:
    """The dataset version and where it comes from."""
    source, data = plan.recipe.data, plan.data
    if data is not None:
        own = data.repository == project
        where = (
            f"the project's data/, which data.dvc names at revision {data.revision}" if own else f"built earlier, in {data.path}"
        )
        rows = {name: split.rows for name, split in data.splits.items()}
        return {"status": "here", "md5": data.md5, "rows": rows, "where": where, "path": str(data.path)}
    home = Workspace(project, plan.settings)
    known = home.tracked(DATA) if (project / ".dvc").is_dir() else None
    if getattr(source, "path", None) and known is not None and versions.is_own(home, source):
        where = f"would be pulled from the DVC remote, or built again by {source.method}, and must have the md5 that data.dvc names"
        return {"status": "missing", "md5": known.md5, "rows": _asked(plan), "where": where, "path": str(project / DATA)}
    where = f"would be built by {source.method}"
    return {"status": "missing", "md5": None, "rows": _asked(plan), "where": where, "path": None}


def _evaluation(plan: Plan) -> dict[str, Any] | None:
    """How small a difference of two models the held-out items can show; None if nothing is evaluated or they aren't there yet."""
    held = plan.data.splits.get("heldout") if plan.data is not None else None
    if plan.recipe.evaluate is None or held is None:
        return None
    compared = len(getattr(plan.recipe.evaluate, "benchmarks", ())) or 1
    least = detectable_difference(held.rows, _DISAGREEMENT, confidence=1 - ALPHA / compared)
    return {"items": held.rows, "disagreement": _DISAGREEMENT, "detectable": least if math.isfinite(least) else None}


def _asked(plan: Plan) -> dict[str, int]:
    """Rows that the data section asks for, where it says so."""
    found = plan.recipe.data.model_dump()
    return {name: found[name] for name in prepare.SPLITS if isinstance(found.get(name), int)}


def _rows(plan: Plan) -> dict[str, int]:
    return {name: split.rows for name, split in plan.data.splits.items()} if plan.data is not None else _asked(plan)


def _data_stage(plan: Plan) -> dict[str, Any]:
    here = plan.data is not None
    reasons = [] if here else ["this version isn't here"]
    return {"name": DATA, "method": plan.recipe.data.method, "status": "cached" if here else "run", "reasons": reasons}


def _described(plan: Plan, stage: Planned, shape: cost.Shape | None, why: str | None, device: str) -> dict[str, Any]:
    node, runs = stage.node, stage.sealed is None
    found: dict[str, Any] = {"name": node.name, "method": node.method, "key": stage.key, "status": "run" if runs else "cached"}
    found["reasons"] = stage.reasons + (["goes on from its last checkpoint"] if stage.resumes else [])
    if not runs:
        return found
    found["seconds"], found["seconds_from"] = _seconds(plan, stage, shape, why, device)
    if shape is not None:
        memory = cost.memory(plan.recipe, node, shape, device, plan.longest)
        parts = {**asdict(memory), "libraries": cost.LIBRARIES, "total": memory.total}
        found["memory_mb"] = {name: _mib(value) for name, value in parts.items()}
        found["disk_mb"], found["checkpoints_mb"] = map(_mib, cost.disk(plan.recipe, node, shape, device))
    if stage.past is not None:
        found["last_peak_mb"] = stage.past.record.get("peak_rss_mb")
    return found


def _seconds(plan: Plan, stage: Planned, shape: cost.Shape | None, why: str | None, device: str) -> tuple[float | None, str]:
    """(seconds, where that is from): an earlier run of the stage, scaled by its rows; else the model's size."""
    node, past, rows = stage.node, stage.past, _rows(plan)
    now = cost.work(node, node.config, rows)
    if past is not None and past.method == node.method and now is not None and past.record.get("seconds"):
        then = cost.work(node, type(node.config).model_validate(past.record["config"]), rows)
        if then:
            scaled = round(float(past.record["seconds"]) * now / then, 1)
            share = "" if now == then else f", {now / then:.2g} times the rows"
            return scaled, f"run {past.record.get('run')}: {past.record['seconds']:.1f} s{share}"
    if shape is None:
        return None, f"the model's size isn't known: {why}"
    guess = cost.seconds(plan.recipe, node, shape, device, rows, plan.settings.threads)
    return (
        (None, "its rows aren't known yet")
        if guess is None
        else (round(guess, 1), "a guess from the model's size: it never ran here")
    )


def _end(plan: Plan) -> list[dict[str, Any]]:
    """Verification and registration, which depend on what the registry holds."""
    register = plan.recipe.register_
    if register is None:
        return []
    waiting = [stage.node for stage in plan.stages if stage.sealed is None]
    makers = [node.name for node in waiting if node.section != "evaluate"]
    version = None if makers else _registered(plan)
    none = f"no run of this home registered these weights as {register.name}"
    verify = [f"follows from {makers[-1]}"] if makers else [] if version else [none]
    again = [f"follows from {waiting[-1].name}"] if waiting and not makers else []
    steps = [("verify", "parity", verify), ("register", "mlflow", ["follows from verify"] if verify else again)]
    return [
        {"name": name, "method": method, "status": "run" if why else "cached", "reasons": why, "version": version}
        for name, method, why in steps
    ]


def _registered(plan: Plan) -> str | None:
    """The version that an earlier run of this home registered from the same outputs."""
    keys = {stage.node.name: stage.key for stage in plan.stages if stage.node.section != "evaluate"}
    for file in sorted(plan.settings.runs.glob("*/report.json"), reverse=True):
        try:
            report = json.loads(file.read_bytes())
            version, made = report.get("version"), {step["name"]: step["key"] for step in report["stages"]}
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if version and version["name"] == getattr(plan.recipe.register_, "name", "") and keys.items() <= made.items():
            return str(version["uri"])
    return None


def _memory(stages: list[dict[str, Any]]) -> dict[str, Any]:
    """The stage that needs most, beside what the machine has."""
    machine = psutil.virtual_memory()
    found: dict[str, Any] = {"free_mb": _mib(machine.available), "machine_mb": _mib(machine.total), "peak_mb": None, "stage": None}
    asked = [stage for stage in stages if "memory_mb" in stage]
    if asked:
        largest = max(asked, key=lambda stage: stage["memory_mb"]["total"])
        found |= {"peak_mb": largest["memory_mb"]["total"], "stage": largest["name"]}
    return found


def _disk(plan: Plan, stages: list[dict[str, Any]], shape: cost.Shape | None, device: str) -> dict[str, Any]:
    """What a run adds: sealed outputs, the largest checkpoints, the copies for and from the registry, a download."""
    home = plan.settings.root
    place = next(folder for folder in [home, *home.parents] if folder.exists())
    found: dict[str, Any] = {"free_mb": _mib(shutil.disk_usage(place).free), "needed_mb": None}
    if shape is None:
        return found
    running = [stage for stage in stages if stage["status"] == "run"]
    registers = plan.recipe.register_ is not None and bool(running)
    upload = cost.final_bytes(plan.recipe, graph.build(plan.recipe), shape, device) if registers else 0
    download = 2 * shape.parameters if plan.source is None and kind(plan.recipe.model.source) == "hub" else 0
    parts = {
        "outputs_mb": round(sum(stage.get("disk_mb", 0.0) for stage in running), 1),
        "checkpoints_mb": max((stage.get("checkpoints_mb", 0.0) for stage in running), default=0.0),
        "registry_mb": _mib(2 * upload),
        "download_mb": _mib(download),
    }
    return found | parts | {"needed_mb": round(sum(parts.values()), 1)}


def _time(plan: Plan, stages: list[dict[str, Any]]) -> dict[str, Any]:
    """Seconds of all stages that would run, and how much of that is measured."""
    running = [stage for stage in stages if stage["status"] == "run"]
    known = [stage for stage in running if stage["seconds"] is not None]
    measured = [stage["name"] for stage in known if stage["seconds_from"].startswith("run ")]
    return {
        "seconds": round(sum(stage["seconds"] for stage in known), 1) if known else None,
        "from_earlier_runs": measured,
        "guessed": [stage["name"] for stage in known if stage["name"] not in measured],
        "unknown": [stage["name"] for stage in running if stage["seconds"] is None],
    }


def _mib(size: float) -> float:
    return round(size / _MIB, 1)
