"""The same work as ``lapidar run RECIPE`` in one process: the stages' own calls of TRL, one behind the other, and nothing else.

No child processes, no sealing, no Prefect, no MLflow, no registration. Usage: ``bare.py RECIPE FOLDER [section.key=value …]``
with the recipe's dataset built already (``lapidar run RECIPE --until data``). Prints the seconds of each stage as JSON.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any


def main(recipe_name: str, folder: Path, overrides: list[str]) -> None:
    """Runs all stages of a recipe in this process."""
    from components import _warm, graph, recipe
    from components.data import versions
    from components.events import EventWriter
    from components.models.resolve import resolve
    from components.settings import Settings, device_class
    from components.stage import Stage

    settings, loaded = Settings(), recipe.load(recipe_name, overrides)
    data = versions.ensure(loaded.data, settings, Path.cwd())
    source = resolve(loaded.model, settings)
    sealed: dict[str, Any] = {}
    seconds: dict[str, float] = {}
    for node in graph.build(loaded).nodes:
        out, work = folder / node.name / "out", folder / node.name / "work"
        out.mkdir(parents=True)
        work.mkdir()
        _warm.prepare_child(settings.threads or os.cpu_count() or 1, loaded.seed)
        began = time.perf_counter()
        stage = Stage(out, work, loaded.seed, device_class(settings), EventWriter(work / "events.jsonl"))
        given = graph.inputs(node, data, sealed, {"source": source} if source else {})
        importlib.import_module(node.module).run(node.config, given, stage)
        seconds[node.name] = round(time.perf_counter() - began, 2)
        sealed[node.name] = SimpleNamespace(path=out, digest=hashlib.sha256(node.name.encode()).hexdigest())
    print(json.dumps(seconds))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
