from __future__ import annotations

import doctest
import json
import random

import pytest
from sklearn.metrics import cohen_kappa_score

from components.errors import LapidarError
from components.judges import agreement as module
from components.judges.agreement import agreement
from components.judges.items import calibration_file, read_calibration
from components.settings import Settings

SHARED = Settings().shared


def test_the_example_in_the_docstring_holds() -> None:
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("seed", range(5))
def test_kappa_is_that_of_scikit_learn(seed: int) -> None:
    draws = random.Random(seed)
    one = [draws.choice("abt") for _ in range(60)]
    other = [value if draws.random() < 0.6 else draws.choice("abt") for value in one]
    found = agreement(one, other).kappa
    assert found.value == pytest.approx(cohen_kappa_score(one, other))
    assert found.low < found.value < found.high


def test_the_interval_covers_the_true_kappa() -> None:
    """Two raters that agree by design in 0.6 + 0.4 / 2 of the cases: kappa 0.6."""
    covered = 0
    for seed in range(200):
        draws = random.Random(seed)
        one = [draws.choice("ab") for _ in range(100)]
        other = [value if draws.random() < 0.6 else draws.choice("ab") for value in one]
        found = agreement(one, other, seed).kappa
        covered += found.low <= 0.6 <= found.high
    assert covered >= 180


def test_raters_that_can_only_agree_show_nothing_beyond_chance() -> None:
    assert agreement("aaaa", "aaaa").kappa.value == 0


def test_raters_of_different_items_are_refused() -> None:
    with pytest.raises(LapidarError, match="3 verdicts can't be held against 2"):
        agreement("aab", "ab")


@pytest.mark.skipif(not (SHARED / "data" / "pandalm").is_dir(), reason="the shared data isn't there; set LAPIDAR_SHARED")
def test_the_stored_verdicts_of_gpt_3_5_on_pandalm_have_a_known_kappa() -> None:
    """697 of 999 verdicts are what most of three people said; 25 hold none ("garbage") and agree with nobody."""
    items = read_calibration(calibration_file("pandalm", SHARED))
    stored = json.loads((SHARED / "data" / "pandalm" / "gpt-3.5-turbo-testset-v1.json").read_bytes())
    said = [{"1": "a", "2": "b", "Tie": "tie"}.get(row["gpt_result"]) for row in stored]
    assert [item.id for item in items] == [str(row["idx"]) for row in stored]
    found = agreement(said, [item.label for item in items])
    assert (found.rate.n, said.count(None)) == (999, 25)
    assert found.rate.value == pytest.approx(697 / 999)
    assert found.kappa.value == pytest.approx(0.4755, abs=5e-5)
    assert found.kappa.low == pytest.approx(0.43, abs=0.02)
    assert found.kappa.high == pytest.approx(0.52, abs=0.02)
    parsed = [(mine, item.label) for mine, item in zip(said, items, strict=True) if mine is not None]
    assert agreement(*zip(*parsed, strict=True)).kappa.value == pytest.approx(0.4929, abs=5e-5)
    people = [
        agreement([i.labels[x] for i in items], [i.labels[y] for i in items]).kappa.value for x, y in ((0, 1), (0, 2), (1, 2))
    ]
    assert people == pytest.approx([0.8520, 0.8789, 0.8617], abs=5e-5)
