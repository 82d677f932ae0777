"""Scores of an evaluation for people: with interval, number of items, what couldn't be used, hashes, and what they can show."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from components import floors, noise
from components.comparison import compare_folders
from components.paired import ALPHA
from components.settings import Settings
from components.statistics import detectable_difference
from components.suites import Evaluation
from flows.report import MARK, MARKED, marked

SHARES = ("truncated", "unparsed")
Report = dict[str, Any]


def model_name(evaluation: Evaluation) -> str:
    """What was evaluated, as the user named it."""
    config: Any = evaluation.evaluate
    return str(config.endpoint) if config.method == "endpoint" else evaluation.model.source


def report(run: Mapping[str, Any], evaluation: Evaluation, folder: Path, settings: Settings) -> Report:
    """The document of an evaluation."""
    metrics, specs, reruns = (_read(folder / f"{name}.json") for name in ("metrics", "spec", "reruns"))
    known = noise.to_json(floors.known(folder, settings))
    benchmarks = {
        name: {
            "metrics": found,
            "marked": marked(found),
            "spec": {key: value for key, value in specs[name].items() if key != "first_prompt"},
            "reruns": reruns.get(name),
            "floors": known.get(name, {}),
        }
        for name, found in ((config.label, metrics[config.label]) for config in evaluation.evaluate.benchmarks)  # type: ignore[attr-defined]
    }
    kept = ("run", "seed", "data", "stages", "seconds", "peak_rss_mb", "prefect_run")
    shown = {name: run[name] for name in kept}
    return {**shown, "suite": evaluation.name, "model": model_name(evaluation), "benchmarks": benchmarks, "output": str(folder)}


def compare(a: Path, b: Path, settings: Settings) -> dict[str, dict[str, Any]]:
    """The paired comparison of two evaluations by benchmark and metric, corrected over all of them.

    Raises:
        InputError: if the evaluations don't hold the same items.
    """
    found: dict[str, dict[str, Any]] = {}
    for each in compare_folders(a, b, settings):
        found.setdefault(each.benchmark, {})[each.metric] = each.to_dict()
    return found


def before(evaluation: Evaluation, items: Mapping[str, int | None]) -> Iterator[str]:
    """What is said before a run: how many items there are, and what difference they can show.

    Args:
        items: number of items by benchmark, None where the dataset isn't built yet.
    """
    yield f"{model_name(evaluation)}: {evaluation.name}"
    benchmarks = evaluation.evaluate.benchmarks  # type: ignore[attr-defined]
    for benchmark in benchmarks:
        n = items.get(benchmark.label)
        if n is None:
            yield f"  {benchmark.label}: number of items known once the dataset is built"
            continue
        least = detectable_difference(n, confidence=1 - ALPHA / len(benchmarks))
        shown = f"a paired comparison shows {least:.3f} or more" if math.isfinite(least) else "too few to show any difference"
        times = f" × {benchmark.n} answers" if getattr(benchmark, "n", 1) > 1 else ""
        yield f"  {benchmark.label}: {n} items{times}; {shown} (power 0.8, one model alone right on 20 % of the items)"


def show(found: Report, stream: TextIO) -> None:
    """Prints an evaluation."""
    from rich.console import Console
    from rich.table import Table

    console = Console(file=stream, highlight=False, width=None if stream.isatty() else 160)
    table = Table(title=f"{found['model']}: {found['suite']} ({found['run']})", title_justify="left")
    head, *body = rows(found)
    for number, name in enumerate(head):
        table.add_column(name, justify="right" if number > 2 else "left")
    for row in body:
        table.add_row(*row)
    console.print(table)
    for line in lines(found):
        console.print(line, markup=False, soft_wrap=True)


def rows(found: Report) -> list[list[str]]:
    """A table: one row a metric; groups stand in the JSON document only."""
    table = [["benchmark", "metric", "score", "n", *SHARES, "noise floor", "prompts", "spec"]]
    for name, benchmark in found["benchmarks"].items():
        spec, mark = benchmark["spec"], f" {MARK}" if benchmark["marked"] else ""
        for metric, value in benchmark["metrics"].items():
            if "@" in metric or metric in SHARES:
                continue
            shares = [f"{benchmark['metrics'][s]['value']:.1%}" for s in SHARES]
            of = f" of {spec['of']}" if spec["of"] and spec["items"] < spec["of"] else ""
            hashes = [spec["prompts_sha256"][:8], spec["spec_sha256"][:8]]
            score = [name, metric.replace("_at_", "@"), estimate(value) + mark, f"{value['n']}{of}"]
            table.append([*score, *shares, _floor(benchmark["floors"].get(metric)), *hashes])
    return table


def lines(found: Report) -> Iterator[str]:
    """What stands below the table."""
    if any(benchmark["marked"] for benchmark in found["benchmarks"].values()):
        yield MARKED
    for name, benchmark in found["benchmarks"].items():
        if benchmark["spec"]["overlong"]:
            yield f"{name}: {benchmark['spec']['overlong']} of {benchmark['spec']['requests']} prompts don't fit and count as wrong"
    if (comparison := found.get("comparison")) is not None:
        yield f"compared with {comparison['with']} on the same items:"
        for name, metrics in comparison["benchmarks"].items():
            for metric, test in metrics.items():
                yield f"  {name} {metric.replace('_at_', '@')}: {test['text']}"
    yield f"items: {found['output']}/items.jsonl"


def _floor(found: Mapping[str, Any] | None) -> str:
    """How far two runs lie apart by chance; empty where that was never measured."""
    return f"±{found['half_width']:.3f} ({found['runs']} runs)" if found else ""


def estimate(value: Mapping[str, Any]) -> str:
    """A score with its interval."""
    low, high = (f"{value[end]:.3f}".replace("0.", ".", 1) for end in ("low", "high"))
    return f"{value['value']:.3f} [{low}, {high}]"


def markdown(found: Report) -> str:
    """The same as Markdown, for Prefect's page of the run."""
    head, *body = rows(found)
    table = "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *body])
    return f"# {found['suite']}: {found['model']}\n\n{table}\n\n" + "\n".join(f"- {line}" for line in lines(found)) + "\n"


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_bytes()) if path.exists() else {}
    return content
