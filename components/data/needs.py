"""What the benchmarks of a recipe or a suite read, looked for before anything runs: data, and examples enough."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from components import methods
from components.artifacts import BenchmarkRef, DatasetRef
from components.benchmarks import _stored
from components.benchmarks._source import Source
from components.benchmarks._stored import EXAMPLES, ITEMS
from components.benchmarks._task import draw
from components.config import MethodConfig
from components.data import tables
from components.data.benchmarks import Solved, find, how, lay_out, made_of, store
from components.data.records import Record
from components.data.tracked import folder_md5
from components.errors import InputError
from components.inference.endpoint import connect, is_endpoint
from components.inference.local import local_ref
from components.settings import Settings


def measured(recipe: Any) -> list[MethodConfig]:
    """The benchmarks of a recipe."""
    return list(recipe.evaluate.benchmarks) if recipe.evaluate is not None else []


def need(chosen: Iterable[MethodConfig], settings: Settings) -> dict[str, BenchmarkRef]:
    """The stored versions that benchmarks read, by name; a team's own file is made a version first.

    Raises:
        InputError: if one isn't there, saying how to get it (nothing is fetched), or has fewer examples than are asked for.
    """
    found: dict[str, BenchmarkRef] = {}
    for config in chosen:
        if (name := getattr(config, "stored", lambda: None)()) is None:
            continue
        if getattr(config, "path", None) is not None:
            ref = store(name, *_given(config), settings).ref
        elif (known := find(name, settings)) is not None:
            ref = known
        else:
            raise InputError(how(name, settings))
        _check_examples(config, ref)
        found[name] = _with(_judge(config, settings), ref, found)
    return found


def look(chosen: Iterable[MethodConfig], settings: Settings) -> tuple[dict[str, BenchmarkRef], list[str]]:
    """(versions that are there, what is missing and how to get it); writes nothing into the home.

    Raises:
        InputError: if a team's own file is wrong, or there are fewer examples than are asked for.
    """
    found: dict[str, BenchmarkRef] = {}
    missing: list[str] = []
    for config in chosen:
        if (name := getattr(config, "stored", lambda: None)()) is None:
            continue
        judge = _judge(config, settings)
        if getattr(config, "path", None) is not None:
            if (ref := _as_given(config, name, settings)) is not None:  # else the run stores it
                found[name] = _with(judge, ref, found)
        elif (ref := find(name, settings)) is not None:
            _check_examples(config, ref)
            found[name] = _with(judge, ref, found)
        else:
            missing.append(how(name, settings))
    return found, missing


def check_fewshot(recipe: Any, data: DatasetRef | None) -> None:
    """Refuses more ``num_fewshot`` than split ``sft`` has rows; a dataset that isn't built yet is asked by the stage.

    Raises:
        InputError: naming both numbers.
    """
    if recipe.evaluate is not None and data is not None and "sft" in data.splits:
        recipe.evaluate.check_examples(data.splits["sft"].rows)


def _check_examples(config: Any, ref: BenchmarkRef) -> None:
    if config.draws:
        draw(config, _stored.examples(ref), _stored.items(ref))


def _judge(config: Any, settings: Settings) -> str:
    """Digest of the model on this machine that judges a benchmark, which has to be there; an endpoint is asked by the stage."""
    if (judge := getattr(config, "judge", None)) is None:
        return ""
    if is_endpoint(judge):
        connect(judge, settings)
        return ""
    return local_ref(judge, settings).digest


def _with(judge: str, ref: BenchmarkRef, found: Mapping[str, BenchmarkRef]) -> BenchmarkRef:
    """Data with its judge; that of one benchmark may be read twice, with two."""
    before = found[ref.name].judge if ref.name in found else ""
    return replace(ref, judge=" ".join(filter(None, (before, judge))))


def _given(config: Any) -> tuple[Source, Path, Iterable[Record], Solved | None]:
    """What ``store`` gets of a file that the settings name."""
    path = Path(config.path).expanduser()
    solved = Path(config.examples).expanduser() if config.examples is not None else None
    made = methods.load("benchmark", config.method).source_of(config)
    return made, path, tables.read(path), (solved, tables.read(solved)) if solved is not None else None


def _as_given(config: Any, name: str, settings: Settings) -> BenchmarkRef | None:
    """The stored version of a file that the settings name, if there is one of what the file holds now."""
    found, given, rows, solved = _given(config)
    made = made_of(config.label, found, rows, given, solved)
    if config.draws:
        draw(config, made.get(EXAMPLES, []), made[ITEMS])
    with tempfile.TemporaryDirectory() as part:
        lay_out(Path(part), name, made, found, given)
        md5 = folder_md5(Path(part)).md5
    ref = find(name, settings)
    return ref if ref is not None and ref.md5 == md5 else None
