"""What a rerun finds in its empty home."""

from __future__ import annotations

from pathlib import Path

from components.benchmarks import gsm8k
from components.data import benchmarks, needs
from components.settings import Settings
from flows import rerun


def test_a_rerun_finds_the_benchmarks_data(tmp_path: Path) -> None:
    here = Settings(home=tmp_path / "here")
    made = benchmarks.store("gsm8k", gsm8k.SOURCE, Path("test.jsonl"), [gsm8k.SOURCE.sample], None, here)
    with rerun.place(here) as where:
        rerun.lend_models(where, {"model": {"source": "pretrain"}}, here)
        found = needs.need([gsm8k.Config()], Settings(home=where.home))
        assert found["gsm8k"].md5 == made.ref.md5
        assert found["gsm8k"].path != made.ref.path
