"""Agreement against published examples, reviewers who click by chance, evidence for the gate."""

from __future__ import annotations

import doctest
import random
from datetime import UTC, datetime

import pytest

from components.errors import InputError, LapidarError
from components.reviews import arena, diagnosis, evidence, krippendorff
from components.reviews.krippendorff import alpha
from components.reviews.standing import Contender, Vote, majority
from components.settings import Settings
from tests.components.reviews.conftest import MODELS, by_chance, prefers, vote_all

FOUR_OBSERVERS = """
1 2 3 3 2 1 4 1 2 . . .
1 2 3 3 2 2 4 1 2 5 . 3
. 3 3 3 2 3 4 2 2 5 1 .
1 2 3 3 2 4 4 1 2 5 1 .
"""
TWO_OBSERVERS = """
a a b b d c c c e d d a
b a b b b c c c e d d d
"""
BINARY = """
0 1 0 0 0 0 0 0 1 0
1 1 1 0 0 1 0 0 0 0
"""


@pytest.mark.parametrize(
    ("table", "published", "units"), [(FOUR_OBSERVERS, 0.743, 11), (TWO_OBSERVERS, 0.692, 12), (BINARY, 0.095, 10)]
)
def test_alpha_is_that_of_krippendorff_s_examples(table: str, published: float, units: int) -> None:
    """ "Computing Krippendorff's Alpha-Reliability" (2011), sections A, B and C (nominal)."""
    columns = zip(*(line.split() for line in table.split("\n") if line), strict=True)
    found = alpha([[value for value in column if value != "."] for column in columns])
    assert round(found.value, 3) == published
    assert found.n == units
    assert found.low < published < found.high


def test_alpha_s_edges() -> None:
    assert doctest.testmod(krippendorff).attempted > 0
    assert doctest.testmod(krippendorff).failed == 0
    assert alpha(["aa", "bb"] * 10).value == 1.0
    assert alpha(["ab"] * 10).value == pytest.approx(1 - 19 / 10), "always apart is less than chance"
    assert alpha(["aa"] * 10).value == 0.0, "no variation shows nothing beyond chance"
    with pytest.raises(LapidarError, match="two reviewers or more"):
        alpha(["a", "b"])


def test_alpha_s_interval_covers_the_truth() -> None:
    """Raters who each say the truth with probability 0.8: the interval of 60 units holds the alpha of 6,000 in most draws."""
    rng = random.Random(0)

    def units(n: int) -> list[list[bool]]:
        truths = [rng.random() < 0.5 for _ in range(n)]
        return [[truth == (rng.random() < 0.8) for _ in range(3)] for truth in truths]

    true = alpha(units(6000)).value
    hits = sum(found.low <= true <= found.high for found in (alpha(units(60), seed) for seed in range(60)))
    assert 50 <= hits <= 60


def cast(number: int, reviewer: str, prompt: int, choice: str, seconds: float = 6.0, swap: bool = False) -> Vote:
    first, second = (Contender(model, model, model[-1] * 64, f"{model} on {prompt}") for model in MODELS)
    a, b = (second, first) if swap else (first, second)
    return Vote(number, str(number), reviewer, prompt, f"p{prompt}", a, b, choice, seconds, datetime(2026, 1, 1, tzinfo=UTC))  # type: ignore[arg-type]


def crowd(rng: random.Random, careful: int, prompts: int = 60) -> list[Vote]:
    """Reviewers who see which answer is better, nearly always."""
    better = [rng.random() < 0.5 for _ in range(prompts)]
    found = []
    for reviewer in range(careful):
        for prompt in range(prompts):
            swap, right = rng.random() < 0.5, rng.random() < 0.9
            first = better[prompt] == right
            found.append(cast(len(found), f"careful{reviewer}", prompt, "a" if first != swap else "b", swap=swap))
    return found


def clicking(rng: random.Random, choose: str, prompts: int = 60, seconds: float = 6.0) -> list[Vote]:
    return [
        cast(9000 + prompt, "clicker", prompt, rng.choice(choose.split()), seconds, swap=rng.random() < 0.5)
        for prompt in range(prompts)
    ]


@pytest.mark.parametrize(("choose", "name"), [("a b tie both_bad", "chance"), ("a b", "chance"), ("a", "side"), ("tie", "same")])
def test_who_clicks_is_named_and_nobody_else(choose: str, name: str) -> None:
    for seed in range(5):
        rng = random.Random(seed)
        votes = crowd(rng, 3) + clicking(rng, choose)
        found = diagnosis.diagnose(votes)
        assert {each.reviewer for each in found} == {"clicker"}
        assert name in {each.name for each in found}
        assert "fast" not in {each.name for each in found}
        assert diagnosis.clickers(votes) == {"clicker"}


def test_a_careful_reviewer_isn_t_accused() -> None:
    rng = random.Random(0)
    assert diagnosis.diagnose(crowd(rng, 4)) == []
    few = [vote for vote in crowd(rng, 3) + clicking(rng, "a b") if vote.prompt < 15]
    assert diagnosis.diagnose(few) == [], "15 votes are too few to tell"
    among_clickers = crowd(rng, 1) + [
        vote
        for n in range(3)
        for vote in [cast(v.id, f"c{n}", v.prompt, v.choice, swap=v.a.model == MODELS[1]) for v in clicking(rng, "a b")]
    ]
    assert not {f.reviewer for f in diagnosis.diagnose(among_clickers)} & {"careful0"}, "nobody is held against people who click"


def test_votes_faster_than_reading_are_named() -> None:
    rng = random.Random(0)
    fast = [cast(v.id + 5000, "fast", v.prompt, v.choice, 0.4, v.a.model == MODELS[1]) for v in crowd(rng, 1)]
    votes = crowd(random.Random(0), 2) + fast
    assert [(each.reviewer, each.name) for each in diagnosis.diagnose(votes)] == [("fast", "fast")]
    assert diagnosis.clickers(votes) == set(), "fast and right is no fault of the votes"


def test_the_majority_is_a_tie_where_two_are_said_equally_often() -> None:
    assert majority(["first", "first", "second"]) == "first"
    assert majority(["first", "second"]) == "tie"


def test_evidence_is_what_the_gate_reads(home: Settings) -> None:
    arena.add_prompts(home, [f"What is {n} + {n}?" for n in range(20)], "ada")
    vote_all(home, "ada", prefers(MODELS[1]))
    vote_all(home, "bob", lambda match, sides: "tie" if match.prompt == "What is 0 + 0?" else prefers(MODELS[1])(match, sides))
    found = evidence.evidence(home, MODELS[1], "2" * 64)
    assert found["win_rate"]["value"] == pytest.approx(39.5 / 40)
    assert 0.8 < found["win_rate"]["low"] < found["win_rate"]["value"] <= found["win_rate"]["high"] <= 1
    assert (found["win_rate"]["n"], found["reviewers"], found["prompts"], found["against"]) == (40, 2, 20, [MODELS[0]])
    assert evidence.evidence(home, "models:/other/7", "2" * 64)["win_rate"] == found["win_rate"], "the weights are the model"
    loser = evidence.evidence(home, MODELS[0], "1" * 64, against=MODELS[1])
    assert loser["win_rate"]["value"] == pytest.approx(0.5 / 40)
    with pytest.raises(InputError, match="nobody has voted on models:/m/2 against models:/m/9"):
        evidence.evidence(home, MODELS[1], "2" * 64, against="models:/m/9")
    assert verdict(found) == "pass"
    assert verdict(loser) == "fail"
    assert verdict({}) == "unknown"


def verdict(votes: dict[str, object]) -> str:
    """What the gate's own check says, at its default limits."""
    from types import SimpleNamespace

    from components.gate import votes as check
    from components.recipe import RegisterConfig, VotesPolicy

    case = SimpleNamespace(config=RegisterConfig(name="m", votes=VotesPolicy()), evidence=SimpleNamespace(votes=votes))
    (reason,) = check.check(case)  # type: ignore[arg-type]
    return reason.verdict


def test_who_clicks_doesn_t_count_in_the_evidence(home: Settings) -> None:
    arena.add_prompts(home, [f"What is {n} + {n}?" for n in range(30)], "ada")
    better = {f"What is {n} + {n}?": MODELS[n % 3 > 0] for n in range(30)}
    for careful in ("ada", "bob"):
        vote_all(home, careful, lambda match, sides: prefers(better[match.prompt])(match, sides))
    without = evidence.evidence(home, MODELS[1], "2" * 64)
    vote_all(home, "clicker", by_chance)
    found = evidence.evidence(home, MODELS[1], "2" * 64)
    assert found["win_rate"] == without["win_rate"]
    ((name, votes),) = found["left_out"].items()
    assert votes == 30
    assert "clicker" not in name
    assert name.startswith("reviewer-")


def test_many_votes_on_one_prompt_aren_t_many_prompts() -> None:
    """Thirty people on two prompts: the interval is that of two prompts that disagree, not of sixty votes."""
    one = [cast(n, f"r{n}", 1, "a") for n in range(30)]
    two = [cast(100 + n, f"r{n}", 2, "b") for n in range(30)]
    found = evidence.win_rate(one + two, MODELS[0], "1" * 64)
    assert (found.value, found.n) == (0.5, 60)
    assert (found.low, found.high) == (0.0, 1.0)
