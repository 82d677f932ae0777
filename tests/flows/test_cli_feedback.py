"""``lapidar feedback``: from the arena's queue to a registered version that the gate decides about."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.reviews import arena
from components.settings import Settings
from tests.flows.conftest import Home

Cli = Callable[..., tuple[int, str, str]]
PROMPTS = [f"Tom has {n} apples and buys {n}. How many?" for n in range(12)]
RECIPE = """\
name: loop
data: {method: feedback, heldout: 0.3}
model: {source: "models:/tiny/1"}
align:
  - method: kto
    lr: 1.0e-3
    batch_size: 8
    max_steps: 3
    logging_every: 1
    max_length: 200
    adapter: {method: lora, r: 4, alpha: 8}
evaluate:
  benchmarks:
    - {method: preference_pairs}
register:
  name: tiny
  max_unusable: 1.0
  metric: accuracy
  votes: {min_votes: 20, min_reviewers: 2}
"""


def queue(folder: Path) -> str:
    file = folder / "prompts.jsonl"
    file.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in PROMPTS))
    return str(file)


def vote(home: Settings, winner: str, loser: str, digests: dict[str, str], *reviewers: str) -> None:
    """Everybody prefers ``winner``."""
    for reviewer in reviewers:
        while (match := arena.next_match(home, reviewer, [winner, loser])) is not None:
            sides = arena.models_of(home, match.id)
            for side, model in sides.missing():
                text = f"The answer is {len(match.prompt)}." if model == winner else "No idea."
                arena.answer(home, match.id, side, arena.Answer(text, model, digests.get(model)))
            arena.vote(home, match.id, "a" if sides.models["a"] == winner else "b", reviewer, 4.0)


def test_prompts_votes_and_a_dataset(lapidar: Cli, tmp_path: Path) -> None:
    home = Settings(home=tmp_path / "home")
    assert lapidar("feedback", "prompts", queue(tmp_path), "--limit", "10")[1] == "10 of 10 prompts are new in the arena's queue\n"
    assert lapidar("feedback", "prompts", queue(tmp_path))[1] == "2 of 12 prompts are new in the arena's queue\n"
    assert "no ranking: a ranking needs" in lapidar("feedback", "show")[1]
    code, _, err = lapidar("feedback", "build")
    assert code == 2
    assert "no vote and no feedback yet" in err
    vote(home, "models:/m/2", "models:/m/1", {}, "ada", "bob")
    shown = json.loads(lapidar("feedback", "show", "--json")[1])
    assert (shown["votes"], shown["prompts"], shown["reviewers"]) == (24, 12, {"ada": 12, "bob": 12})
    assert shown["ranking"][0]["model"] == "models:/m/2"
    assert "24 votes of 2 reviewers on 12 prompts" in lapidar("feedback", "show")[1]
    built = json.loads(lapidar("feedback", "build", "--json")[1])
    assert built["changed"]
    assert built["splits"]["preference"]["rows"] + built["splits"]["heldout"]["rows"] == 12
    code, out, _ = lapidar("feedback", "build")
    assert code == 0
    assert out.startswith(f"the same version {built['md5']}")
    assert "24 votes and 0 remarks of 2 reviewers" in out
    code, _, err = lapidar("feedback", "build", "traits")
    assert code == 2
    assert "reads 'traits', not what reviewers said" in err
    code, _, err = lapidar("feedback", "votes", "models:/m/2")
    assert code == 2
    assert "there is no models:/m/2" in err


@pytest.mark.slow
def test_votes_become_a_version_and_more_votes_decide_its_gate(finished: tuple[Home, dict[str, Any]], tmp_path: Path) -> None:
    """The tiny recipe's version is voted on, trained on the votes with KTO, registered, voted on again."""
    home, _ = finished
    settings = Settings(home=home.path)
    (old,) = home.versions()
    (home.beside / "loop.yaml").write_text(RECIPE)
    home.command("feedback", "prompts", queue(tmp_path))
    vote(settings, "models:/other/1", old.uri, {old.uri: old.digest}, "ada", "bob")

    done = home.call("feedback", "run", "loop.yaml", "--json")
    assert done.returncode == 3, done.stderr
    found = json.loads(done.stdout)
    assert found["data"]["changed"]
    gate = {reason["check"]: reason for reason in found["run"]["gate"]["reasons"]}
    assert gate["votes"]["verdict"] == "unknown"
    assert gate["votes"]["text"] == "0 votes of 0 reviewers; it takes 20 of 2"
    new = home.versions()[0]
    recipe = json.loads((next(home.path.glob("runs/loop-*")) / "recipe.json").read_bytes())
    assert recipe["data"]["snapshot"] is not None, "the run says which votes it was trained on"
    assert json.loads(home.call("feedback", "run", "loop.yaml", "--json", "--only-if-new").stdout)["run"] is None

    arena.add_prompts(settings, [f"{prompt} Please!" for prompt in PROMPTS], "ada")
    vote(settings, new.uri, old.uri, {new.uri: new.digest, old.uri: old.digest}, "cyn", "dan")
    recorded = json.loads(home.call("feedback", "votes", new.uri, "--who", "ada", "--json").stdout)
    assert recorded["votes"]["reviewers"] == 2
    verdicts = {reason["check"]: reason["verdict"] for reason in recorded["gate"]["reasons"]}
    assert verdicts["votes"] == "pass"
    audit = home.command("audit", "--json")["entries"]
    assert [(entry["action"], entry["who"]) for entry in audit if entry["to_version"] == new.version][-1] == ("evidence", "ada")
