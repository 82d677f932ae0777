"""The end of a run, for people: what ran and how long, what it is worth, what was registered and why."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, TextIO

from components import local_services
from components.settings import Settings
from flows.progress import duration
from flows.report import MARK, MARKED, marked, table

SHARES = ("truncated", "unparsed")
_SHARES_HEAD = "truncated / unparsed"
_COLUMNS = 4
_WIDTH = 160
Report = Mapping[str, Any]


def show(report: Report, settings: Settings, stream: TextIO) -> None:
    """Prints the summary."""
    from rich.console import Console

    console = Console(file=stream, highlight=False, width=None if stream.isatty() else _WIDTH)
    console.print(_stages(report))
    for line in lines(report, settings):
        console.print(line, markup=False, soft_wrap=True)


def lines(report: Report, settings: Settings) -> list[str]:
    """What stands below the table."""
    found = [f"total {duration(report['seconds'])}, peak memory {report['peak_rss_mb'] / 1024:.1f} GiB"]
    for step in _shown(report):
        for metric, value in step["metrics"].items():
            if metric in columns(report):
                found.append(f"{step['from']} → {step['to']}: {metric} {value['text']}")
    found += [
        f"{stage}: {row['metric']} {_estimate(row)} (n={row['n']})"
        for stage, figures in report["figures"].items()
        for row in table(figures)
        if row.get("n")
    ]
    found += contamination(report["contamination"] or {})
    if (version := report["version"]) is not None:
        aliases = ", ".join(version["aliases"]) or "no alias"
        found.append(f"registered: models:/{version['name']}/{version['version']} ({aliases}), digest {version['digest'][:12]}")
    for name, spec in report["asked"].items():
        whole = f" of {spec['of']}" if spec["of"] and spec["items"] < spec["of"] else ""
        found.append(
            f"{name}: {spec['items']} items{whole}, prompts {spec['prompts_sha256'][:12]}, spec {spec['spec_sha256'][:12]}"
        )
    if any(marked(metrics, name) for metrics in report["metrics"].values() for name in metrics):
        found.append(MARKED)
    found += _gate(report)
    found.append(f"report: {settings.runs / report['run'] / 'report.json'}")
    return [*found, *_where(report, settings), *unpassed(report)]


def contamination(found: Mapping[str, Any]) -> list[str]:
    """State and reason, the same by benchmark, and what scores are worth without the flagged items."""
    if not found:
        return []
    told = [f"contamination: {found['state']} ({found['reason']})"]
    for name, part in found["benchmarks"].items():
        by = ", ".join(f"{method} {_said(said)}" for method, said in part["methods"].items())
        told.append(f"  {name}: {part['state']}, {part['flagged']} of {part['items']:,} items flagged; {by}")
    return told + [f"  {line}" for line in without(found.get("scores") or {})]


def without(scores: Mapping[str, Any]) -> list[str]:
    """Scores with and without flagged items, one line a metric."""
    return [
        f"{benchmark} {metric}: all {_estimate(parts['all'])} (n={parts['all']['n']}), "
        + ("without flagged items none left" if parts["without"] is None else f"without flagged items {_counted(parts['without'])}")
        + (f", flagged alone {_counted(parts['flagged'])}" if parts["flagged"] else "")
        for benchmark, metrics in scores.items()
        for metric, parts in metrics.items()
    ]


def _counted(value: Mapping[str, Any]) -> str:
    return f"{_estimate(value)} (n={value['n']})"


def _said(said: Mapping[str, Any]) -> str:
    reason = f" ({said['reason']})" if said["reason"] else ""
    return f"flags {said['flagged']}" if said["flagged"] else f"{said['state']}{reason}"


def _shown(report: Report) -> list[Mapping[str, Any]]:
    """Differences from each stage to the next, and from the base to the last one that was trained."""
    names = list(report["metrics"])
    trained = [name for name in names if name != "export"]
    pairs = {*pairwise(names), (trained[0], trained[-1])} if names else set()
    return [step for step in report["differences"] if (step["from"], step["to"]) in pairs]


def _gate(report: Report) -> list[str]:
    verdict, version = report["gate"]["verdict"], report["version"]
    if version is None:
        return [f"not registered: {reason['text']}" for reason in report["gate"]["reasons"]]
    promoted = "champion" in version["aliases"]
    outcome = "promoted to champion" if promoted and verdict == "pass" else "champion" if promoted else "not promoted"
    reasons = [f"  {reason['verdict']:<8}{reason['check']}: {reason['text']}" for reason in report["gate"]["reasons"]]
    return [f"gate: {verdict} ({outcome})", *reasons]


def unpassed(report: Report) -> list[str]:
    """The last sentence where the gate didn't pass: that nothing failed, why nothing was promoted, and where to see it."""
    verdict, version = report["gate"]["verdict"], report["version"]
    if not report["registers"] or verdict == "pass":
        return []
    why = "; ".join(f"{r['check']}: {r['text']}" for r in report["gate"]["reasons"] if r["verdict"] != "pass")
    if version is None:
        return [f"The run is done and nothing was registered ({why})."]
    uri = f"models:/{version['name']}/{version['version']}"
    said = {"fail": "was not passed", "unknown": "is unknown, which doesn't pass"}[verdict]
    stands = "stays champion" if "champion" in version["aliases"] else "isn't champion"
    return [
        f"The run is done and {uri} is registered. It {stands}: its gate {said} ({why}). "
        f"See it with `lapidar models show {uri}`, or on the page Registry (`lapidar up`)."
    ]


def _where(report: Report, settings: Settings) -> list[str]:
    mlflow = settings.tracking_uri or local_services.address(settings, "mlflow")
    dashboard = local_services.address(settings, "dashboard")
    if dashboard is None:
        return [*([f"MLflow: {mlflow}"] if mlflow else []), "dashboard: `lapidar up` starts it (and MLflow) and prints its address"]
    return [f"MLflow: {mlflow}", f"dashboard: {dashboard}/run?id={report['run']}"]


def columns(report: Report) -> list[str]:
    """The metrics worth a column: whole benchmarks before groups, a few at most."""
    names = dict.fromkeys(name for metrics in report["metrics"].values() for name in metrics)
    shown = [name for name in names if not name.rpartition(".")[2].startswith(SHARES)]
    return sorted(shown, key=lambda name: "@" in name)[:_COLUMNS]


def shares(metrics: Mapping[str, Any]) -> str:
    """Shares of truncated and of unparsed answers; of several benchmarks the largest."""
    found = []
    for share in SHARES:
        values = [value["value"] for name, value in metrics.items() if name.rpartition(".")[2] == share]
        found.append(f"{max(values):.1%}" if values else "?")
    return " / ".join(found)


def rows(report: Report) -> list[list[str]]:
    """One row a stage: name, method, time, ran or cached, metrics, shares of truncated and unparsed answers."""
    found = []
    for stage in report["stages"]:
        metrics = report["metrics"].get(stage["name"].removeprefix("evaluate.")) if stage["name"].startswith("evaluate.") else None
        values = [_score(metrics or {}, name) for name in columns(report)] + [shares(metrics) if metrics else ""]
        seconds = duration(stage["seconds"]) if stage["status"] == "ran" else ""
        found.append([stage["name"], stage["method"], seconds, stage["status"], *values])
    return found


def markdown(report: Report) -> str:
    """The same as Markdown, for Prefect's page of the run."""
    head = ["stage", "method", "time", "", *columns(report), _SHARES_HEAD]
    table = [head, ["---"] * len(head), *rows(report)]
    gate = [f"- **{r['verdict']}** {r['check']}: {r['text']}" for r in report["gate"]["reasons"]]
    version = report["version"]
    title = f"models:/{version['name']}/{version['version']} `{version['digest'][:12]}`" if version else "nothing registered"
    body = "\n".join(f"| {' | '.join(row)} |" for row in table)
    return f"# {report['recipe']}\n\n{body}\n\n## {title}\n\ngate: **{report['gate']['verdict']}**\n\n" + "\n".join(gate) + "\n"


def _stages(report: Report) -> Any:
    from rich.table import Table

    table = Table(title=f"{report['recipe']} ({report['run']})", title_justify="left")
    for name in ("stage", "method"):
        table.add_column(name)
    table.add_column("time", justify="right")
    for name in ("", *columns(report), _SHARES_HEAD):
        table.add_column(name)
    for row in rows(report):
        table.add_row(*row)
    return table


def _estimate(value: Mapping[str, Any] | None) -> str:
    if value is None:
        return ""
    low, high = (f"{value[end]:.3f}".replace("0.", ".", 1) for end in ("low", "high"))
    return f"{value['value']:.3f} [{low}, {high}]"


def _score(metrics: Mapping[str, Any], name: str) -> str:
    """A score with its interval, marked where too many answers couldn't be used."""
    mark = f" {MARK}" if name in metrics and marked(metrics, name) else ""
    return _estimate(metrics.get(name)) + mark
