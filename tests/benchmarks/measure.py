"""Measures what Lapidar promises about its recipes on this machine, and prints it as a Markdown table.

Usage: ``.venv/bin/python tests/benchmarks/measure.py [quickstart] [bare] [homes] [stories]`` on an otherwise idle machine;
without a name all of them (about 25 minutes on two cores). Ratios come from alternating runs in one session.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from components.comparison import compare_folders
from components.settings import Settings

Row = tuple[str, str, str]
BIN = Path(sys.executable).parent
CHANGE = "align.1.temperature=0.95"


def lapidar(home: Path, *arguments: str) -> tuple[dict[str, Any], float]:
    """(report, wall seconds of the whole command) of ``lapidar run … --json``."""
    began = time.perf_counter()
    done = subprocess.run(
        [BIN / "lapidar", "run", *arguments, "--json"],
        env={**os.environ, "LAPIDAR_HOME": str(home)},
        capture_output=True,
        text=True,
    )
    seconds = time.perf_counter() - began
    if done.returncode not in (0, 3):
        raise SystemExit(f"lapidar run {' '.join(arguments)} failed with {done.returncode}:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout), seconds


def evaluation(home: Path, report: dict[str, Any], stage: str) -> Path:
    """Output folder of a stage's evaluation."""
    key = next(s["key"] for s in report["stages"] if s["name"] == f"evaluate.{stage}")
    return home / "store" / "evaluate" / str(key)


def ran(report: dict[str, Any]) -> list[str]:
    """Names of the stages that ran."""
    return [s["name"] for s in report["stages"] if s["status"] == "ran"]


def signed(value: Any) -> str:
    """A difference with its interval."""
    return f"{value.value:+.3f} [{value.low:+.3f}, {value.high:+.3f}]"


def shown(estimate: dict[str, Any]) -> str:
    """A score with its interval."""
    return f"{estimate['value']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"


def quickstart(root: Path) -> list[Row]:
    """First run, second run, one setting changed, and what each stage is worth."""
    home = root / "first"
    first, wall = lapidar(home, "quickstart")
    again, wall_again = lapidar(home, "quickstart")
    changed, _ = lapidar(home, "quickstart", CHANGE)
    places = {name: evaluation(home, first, name) for name in first["metrics"]}
    last = [name for name in first["metrics"] if name != "export"][-1]

    def difference(after: str, before: str) -> Any:
        settings = Settings(home=home)
        return compare_folders(places[after], places[before], settings, ("accuracy",))[0].difference

    base = first["figures"]["base"]
    scores = ", ".join(f"{name} {shown(values['accuracy'])}" for name, values in first["metrics"].items())
    groups = ", ".join(
        f"{name} {values['accuracy@seen']['value']:.3f}/{values['accuracy@unseen']['value']:.3f}"
        for name, values in first["metrics"].items()
    )
    items = first["metrics"][last]["accuracy"]["n"]
    trained = f"{base['tokens_seen'] / 1e6:.2f} M tokens, held-out loss {base['heldout_loss']:.3f} nats a token"
    return [
        (
            "quickstart, first run: wall time, peak resident memory",
            "≤ 6 min, ≤ 4 GB",
            f"{wall:.0f} s, {first['peak_rss_mb'] / 1024:.2f} GiB",
        ),
        (
            "quickstart again: wall time, stages that ran",
            "≤ 20 s, none",
            f"{wall_again:.1f} s, {', '.join(ran(again)) or 'none'}",
        ),
        (f"{CHANGE}: stages that ran", "GRPO and what follows", ", ".join(ran(changed))),
        ("held-out items", "≥ 500", str(items)),
        ("accuracy after each stage", "", scores),
        ("on seen/unseen operand pairs", "", groups),
        ("base: trained on", "honestly", f"{base['parameters'] / 1e6:.2f} M parameters, {trained}"),
        ("SFT above base", "interval above 0", signed(difference("sft", "base"))),
        ("GRPO above SFT", "interval above 0", signed(difference("grpo", "sft"))),
        ("last above base", "≥ +0.20", signed(difference(last, "base"))),
    ]


def bare(root: Path, repeats: int) -> list[Row]:
    """The flow against the same calls in one process, alternating."""
    flow, script = [], []
    for number in range(repeats):
        home = root / f"bare{number}"
        lapidar(home, "quickstart", "--until", "data")
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, Path(__file__).parent / "bare.py", "quickstart", root / f"outputs{number}"],
            env={**os.environ, "LAPIDAR_HOME": str(home), "PYTHONPATH": str(Path.cwd())},
            check=True,
            capture_output=True,
        )
        script.append(time.perf_counter() - began)
        flow.append(lapidar(home, "quickstart")[1])
    ratio = sum(flow) / sum(script)
    each = "; ".join(f"{a:.0f} s / {b:.0f} s" for a, b in zip(flow, script, strict=True))
    return [("whole flow / the same TRL calls in one process", "≤ 1.10", f"{ratio:.3f} ({each})")]


def homes(root: Path) -> list[Row]:
    """Digests of all stages in two empty homes."""
    reports = [lapidar(root / name, "quickstart")[0] for name in ("home-a", "home-b")]
    digests = [{s["name"]: s["digest"] for s in report["stages"] if s["name"] != "verify"} for report in reports]
    other = [name for name in digests[0] if digests[0][name] != digests[1].get(name)]
    text = f"{len(digests[0]) - len(other)} of {len(digests[0])} stages equal" + (f"; not {', '.join(other)}" if other else "")
    return [("two runs from empty homes: digests of the stages", "equal", text)]


def stories(root: Path) -> list[Row]:
    """Required-word rate before and after."""
    if not (Settings().shared / "models" / "stories260K").is_dir():
        return [("stories", "", f"not measured: {Settings().shared}/models/stories260K isn't there")]
    report, wall = lapidar(root / "stories", "stories")
    base, last = (report["metrics"][name] for name in ("base", "grpo"))
    rows = [("stories: wall time", "", f"{wall:.0f} s")]
    goals = {"required_word": "intervals disjoint"}
    for name in ("required_word", "ends_sentence", "four_sentences", "all"):
        rows.append((f"stories, {name}: base → GRPO", goals.get(name, ""), f"{shown(base[name])} → {shown(last[name])}"))
    return rows


def main() -> None:
    """Runs what was asked for and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", choices=["quickstart", "bare", "homes", "stories", []], default=[])
    parser.add_argument("--repeats", type=int, default=2, help="alternating repeats of the comparison with the bare script")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lapidar-numbers-") as folder:
        root = Path(folder)
        measures = {
            "quickstart": lambda: quickstart(root),
            "bare": lambda: bare(root, arguments.repeats),
            "homes": lambda: homes(root),
            "stories": lambda: stories(root),
        }
        print("| what | goal | measured |\n| --- | --- | --- |")
        for name in arguments.what or measures:
            for what, goal, measured in measures[name]():
                print(f"| {what} | {goal} | {measured} |", flush=True)


if __name__ == "__main__":
    main()
