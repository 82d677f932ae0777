"""Scores of an evaluation for people: with interval, number of items, what couldn't be used, hashes, and what they can show."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from components.artifacts import Estimate
from components.comparison import scores as item_scores
from components.errors import LapidarError
from components.settings import Settings
from components.statistics import detectable_difference, holm, mcnemar, paired_difference
from components.suites import Evaluation
from flows.report import MARK, MARKED, marked

SHARES = ("truncated", "unparsed")
_LEVEL = 0.05
Report = dict[str, Any]


def model_name(evaluation: Evaluation) -> str:
    """What was evaluated, as the user named it."""
    config: Any = evaluation.evaluate
    return str(config.endpoint) if config.method == "endpoint" else evaluation.model.source


def report(run: Mapping[str, Any], evaluation: Evaluation, folder: Path, settings: Settings) -> Report:
    """The document of an evaluation."""
    metrics, specs, reruns = (_read(folder / f"{name}.json") for name in ("metrics", "spec", "reruns"))
    benchmarks = {
        name: {
            "metrics": found,
            "marked": marked(found),
            "spec": {key: value for key, value in specs[name].items() if key != "first_prompt"},
            "reruns": reruns.get(name),
        }
        for name, found in ((config.label, metrics[config.label]) for config in evaluation.evaluate.benchmarks)  # type: ignore[attr-defined]
    }
    kept = ("run", "seed", "data", "stages", "seconds", "peak_rss_mb", "prefect_run")
    shown = {name: run[name] for name in kept}
    return {**shown, "suite": evaluation.name, "model": model_name(evaluation), "benchmarks": benchmarks, "output": str(folder)}


def compare(a: Path, b: Path, found: Report) -> dict[str, Any]:
    """Paired differences of two evaluations by benchmark and metric, p-values corrected over all of them (Holm).

    Raises:
        LapidarError: if the evaluations don't hold the same items.
    """
    tested: dict[tuple[str, str], dict[str, Any]] = {}
    for name, benchmark in found["benchmarks"].items():
        for metric in (m for m in benchmark["metrics"] if "@" not in m and m not in SHARES):
            try:
                ours, theirs = (item_scores(folder, name, metric) for folder in (a, b))
            except LapidarError:
                continue  # a figure over all items, not a mean of theirs
            if ours.keys() != theirs.keys():
                raise LapidarError(f"{name}: the two models were asked other items; evaluate both on the same data version")
            tested[name, metric] = _paired([ours[key] for key in ours], [theirs[key] for key in ours])
    adjusted = holm([test["p"] for test in tested.values()])
    result: dict[str, Any] = {}
    for ((name, metric), test), p in zip(tested.items(), adjusted, strict=True):
        sure = p < _LEVEL and (test["difference"]["low"] > 0 or test["difference"]["high"] < 0)
        verdict = ("better" if test["difference"]["value"] > 0 else "worse") if sure else "no difference shown"
        result.setdefault(name, {})[metric] = {**test, "p_adjusted": p, "verdict": verdict}
    return result


def _paired(a: list[float], b: list[float]) -> dict[str, Any]:
    difference = paired_difference(a, b)
    binary = all(value in (0, 1) for value in [*a, *b])
    return {
        "difference": asdict(difference),
        "p": mcnemar(a, b) if binary else _p_value(difference),
        "test": "McNemar" if binary else "bootstrap",
    }


def _p_value(difference: Estimate) -> float:
    """Two-sided, from the interval's width on the side of zero; normal approximation."""
    edge = difference.low if difference.value > 0 else difference.high
    error = abs(difference.value - edge) / 1.959963984540054
    return 1.0 if error == 0 and difference.value == 0 else math.erfc(abs(difference.value) / max(error, 1e-12) / math.sqrt(2))


def before(evaluation: Evaluation, items: Mapping[str, int | None]) -> Iterator[str]:
    """What is said before a run: how many items there are, and what difference they can show.

    Args:
        items: number of items by benchmark, None where the dataset isn't built yet.
    """
    yield f"{model_name(evaluation)}: {evaluation.name}"
    for benchmark in evaluation.evaluate.benchmarks:  # type: ignore[attr-defined]
        n = items.get(benchmark.label)
        if n is None:
            yield f"  {benchmark.label}: number of items known once the dataset is built"
            continue
        least = detectable_difference(n)
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
            floor = spread(benchmark["reruns"], metric, value["value"])
            table.append([name, metric.replace("_at_", "@"), estimate(value) + mark, f"{value['n']}{of}", *shares, floor, *hashes])
    return table


def lines(found: Report) -> Iterator[str]:
    """What stands below the table."""
    if any(benchmark["marked"] for benchmark in found["benchmarks"].values()):
        yield MARKED
    for name, benchmark in found["benchmarks"].items():
        if benchmark["spec"]["overlong"]:
            yield f"{name}: {benchmark['spec']['overlong']} of {benchmark['spec']['requests']} prompts don't fit and count as wrong"
    if (comparison := found.get("comparison")) is not None:
        yield f"compared with {comparison['with']} on the same items (95 % intervals, p by Holm over all):"
        for name, metrics in comparison["benchmarks"].items():
            for metric, test in metrics.items():
                change = f"{test['difference']['value']:+.3f} [{test['difference']['low']:+.3f}, {test['difference']['high']:+.3f}]"
                shown = f"{test['verdict']} ({test['test']}, p={test['p_adjusted']:.3g})"
                yield f"  {name} {metric.replace('_at_', '@')}: {change}, n={test['difference']['n']}: {shown}"
    yield f"items: {found['output']}/items.jsonl"


def spread(reruns: Mapping[str, list[float]] | None, metric: str, first: float) -> str:
    """How far scores of runs with other seeds lay apart at most; empty without reruns."""
    if not reruns or metric not in reruns:
        return ""
    values = [first, *reruns[metric]]
    return f"±{(max(values) - min(values)) / 2:.3f} ({len(values)} runs)"


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
