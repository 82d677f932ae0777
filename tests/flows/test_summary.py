"""How a run whose gate didn't pass ends: in a sentence, for ``lapidar run`` with code 3, for ``make run`` with none."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from flows import summary

ROOT = Path(summary.__file__).parents[1]
PASS = {"check": "parity", "verdict": "pass", "text": "identical tokens"}
FAIL = {"check": "champion", "verdict": "fail", "text": "accuracy -0.02 [-0.03, -0.01]"}
UNKNOWN = {"check": "contamination", "verdict": "unknown", "text": "not checked"}


def report(verdict: str, *reasons: dict[str, str], registers: bool = True, aliases: tuple[str, ...] | None = ("candidate",)) -> Any:
    version = None if aliases is None else {"name": "tiny", "version": 2, "aliases": list(aliases)}
    return {"gate": {"verdict": verdict, "reasons": list(reasons)}, "version": version, "registers": registers}


def test_a_gate_that_did_not_pass_is_said_with_its_reasons_and_where_to_look() -> None:
    (said,) = summary.unpassed(report("fail", PASS, FAIL, UNKNOWN))
    assert said.startswith(
        "The run is done and models:/tiny/2 is registered. It isn't champion: its gate was not passed (champion: "
    )
    assert "accuracy -0.02 [-0.03, -0.01]; contamination: not checked" in said
    assert "identical tokens" not in said
    assert "`lapidar models show models:/tiny/2`" in said
    (said,) = summary.unpassed(report("unknown", UNKNOWN, aliases=("candidate", "champion")))
    assert "It stays champion: its gate is unknown, which doesn't pass (contamination: not checked)" in said
    assert summary.unpassed(report("unknown", UNKNOWN, aliases=None)) == [
        "The run is done and nothing was registered (contamination: not checked)."
    ]


def test_nothing_is_said_of_a_gate_that_passed_or_that_nobody_asked() -> None:
    assert summary.unpassed(report("pass", PASS)) == []
    assert summary.unpassed(report("unknown", UNKNOWN, registers=False, aliases=None)) == []


@pytest.mark.parametrize(("code", "made"), [(0, 0), (3, 0), (1, 2), (2, 2)])
def test_make_run_ends_well_where_only_the_gate_did_not_pass(code: int, made: int, tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name, text in (("infra/setup.sh", "exit 0"), (".venv/bin/lapidar", f'echo "$@"; exit {code}')):
        file = tmp_path / name
        file.parent.mkdir(parents=True)
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)
    plain = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    ended = subprocess.run(["make", "run"], cwd=tmp_path, env=plain | {"LC_ALL": "C"}, capture_output=True, text=True, check=False)
    assert ended.returncode == made
    assert ended.stdout == "run quickstart\n"
    assert ("Error" in ended.stderr) == (made != 0)
