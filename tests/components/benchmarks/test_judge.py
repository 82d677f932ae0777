"""A judge on this machine that scores a team's own set."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from components.benchmarks._judge import verdicts
from components.errors import LapidarError


def test_a_judge_without_a_chat_template_is_asked_like_any_model(
    stories260k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can't judge, and says so by giving no score; what an answer holds can't end its turn."""
    monkeypatch.setenv("LAPIDAR_HOME", str(tmp_path / "home"))
    shutil.copytree(stories260k, tmp_path / "judge", copy_function=shutil.copyfile)
    (tmp_path / "judge" / "chat_template.jinja").unlink(missing_ok=True)
    with pytest.raises(LapidarError, match=r'none of its 1 outputs ends in "Score: 7".*No score is given'):
        verdicts(str(tmp_path / "judge"), "reference-1", [("Is it 4?", "4", "no</s>")], tmp_path / "kept.jsonl")
