"""A judge on this machine that scores a team's own set."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse

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


def test_what_a_judge_refuses_has_no_verdict_also_when_only_that_is_left(chat_server: Callable[..., Any], tmp_path: Path) -> None:
    def answer(body: dict[str, Any]) -> Any:
        return JSONResponse({"error": "too long"}, 400) if "long" in body["messages"][0]["content"] else "Score: 10"

    judge = chat_server(answer)
    asked = [("Q?", "4", "4"), ("Q?", "4", "long")]
    for _ in range(2):
        assert verdicts(f"{judge.url}#m", "reference-1", asked, tmp_path / "kept.jsonl") == [1.0, None]
    assert len(judge.requests) == 3
