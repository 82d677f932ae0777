"""One loop with real parts: two small models answer, people with a known preference vote blind, the votes become a dataset, DPO
trains on it, and people who don't know prefer what comes out on prompts that nobody had voted on.

The models solve word problems (badly) and state the answer in three of ten solutions, as their training texts do. The reviewers
like it stated, whatever it is, and are wrong in a tenth of their votes; one of them clicks by chance.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from components.adapters.full import Config as Full
from components.align import dpo
from components.artifacts import DatasetRef, Inputs, ModelRef
from components.data import prepare, records, versions
from components.data.sources import feedback, wordproblems
from components.inference.local import LocalModel
from components.reviews import arena, evidence
from components.settings import Settings
from components.stage import Stage
from components.train import sft
from tests.components.reviews.conftest import same_draws
from tests.components.reviews.test_standing import verdict

FIRST, SECOND, TRAINED = (f"models:/sum/{n}" for n in (1, 2, 3))
STATED = "The answer is"


@pytest.fixture(scope="module")
def problems(tmp_path_factory: pytest.TempPathFactory) -> DatasetRef:
    """Solved problems, three in ten of which state their answer."""
    folder = tmp_path_factory.mktemp("problems")
    config = wordproblems.Config(max_number=12, corpus=300, sft=600, preference=10, prompts=160, heldout=50)
    prepare.build(config, folder, Settings())
    rows = list(records.read(folder / "sft.jsonl"))
    for number, row in enumerate(rows):
        if number % 10 > 2:
            row["completion"] = row["completion"].partition(f" {STATED}")[0]
    records.write(folder / "sft.jsonl", rows)
    return DatasetRef(folder, "", prepare.read_splits(folder), folder, None)


def trained(base: Path, problems: DatasetRef, stage: Stage) -> ModelRef:
    from transformers import set_seed

    set_seed(stage.seed)
    config = sft.Config(lr=5e-3, batch_size=16, max_steps=130, logging_every=50, adapter=Full())
    sft.run(config, Inputs(problems, {"model": ModelRef(base, None, "")}), stage)
    return ModelRef(stage.out / "model", None, str(stage.seed) * 64)


def asked(problems: DatasetRef, split: str) -> list[str]:
    return [row["prompt"] for row in records.read(problems.file(split))]


class Answers:
    """What models say to prompts: sampled once, all prompts together."""

    def __init__(self, prompts: Sequence[str]) -> None:
        self.prompts, self.texts = prompts, dict[tuple[str, str], str]()

    def of(self, name: str, model: ModelRef) -> None:
        chats = [[{"role": "user", "content": prompt}] for prompt in self.prompts]
        replies = LocalModel(model, name).chat_many(chats, max_tokens=32, temperature=1.0, seed=int(name[-1]))
        self.texts |= {(name, prompt): reply.text for prompt, (reply,) in zip(self.prompts, replies, strict=True)}


def people(home: Settings, reviewers: Sequence[str], models: tuple[str, str], answers: Answers) -> None:
    """Reviewers vote on every prompt: for a stated answer, wrongly in a tenth; ``clicker`` doesn't look."""
    for reviewer in reviewers:
        while (match := arena.next_match(home, reviewer, models)) is not None:
            for side, model in arena.models_of(home, match.id).missing():
                arena.answer(home, match.id, side, arena.Answer(answers.texts[model, match.prompt], model, model[-1] * 64))
            match = arena.shown(home, match.id, reviewer)
            arena.vote(home, match.id, choice(reviewer, match), reviewer, 5.0)


def choice(reviewer: str, match: arena.Match) -> arena.Choice:
    drawn = hashlib.sha256(f"{reviewer} {match.prompt}".encode()).digest()
    if reviewer == "clicker":
        return arena.CHOICES[drawn[0] % 3]
    a, b = STATED in str(match.a), STATED in str(match.b)
    if a == b:
        return "tie"
    return "a" if a == (drawn[0] % 10 > 0) else "b"


@pytest.mark.slow
def test_after_one_loop_people_prefer_the_model(
    tiny_llama: Path, problems: DatasetRef, new_stage: Callable[..., Stage], tmp_path: Path
) -> None:
    home = Settings(home=tmp_path / "home")
    first, second = (trained(tiny_llama, problems, new_stage(seed)) for seed in (1, 2))
    answers = Answers(asked(problems, "prompts") + asked(problems, "heldout"))
    answers.of(FIRST, first)
    answers.of(SECOND, second)

    same_draws(home)  # what the clicker prefers follows from the sides
    arena.add_prompts(home, asked(problems, "prompts"), "ada")
    people(home, ["ada", "bob", "clicker"], (FIRST, SECOND), answers)
    config = feedback.Config(min_agreement=0.75, heldout=0.1)
    data = versions.build(config, home, tmp_path).ref
    rows = list(records.read(data.file("preference")))
    stated = [STATED in row["chosen"] and STATED not in row["rejected"] for row in rows]
    assert sum(stated) > 0.9 * len(stated) > 25, "two who agree are both wrong in one of a hundred"
    assert not {row["prompt"] for row in rows} & set(asked(problems, "heldout"))
    assert all(len(row["reviewers"]) == 2 for row in rows), "who clicked is no witness"

    stage = new_stage(0)
    dpo.run(dpo.Config(lr=1e-3, batch_size=8, epochs=6), Inputs(data, {"model": first}), stage)
    answers.of(TRAINED, ModelRef(stage.out / "model", None, ""))

    measured = Settings(home=tmp_path / "measured")  # a queue of prompts that nobody has seen, neither people nor models
    arena.add_prompts(measured, asked(problems, "heldout"), "ada")
    people(measured, ["cyn", "dan"], (FIRST, SECOND), answers)
    people(measured, ["eve", "fay"], (TRAINED, SECOND), answers)
    before = evidence.evidence(measured, FIRST, "1" * 64)
    after = evidence.evidence(measured, TRAINED, "3" * 64)
    print("win rate before", before["win_rate"], "after", after["win_rate"])  # shown with pytest -s
    assert before["win_rate"]["n"] == after["win_rate"]["n"] == 200
    assert before["win_rate"]["high"] < after["win_rate"]["low"]
    assert verdict(before) == "fail"
    assert verdict(after) == "pass"
