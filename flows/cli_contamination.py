"""``lapidar contamination``: whether a benchmark's items stand in a corpus, or a model remembers them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from components.errors import InputError
from components.settings import Settings
from flows import output

if TYPE_CHECKING:
    from components.contamination.check import Found, Policy
    from components.contamination.corpus import Source
    from components.contamination.suite import Benchmark

_CUT = 600


@dataclass(frozen=True)
class Asked:
    """What the command line says.

    Attributes:
        fields: ``text=problem`` and the like, for the benchmark.
        require: methods without which nothing is clean; None takes the default, and with ``model`` the tests of the model too.
        show: how many matches are printed.
    """

    corpus: str
    suite: Sequence[str]
    fields: Sequence[str] = ()
    corpus_fields: Sequence[str] = ()
    methods: Sequence[str] = ()
    require: Sequence[str] = ()
    model: str | None = None
    calibration: str | None = None
    evaluation: str | None = None
    judge: str | None = None
    workers: int | None = None
    seed: int = 0
    show: int = 5


def contamination(asked: Asked, as_json: bool) -> None:
    """Looks, prints state, reasons and matches, and keeps them below the home."""
    from components.contamination import check

    settings = Settings()
    settings.prepare()
    benchmarks, policy, tests = _benchmarks(asked, settings), _policy(asked), _tests(asked)
    known = _benchmark(asked.calibration, asked, settings) if asked.calibration else None
    with _corpus(asked.corpus, settings) as files:
        identity = _identity(asked, benchmarks, policy, files)
        work = settings.work / "contamination" / identity
        found = check.look(
            benchmarks, files, policy, work, workers=asked.workers or os.cpu_count() or 1, chat=_judge(asked.judge, settings)
        )
    figures = _ask(asked, found, benchmarks, known, tests, settings) if asked.model else {}
    scores = _scores(asked.evaluation, found, settings) if asked.evaluation else {}
    result = {**check.summarise(benchmarks, found, policy), "rows": found.rows, "figures": figures, "scores": scores}
    folder = _keep(settings.root / "contamination" / identity, result, found)
    shutil.rmtree(work, ignore_errors=True)
    if as_json:
        output.document({**result, "folder": str(folder), "matches": found.matches[: asked.show]})
        return
    for line in [*_lines(result), *_shown(found, asked.show), f"all of it: {folder}"]:
        typer.echo(line)


def _benchmarks(asked: Asked, settings: Settings) -> list[Benchmark]:
    found = [_benchmark(name, asked, settings) for given in asked.suite for name in _names(given, settings)]
    if double := [b.name for b in found if [other.name for other in found].count(b.name) > 1]:
        raise InputError(f"two benchmarks are named {double[0]!r}; rename one of the files")
    return found


def _names(given: str, settings: Settings) -> list[str]:
    """What a suite of ``lapidar evaluate`` stands for: the stored data of each of its benchmarks; anything else is itself.

    Raises:
        InputError: if there is nothing of that name, or a benchmark of a suite has no data here, saying how to get it.
    """
    from components import suites
    from components.data import needs

    path = Path(given)
    if path.suffix not in (".yaml", ".yml") and (path.exists() or (settings.root / "benchmarks" / given).is_dir()):
        return [given]
    chosen = needs.measured(suites.load("-", given))
    if own := next((each for each in chosen if each.stored() is None), None):  # type: ignore[attr-defined]
        raise InputError(f"benchmark {own.method!r} of {given} reads a dataset's held-out split; give that dataset's folder")
    return [str(ref.path) for ref in needs.need(chosen, settings).values()]


def _benchmark(name: str, asked: Asked, settings: Settings) -> Benchmark:
    from components.contamination import suite

    wrong = [field for field in asked.fields if "=" not in field]
    if wrong:
        raise InputError(f"--field {wrong[0]!r} isn't of the form text=FIELD (or id, choices, answer)")
    fields = dict(field.split("=", 1) for field in asked.fields)
    stored = settings.root / "benchmarks" / name
    if not Path(name).exists() and stored.is_dir():
        return suite.load(stored)
    return suite.load(Path(name), fields)


def _policy(asked: Asked) -> Policy:
    from pydantic import ValidationError

    from components.contamination import check

    methods = asked.methods or check.CORPUS
    require = asked.require or (check.CORPUS + (check.MODEL if asked.model else ()))
    if unknown := [name for name in methods if name not in (*check.CORPUS, *check.MODEL)]:
        raise InputError(f"--methods {unknown[0]!r}: there are {', '.join((*check.CORPUS, *check.MODEL))}")
    given = {"methods": [{"method": m} for m in methods if m in check.CORPUS], "require": require, "fields": asked.corpus_fields}
    try:
        return check.Policy.model_validate(given)
    except ValidationError as error:
        raise InputError(error.errors()[0]["msg"].removeprefix("Value error, ")) from error


def _tests(asked: Asked) -> list[Any]:
    """Settings of the tests of the model that were chosen."""
    from components import methods
    from components.contamination.check import MODEL

    chosen = [name for name in MODEL if not asked.methods or name in asked.methods]
    if asked.model is None and set(MODEL) & set(asked.methods):
        raise InputError(f"{', '.join(set(MODEL) & set(asked.methods))} asks a model; name it with --model")
    return [methods.load("membership", name).Config() for name in chosen]


@contextmanager
def _corpus(name: str, settings: Settings) -> Iterator[list[Source]]:
    """The files of a path, or the training splits of a registered version's dataset."""
    from components.contamination import corpus

    if not name.startswith("models:/"):
        yield corpus.sources(Path(name))
        return
    from components.data import diff
    from flows import cli_models

    dataset = cli_models.registry_for(name).show(name)["evidence"]["dataset"]
    if not dataset.get("md5"):
        raise InputError(f"{name} doesn't say which dataset it was trained on; give the files")
    with diff.content(dataset["md5"], settings, Path.cwd()) as (_, files):
        splits = sorted(name.removesuffix(".jsonl") for name in files if name.endswith(".jsonl") and name != "heldout.jsonl")
        yield [corpus.Source(files[f"{split}.jsonl"], f"{split}.jsonl", split) for split in splits]


def _judge(spec: str | None, settings: Settings) -> Any:
    from components.inference.endpoint import connect

    return connect(spec, settings) if spec else None


def _ask(asked: Asked, found: Found, benchmarks: Any, known: Any, tests: Sequence[Any], settings: Settings) -> dict[str, Any]:
    from components.contamination import ask
    from components.models.resolve import resolve
    from components.recipe import ModelConfig
    from components.settings import device_class

    ref = resolve(ModelConfig(source=str(asked.model)), settings)
    if ref is None:
        raise InputError(f"--model {asked.model!r} isn't a model; give a folder or models:/NAME/VERSION")
    return ask.ask(found, benchmarks, known, tests, ask.memory(ref, device_class(settings)), asked.seed)


def _scores(evaluation: str, found: Found, settings: Settings) -> dict[str, Any]:
    """Scores with and without flagged items, of an evaluation's output folder or a registered version."""
    from components.comparison import ITEMS, read_items
    from components.contamination.scores import with_and_without

    if evaluation.startswith("models:/"):
        from flows import cli_models

        items = cli_models.registry_for(evaluation).items(evaluation)
        if items is None:
            raise InputError(f"{evaluation} carries no evaluated items; evaluate it first")
    elif (Path(evaluation) / ITEMS).is_file():
        items = read_items(Path(evaluation))
    else:
        raise InputError(f"{evaluation} is no evaluation: it has no {ITEMS}")
    return with_and_without(items, found.matches)


def _identity(asked: Asked, benchmarks: Any, policy: Policy, files: Sequence[Source]) -> str:
    """Names the folder of an answer, and of what is done before there is one."""
    from components.contamination.items import digest

    parts = [digest(benchmark.items) for benchmark in benchmarks] + [policy.model_dump_json(), str([str(s.path) for s in files])]
    parts += [str((asked.model, asked.calibration, asked.judge, asked.evaluation, list(asked.methods), asked.seed))]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _keep(folder: Path, result: dict[str, Any], found: Found) -> Path:
    from components.contamination.scores import MATCHES
    from components.data.records import write

    folder.mkdir(parents=True, exist_ok=True)
    write(folder / MATCHES, found.matches)
    (folder / "result.json").write_text(json.dumps(result, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return folder


def _lines(result: dict[str, Any]) -> list[str]:
    from flows.summary import contamination as described

    rows = ", ".join(f"{name} {count:,}" for name, count in result["rows"].items())
    return [*described(result), f"rows: {rows or 'none'}"]


def _shown(found: Found, limit: int) -> list[str]:
    """Some matches, item and training row below one another."""
    lines = []
    first = {(match["benchmark"], match["id"]): match for match in reversed(found.matches)}
    for match in list(reversed(first.values()))[:limit]:
        place = f"{match['file']} row {match['row']}" + (f" and {match['rows'] - 1} more" if match["rows"] > 1 else "")
        lines += [f"{match['benchmark']} {match['id']}: {match['method']}, {match['how']}, {place}"]
        lines += [f"    item      {_short(match['item'])}", f"    training  {_short(match['training'])}"]
    return lines


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _CUT else text[:_CUT] + "…"
