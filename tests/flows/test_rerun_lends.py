"""What a rerun finds in its empty home."""

from __future__ import annotations

from pathlib import Path

from components.benchmarks import gsm8k
from components.data import benchmarks, needs, prepare
from components.data.sources import feedback
from components.reviews import conversations
from components.reviews import feedback as remarks
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


def test_a_rerun_builds_a_dataset_of_feedback_again_after_it_was_deleted(tmp_path: Path) -> None:
    here = Settings(home=tmp_path / "here")
    said = conversations.create(here, "ada")
    conversations.append(here, "ada", said, "user", "What is 2 + 2?")
    remarks.edit(here, "ada", conversations.append(here, "ada", said, "assistant", "Five."), "Four.")
    config = feedback.pin(feedback.Config(heldout=0), here)
    first = prepare.build(config, tmp_path / "first", here)
    with rerun.place(here) as where:
        gone = {"repository": None, "path": str(tmp_path / "deleted"), "revision": None}
        then = {"dataset": gone, "recipe": {"data": config.model_dump(mode="json")}}
        assert rerun.lend_data(where, then, tmp_path, here) == tmp_path
        again = prepare.build(config, tmp_path / "again", Settings(home=where.home))
    assert again["splits"] == first["splits"]
