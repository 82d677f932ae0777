"""``lapidar plan``: prints what a run would do."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer

from components import recipe as recipes
from components.settings import Settings
from flows import output
from flows import plan as plans
from flows.progress import duration

Document = Mapping[str, Any]


def plan(recipe: str, overrides: list[str], as_json: bool) -> None:
    """Plans a run and prints it."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    document = plans.build(recipes.load(recipe, overrides), Settings(), Path.cwd())
    if as_json:
        output.document(document)
        return
    for line in lines(document):
        typer.echo(line)


def lines(document: Document) -> Iterator[str]:
    """The plan as text for people."""
    import yaml

    yield "# the recipe, resolved"
    yield yaml.safe_dump(document["recipe"], sort_keys=False, allow_unicode=True).rstrip()
    yield ""
    yield from _inputs(document)
    yield ""
    yield from _stages(document)
    yield ""
    yield from _cost(document)
    yield ""
    yield from _rows(document)
    if document["missing"]:
        yield ""
        yield "missing here:"
        yield from (f"  - {text}" for text in document["missing"])


def _inputs(document: Document) -> Iterator[str]:
    data, model = document["data"], document["model"]
    rows = ", ".join(f"{name} {count:,}" for name, count in data["rows"].items()) or "rows not known yet"
    yield f"data   {data['md5'] or 'no md5 yet'}: {data['where']}"
    yield f"       {rows}"
    revision = f" at {model['revision']}" if model["revision"] else ""
    size = f"{model['parameters']:,} parameters ({model['parameters_from']})" if model["parameters"] else model["parameters_from"]
    yield f"model  {model['source']}{revision}: {size}"
    yield f"device {document['device']}"
    if (found := document["evaluation"]) is not None:
        least, often = found["detectable"], "between two models in 4 of 5 runs"
        said = f"too few to show a difference {often}" if least is None else f"they show differences of {least:.3f} or more {often}"
        yield f"items  {found['items']:,} held out: {said} (if one alone is right on {found['disagreement']:.0%} of them)"


def _stages(document: Document) -> Iterator[str]:
    width = max(len(stage["name"]) for stage in document["stages"])
    for stage in document["stages"]:
        time = "" if stage.get("seconds") is None else f"≈ {duration(stage['seconds'])}"
        memory = f"{stage['memory_mb']['total'] / 1024:.1f} GiB" if "memory_mb" in stage else ""
        why = "; ".join(stage["reasons"]) or (stage.get("version") or "")
        yield f"{stage['name']:<{width}}  {stage['method']:<13} {stage['status']:<7} {time:<14} {memory:<9} {why}".rstrip()


def _cost(document: Document) -> Iterator[str]:
    memory, disk, time = document["memory"], document["disk"], document["time"]
    if all(stage["status"] == "cached" for stage in document["stages"]):
        yield "nothing would run"
        return
    if memory["peak_mb"] is not None:
        stage = next(s for s in document["stages"] if s["name"] == memory["stage"])
        parts = ", ".join(f"{name} {_size(value)}" for name, value in stage["memory_mb"].items() if name != "total" and value)
        yield f"memory ≈ {_size(memory['peak_mb'])} at most, in {memory['stage']} ({parts}); {_size(memory['free_mb'])} free"
    elif memory["unknown"]:
        yield f"memory not known: {memory['unknown']}"
    if disk["needed_mb"] is not None:
        parts = ", ".join(f"{name.removesuffix('_mb')} {_size(disk[name])}" for name in _DISK if disk[name])
        enough = "" if disk["needed_mb"] < disk["free_mb"] else ": NOT ENOUGH"
        yield f"disk   ≈ {_size(disk['needed_mb'])} ({parts}); {_size(disk['free_mb'])} free{enough}"
    elif disk["unknown"]:
        yield f"disk   not known: {disk['unknown']}"
    guessed = f"; guessed from the model's size: {', '.join(time['guessed'])}" if time["guessed"] else ""
    measured = f"; from earlier runs: {len(time['from_earlier_runs'])} stages" if time["from_earlier_runs"] else ""
    if time["seconds"] is None:
        whys = dict.fromkeys(stage["seconds_from"] for stage in document["stages"] if stage["name"] in time["unknown"])
        yield f"time   not known: {'; '.join(whys)}"
        return
    unknown = f"; not known: {', '.join(time['unknown'])}" if time["unknown"] else ""
    yield f"time   ≈ {duration(time['seconds'])} for the stages{measured}{guessed}{unknown}"


_WIDEST = 600
_DISK = ("outputs_mb", "checkpoints_mb", "registry_mb", "download_mb")


def _rows(document: Document) -> Iterator[str]:
    rows = document["rows"]
    if rows is None:
        yield f"rows   can't be shown yet: {document['no_rows']}"
        return
    left_out = (
        f"{rows['left_out']} are longer than {rows['limit']} tokens and would be left out"
        if rows["left_out"]
        else "all of them fit"
    )
    yield f"rows   of {rows['split']}, trained tokens between ⟦ and ⟧ ({rows['checked']:,} checked: {left_out})"
    for row in rows["rows"]:
        yield f"  {row if len(row) <= _WIDEST else row[:_WIDEST] + '…'!r}"


def _size(mebibytes: float) -> str:
    return f"{mebibytes / 1024:.1f} GiB" if mebibytes >= 1024 else f"{mebibytes:.1f} MiB"
