"""Our expected attention and cache merging against kvpress 0.5.5, on stories260K and real stories.

kvpress pins another transformers, so it lives in an environment of its own; this script asks it through a child process::

    python3.11 -m venv /tmp/kvpress && /tmp/kvpress/bin/pip install torch==2.13.0
    /tmp/kvpress/bin/pip install kvpress==0.5.5 'transformers==5.2.*'
    PYTHONPATH=. .venv/bin/python tests/benchmarks/kv_peer.py /tmp/kvpress/bin/python
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from components.settings import Settings

RATIOS = (0.25, 0.5, 0.75)
CONTINUED = 64
"""Tokens after each prompt whose perplexity is compared."""

PEER = """
import json, sys, torch
from transformers import AutoModelForCausalLM, DynamicCache
from kvpress import ExpectedAttentionPress
from kvpress.presses.merging_press import MergingPress

job = json.load(open(sys.argv[1]))
model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32).eval()


class Recording(ExpectedAttentionPress):
    def score(self, module, hidden_states, keys, values, attentions, kwargs):
        scores = super().score(module, hidden_states, keys, values, attentions, kwargs)
        kept = max(1, int(keys.shape[2] * (1 - self.compression_ratio)))
        seen.append(scores.topk(kept, dim=-1).indices[0].sort(-1).values.tolist())
        return scores


answers = []
with torch.inference_mode():
    for ids in job["sequences"]:
        n = len(ids) - job["continued"]
        prompt, rest = torch.tensor([ids[:n]]), torch.tensor([ids[n:]])
        for ratio in job["ratios"]:
            seen = []
            press = MergingPress(press=Recording(compression_ratio=ratio))
            cache = DynamicCache()
            with press(model):
                first = model(prompt, past_key_values=cache).logits[:, -1:]
            places = torch.arange(n, n + rest.shape[1] - 1).unsqueeze(0)
            others = model(rest[:, :-1], past_key_values=cache, position_ids=places).logits
            scores = torch.cat([first, others], 1).log_softmax(-1)
            answers.append({"kept": seen, "nats": -scores.gather(-1, rest.unsqueeze(-1)).sum().item()})
print(json.dumps(answers))
"""


def sequences(folder: Path, lengths: tuple[int, ...]) -> list[list[int]]:
    """Token ids of stretches of real stories: prompts of these lengths, each with its continuation."""
    from transformers import AutoTokenizer

    text = (Settings().shared / "data" / "tinystories_sample" / "tinystories.txt").read_text(encoding="utf-8")
    ids = AutoTokenizer.from_pretrained(folder)(text, add_special_tokens=False)["input_ids"]
    begins = [i * (len(ids) // len(lengths)) for i in range(len(lengths))]
    return [[1, *ids[begin : begin + length - 1 + CONTINUED]] for begin, length in zip(begins, lengths, strict=True)]


def ours(model: Any, ids: list[int], method: str, ratio: float) -> tuple[list[list[list[int]]], float]:
    """(kept positions [layers][kv_heads][kept], nats of the continuation)."""
    import torch

    from components import methods
    from components.inference.kv_cache import KVCache

    cache = KVCache(model, methods.load("kv", method).Config(ratio=ratio))
    prompt, rest = ids[:-CONTINUED], ids[-CONTINUED:]
    logits = cache.forward(torch.tensor([prompt]))
    kept = [cache.positions[layer][0].tolist() for layer in sorted(cache.positions)]
    nats = 0.0
    for token in rest:
        nats -= logits.log_softmax(-1)[0, token].item()
        logits = cache.forward(torch.tensor([[token]]))
    return kept, nats


def overlap(a: list[list[list[int]]], b: list[list[list[int]]]) -> float:
    """Share of positions, over layers and heads, that both keep."""
    pairs = [(set(x), set(y)) for la, lb in zip(a, b, strict=True) for x, y in zip(la, lb, strict=True)]
    return sum(len(x & y) for x, y in pairs) / sum(len(y) for _, y in pairs)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", nargs="?", type=Path, help="the peer environment's python")
    parser.add_argument("--lengths", type=int, nargs="+", default=[100, 150, 200, 250, 300, 350, 400, 400])
    arguments = parser.parse_args()
    folder = Settings().shared / "models" / "stories260K"
    if arguments.python is None or not arguments.python.is_file() or not folder.is_dir():
        print("skipped: needs the python of an environment with kvpress 0.5.5, and stories260K below LAPIDAR_SHARED")
        return
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    texts = sequences(folder, tuple(arguments.lengths))
    job = {"model": str(folder.absolute()), "sequences": texts, "continued": CONTINUED, "ratios": RATIOS}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(job, file)
        file.flush()
        done = subprocess.run([arguments.python, "-c", PEER, file.name], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"the peer failed:\n{done.stderr[-3000:]}")
    answers = iter(json.loads(done.stdout.splitlines()[-1]))
    rows: dict[float, list[tuple[float, float, float]]] = {ratio: [] for ratio in RATIOS}
    for ids in texts:
        for ratio in RATIOS:
            peer = next(answers)
            kept, _ = ours(model, ids, "expected_attention", ratio)
            _, nats = ours(model, ids, "merging", ratio)
            rows[ratio].append((overlap(kept, peer["kept"]), nats, peer["nats"]))
    print("| ratio | same positions (goal ≥ 99 %), mean / worst | merging: our perplexity | kvpress | apart (goal ≤ 1 %) |")
    print("| --- | --- | --- | --- | --- |")
    for ratio, found in rows.items():
        same = [x[0] for x in found]
        mine, theirs = (math.exp(sum(x[i] for x in found) / (len(found) * CONTINUED)) for i in (1, 2))
        apart = abs(mine / theirs - 1)
        print(f"| {ratio} | {sum(same) / len(same):.4%} / {min(same):.4%} | {mine:.4f} | {theirs:.4f} | {apart:.5%} |")


if __name__ == "__main__":
    main()
