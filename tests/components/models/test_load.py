"""Loading a model: what it prints, which is nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.artifacts import ModelRef
from components.models.load import load_model


def test_loading_draws_no_bars(tiny_llama: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from transformers.utils import logging

    logging.enable_progress_bar()
    capfd.readouterr()
    load_model(ModelRef(tiny_llama, None, ""))
    assert capfd.readouterr().err == ""
