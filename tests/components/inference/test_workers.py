"""Requests shared by processes give what one process gives, and the processes end with the one that forked them."""

from __future__ import annotations

import gc
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from components.inference import engine as engines
from components.inference.engine import Engine, Sampling
from components.inference.workers import Workers, split


@pytest.fixture(scope="module")
def parts(stories260k: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(stories260k, dtype=torch.float32).eval(), AutoTokenizer.from_pretrained(stories260k)


@pytest.fixture
def shared(parts: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setattr(engines, "_LEAST_COST", 1)
    return Engine(*parts, processes=2)


def prompts(count: int) -> list[list[int]]:
    draw = random.Random(0)
    return [[1, *(draw.randrange(3, 512) for _ in range(draw.randint(1, 30)))] for _ in range(count)]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def helper(engine: Engine) -> int:
    assert engine._workers is not None
    return engine._workers._children[0][0]


def ended(pid: int) -> bool:
    limit = time.monotonic() + 10
    while alive(pid) and time.monotonic() < limit:
        time.sleep(0.02)
    return not alive(pid)


@pytest.mark.parametrize("sampling", [Sampling(12), Sampling(12, temperature=1.0, n=3, seed=5, stop=(".",))])
def test_answers_and_progress_are_those_of_one_process(parts: tuple[Any, Any], shared: Engine, sampling: Sampling) -> None:
    told: list[tuple[int, int]] = []
    shared.on_progress = lambda done, total: told.append((done, total))
    assert shared.generate(prompts(20), sampling) == Engine(*parts, processes=1).generate(prompts(20), sampling)
    assert alive(helper(shared))
    assert told[-1] == (20 * sampling.n, 20 * sampling.n)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_scores_are_those_of_one_process(parts: tuple[Any, Any], shared: Engine) -> None:
    pairs = [(prompt, [token, 7]) for prompt in prompts(15) for token in range(40, 44)]
    alone = Engine(*parts, processes=1).loglikelihood(pairs)
    for (value, greedy), (expected, right) in zip(shared.loglikelihood(pairs), alone, strict=True):
        assert value == pytest.approx(expected, rel=1e-6)
        assert greedy == right
    assert alive(helper(shared))


def test_a_helper_that_was_killed_is_made_up_for(parts: tuple[Any, Any], shared: Engine) -> None:
    expected = shared.generate(prompts(10), Sampling(8))
    pid = helper(shared)
    os.kill(pid, signal.SIGKILL)
    assert shared.generate(prompts(10), Sampling(8)) == expected
    assert shared.generate(prompts(10), Sampling(8)) == expected
    assert helper(shared) != pid


def test_helpers_know_weights_that_were_changed(parts: tuple[Any, Any], shared: Engine) -> None:
    pairs = [(prompt, [40, 7]) for prompt in prompts(15)]
    before = shared.loglikelihood(pairs)
    weight = parts[0].model.norm.weight
    with torch.no_grad():
        weight.mul_(2)
    try:
        after = shared.loglikelihood(pairs)
        alone = Engine(*parts, processes=1).loglikelihood(pairs)
    finally:
        with torch.no_grad():
            weight.div_(2)
    assert [value for value, _ in after] == pytest.approx([value for value, _ in alone], rel=1e-6)
    assert all(abs(a[0] - b[0]) > 1e-3 for a, b in zip(after, before, strict=True))


def test_threads_are_as_before(shared: Engine) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        shared.generate(prompts(10), Sampling(4))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_helpers_end_with_their_engine(shared: Engine) -> None:
    shared.generate(prompts(10), Sampling(4))
    made, pid = shared._workers, helper(shared)
    shared._workers = None
    del made
    gc.collect()
    assert ended(pid)


def double(job: Any, requests: list[int], done: Callable[[int], None]) -> list[int]:
    if job in requests:
        raise ValueError(f"{job} is refused")
    done(len(requests))
    return [2 * request for request in requests]


def test_an_exception_of_a_helper_is_raised_here() -> None:
    workers = Workers(double, 1)
    pid = workers._children[0][0]
    with pytest.raises(ValueError, match="3 is refused"):
        workers.run(double, 3, [[1, 2], [3, 4]], lambda more: None)
    assert ended(pid)


def test_busy_helpers_die_with_a_process_that_is_killed() -> None:
    script = (
        "import os, time; from components.inference.workers import Workers\n"
        "def work(job, requests, done):\n"
        "    os.write(1, b'%d\\n' % os.getpid()); time.sleep(60)\n"
        "Workers(work, 1).run(work, 0, [[1], [2]], print)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]
    ) as process:
        assert process.stdout is not None
        pid = next(pid for _ in range(2) if (pid := int(process.stdout.readline())) != process.pid)
        assert alive(pid)
        process.kill()
    assert ended(pid)


def test_shares_cost_about_the_same_and_keep_equal_contexts_together() -> None:
    contexts = [prompt for prompt in prompts(200) for _ in range(3)]
    shares = split(contexts, [10] * len(contexts), 1, 4)
    assert sorted(i for share in shares for i in share) == list(range(600))
    owners = {tuple(contexts[i]): share for share, mine in enumerate(shares) for i in mine}
    assert all(owners[tuple(contexts[i])] == share for share, mine in enumerate(shares) for i in mine)
    assert len(shares) == 4
    assert all(100 <= len(share) <= 200 for share in shares)


def test_little_work_is_not_shared() -> None:
    assert split([[1], [2], [3]], [10] * 3, 17, 4) == [[0, 1, 2]]
    assert split([], [], 17, 4) == [[]]
