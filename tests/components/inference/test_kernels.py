"""The compiled kernels against torch's operations, and steps through them against transformers; where there are none, torch's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from components.inference import kernels as source
from components.inference.caches import Prefix, Slots
from components.inference.engine import Engine, Sampling
from components.inference.kernels import STRIDE, Kernels, compiled
from components.settings import Settings

EPS = 1e-5


@pytest.fixture(scope="module")
def kernels() -> Kernels:
    return compiled(Settings().compiled)


def normed(hidden: torch.Tensor) -> torch.Tensor:
    return hidden * torch.rsqrt(hidden.square().mean(-1, keepdim=True) + EPS)


@pytest.mark.parametrize(("rows", "size"), [(1, 16), (7, 60), (130, 64)])
def test_norms_are_torchs(kernels: Kernels, rows: int, size: int) -> None:
    torch.manual_seed(rows)
    table, more = torch.randn(50, size), torch.randn(rows, size)
    tokens = torch.randint(0, 50, (rows,))
    hidden, found = torch.empty(rows, size), torch.empty(rows, size)
    kernels.start(tokens.numpy(), table.numpy(), np.float32(EPS), hidden.numpy(), found.numpy())
    assert torch.equal(hidden, table[tokens])
    torch.testing.assert_close(found, normed(table[tokens]), atol=1e-6, rtol=1e-5)
    kernels.add_norm(hidden.numpy(), more.numpy(), np.float32(EPS), found.numpy())
    torch.testing.assert_close(hidden, table[tokens] + more)
    torch.testing.assert_close(found, normed(table[tokens] + more), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 30.0, 200.0])  # at 200 exp leaves float32's range
def test_the_gate_is_torchs(kernels: Kernels, scale: float) -> None:
    torch.manual_seed(0)
    both, out = torch.randn(9, 2 * 43) * scale, torch.empty(9, 43)
    kernels.gate(both.numpy(), np.empty(43, np.int32), out.numpy())
    gate, up = both.double().chunk(2, -1)
    torch.testing.assert_close(out.double(), torch.nn.functional.silu(gate) * up, atol=1e-6, rtol=2e-6)


class Step:
    """One layer's attention of random rows, by the kernel and by torch."""

    def __init__(self, lengths: list[int], heads: int, kv_heads: int, width: int, norms: bool, loud: float = 1.0) -> None:
        torch.manual_seed(len(lengths) + heads)
        self.lengths, self.heads, self.kv_heads, self.width = torch.tensor(lengths), heads, kv_heads, width
        room = (max(lengths) // STRIDE + 1) * STRIDE + 16
        self.qkv = torch.randn(len(lengths), (heads + 2 * kv_heads) * width) * loud
        self.keys, self.values = (torch.randn(len(lengths) + 1, kv_heads, width, room) * loud for _ in range(2))
        self.norms = torch.rand(heads + kv_heads if norms else 0, width)
        angles = torch.rand(max(lengths) + 1, width // 2) * 6
        self.turns = torch.stack([angles.cos(), angles.sin()], -1)

    def found(self, kernels: Kernels) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        keys, values, room = self.keys.clone(), self.values.clone(), self.keys.shape[-1]
        out = torch.empty(len(self.lengths), self.heads * self.width)
        kernels.attend(
            self.qkv.clone().numpy(), self.norms.numpy(), np.float32(EPS), self.turns.numpy(), self.lengths.numpy(),
            keys.numpy(), values.numpy(), np.empty(room, np.float32), np.empty(room, np.int32), out.numpy(),
        )  # fmt: skip
        return out, keys, values

    def expected(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        every = self.qkv.view(len(self.qkv), -1, self.width)
        turned, new = every[:, : self.heads + self.kv_heads], every[:, self.heads + self.kv_heads :]
        if len(self.norms):
            turned = normed(turned) * self.norms
        turns = torch.view_as_complex(self.turns)[self.lengths].unsqueeze(1)
        pairs = torch.view_as_complex(turned.reshape(*turned.shape[:-1], -1, 2))
        turned = torch.view_as_real(pairs * turns).flatten(-2)
        keys, values, out = self.keys.clone(), self.values.clone(), torch.empty(len(self.qkv), self.heads, self.width)
        for row, held in enumerate(self.lengths.tolist()):
            keys[row, :, :, held], values[row, :, :, held] = turned[row, self.heads :], new[row]
            for head in range(self.heads):
                kept = head // (self.heads // self.kv_heads)
                weights = (turned[row, head] @ keys[row, kept, :, : held + 1]).softmax(-1)
                out[row, head] = values[row, kept, :, : held + 1] @ weights
        return out.flatten(1), keys, values

    def check(self, kernels: Kernels) -> None:
        for found, expected in zip(self.found(kernels), self.expected(), strict=True):
            torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)


ROWS = {"one": [5], "first token": [0, 3], "borders": [STRIDE - 1, STRIDE, STRIDE + 1], "many": [(i * 37) % 301 for i in range(80)]}


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize(("heads", "kv_heads", "width", "norms"), [(4, 4, 32, False), (8, 4, 8, False), (6, 2, 12, True)])
def test_attention_is_torchs(kernels: Kernels, rows: str, heads: int, kv_heads: int, width: int, norms: bool) -> None:
    Step(ROWS[rows], heads, kv_heads, width, norms).check(kernels)


def test_attention_with_scores_far_apart_is_torchs(kernels: Kernels) -> None:
    Step([100, 7], 4, 2, 16, False, loud=8).check(kernels)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("for t in range(held + 1, seen):", "for t in range(held + 2, seen):"),  # sees what an earlier sequence left
        ("head // group", "head % kv_heads"),
        ("a * sin + b * cos", "a * sin - b * cos"),
        ("scale * norms[head, i]", "scale"),
        ("values[row, head, i, held] =", "values[row, head, i, held - 1] ="),
        ("x = max((scores[t] - most)", "x = max((scores[t] - scores[0])"),
    ],
)
def test_a_fault_in_attention_is_seen(line: str, fault: str, tmp_path: Path) -> None:
    """The kernel's text with one thing wrong, run as Python."""
    text = Path(source.__file__).read_text(encoding="utf-8")
    assert line in text
    spoilt: dict[str, Any] = {"__name__": "spoilt"}
    exec(compile(text.replace(line, fault), "spoilt", "exec"), spoilt)
    step, right = Step([9, 70, 3], 4, 2, 8, True, loud=6), {"__name__": "right"}
    exec(compile(text, "right", "exec"), right)
    with np.errstate(all="ignore"):
        step.check(Kernels(**{name: right[name] for name in Kernels._fields}))
        with pytest.raises(AssertionError, match="not close"):
            step.check(Kernels(**{name: spoilt[name] for name in Kernels._fields}))


def engine_of(folder: Path) -> Engine:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return Engine(model, AutoTokenizer.from_pretrained(folder), processes=1)


def greedy(engine: Engine, texts: list[str], tokens: int) -> list[list[int]]:
    found = engine.generate([engine.tokenizer(text).input_ids for text in texts], Sampling(max_new_tokens=tokens))
    return [completion.ids for completion in found]


def generated(engine: Engine, text: str, tokens: int) -> list[int]:
    ids = torch.tensor([engine.tokenizer(text).input_ids])
    out = engine.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False, pad_token_id=0)
    return list(out[0, ids.shape[1] :].tolist())


TEXTS = ["Once upon a time", "Lily saw a dog. " * 6, "One day", "The sun"]


def steps_of(engine: Engine) -> Any:
    forward = engine.decoder().forward
    assert forward.packs
    assert forward.fused is not None
    return forward.fused.steps


def test_greedy_answers_are_generates_and_cross_the_slots_borders(stories260k: Path) -> None:
    engine = engine_of(stories260k)
    assert steps_of(engine) is not None
    assert greedy(engine, TEXTS, 90) == [generated(engine, text, 90) for text in TEXTS]


def test_rows_that_grow_past_their_slots_get_larger_ones() -> None:
    """What is behind a stride isn't room: kernels read whole strides, and past the last one somebody else's memory."""
    slots, prefix = Slots(1, STRIDE), Prefix([(torch.randn(2, 10, 4), torch.randn(2, 10, 4))], 10)
    for room in (STRIDE - 4, STRIDE, STRIDE + 4, 2 * STRIDE, 2 * STRIDE + 1):
        slots.put(0, prefix, room)
        (layer,) = slots.layers
        assert slots.tokens >= room
        assert slots.tokens % STRIDE == 0
        assert layer.keys.shape[2] == layer.values.shape[2] >= slots.tokens
        assert torch.equal(layer.keys[0, :, :10], prefix.layers[0][0])


def test_a_token_behind_the_slots_is_refused(stories260k: Path) -> None:
    engine = engine_of(stories260k)
    decoder = engine.decoder()
    decoder.submit(engine.tokenizer(TEXTS[0]).input_ids, Sampling(4))
    decoder.step()
    slots = decoder._slots
    with pytest.raises(IndexError, match=f"token {slots.tokens} is put into slots of {slots.tokens}"):
        steps_of(engine).step(slots, [1], [slots.tokens])


def test_kernels_that_disagree_are_not_used(stories260k: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_of(stories260k)
    fused = engine.decoder().forward.fused
    assert fused is not None
    assert fused.steps is not None
    right = fused.steps._kernels
    silent = right._replace(gate=lambda both, powers, out: out.fill(0))
    monkeypatch.setattr(fused.steps, "_kernels", silent)
    assert steps_of(engine) is None
    assert greedy(engine, TEXTS, 20) == [generated(engine, text, 20) for text in TEXTS]


def test_without_numba_torch_steps(stories260k: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    for name in ("kernels", "stepping"):
        monkeypatch.delitem(sys.modules, f"components.inference.{name}")
    engine = engine_of(stories260k)
    assert steps_of(engine) is None
    assert greedy(engine, TEXTS, 20) == [generated(engine, text, 20) for text in TEXTS]


LOADS = """
import sys
from pathlib import Path
from components.inference.kernels import compiled
print(sum(sum(kernel.stats.cache_hits.values()) for kernel in compiled(Path(sys.argv[1]))))
"""


@pytest.mark.slow
def test_machine_code_is_kept_between_processes_and_never_beside_the_source(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    beside = set(Path(source.__file__).parent.rglob("*.nb?"))
    blocked = tmp_path / "blocked"
    blocked.write_text("a file, so no folder can be made here")

    def hits(folder: Path) -> int:
        command = [sys.executable, "-c", LOADS, str(folder)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=300)
        return int(done.stdout)

    assert [hits(tmp_path / "kept"), hits(tmp_path / "kept")] == [0, len(Kernels._fields)]
    assert [hits(blocked / "kept"), hits(blocked / "kept")] == [0, 0]
    assert set(Path(source.__file__).parent.rglob("*.nb?")) == beside
