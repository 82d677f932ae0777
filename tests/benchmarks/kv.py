"""What each KV cache method saves and costs on stories260K: perplexity, recall of a name, bytes, against the ratio.

    PYTHONPATH=. .venv/bin/python tests/benchmarks/kv.py            # prints a table, writes .github/kv.svg

**Perplexity**: real stories; 320 tokens are the prompt, the 64 after them are scored as if decoded one by one.
A prompt holds the ends and beginnings of several stories, so a window that forgets the earlier ones can do better than all.

**Recall**: a story names its hero in its first sentences; then 170 tokens of other real stories go by in which none of the
names stands; then somebody says ``"Thank you,``. The hero's name has to be more probable, by its summed log-likelihood, than
three others of as many tokens. Each filler comes once with each hero, so guessing scores 1/4, and so does whatever a model
prefers without having read the beginning. (Asked for the name outright, "The little dog's name was", this model finds 45 %:
it has learnt to tell stories, not to answer.) A window that has lost the beginning still does better than chance: what later
tokens took over from it before it was evicted stays in their values.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import torch

from components import methods
from components.errors import InputError
from components.inference.kv_cache import KVCache
from components.settings import Settings
from components.statistics import rate

RATIOS = (0.0, 0.25, 0.5, 0.75, 0.9)
NAMES = ("Max", "Sue", "Bob", "Amy")
BEGINNING = "Once upon a time, there was a little girl named {0}. {0} loved to play in the park. {0} was very happy."
QUESTION = ' "Thank you,'
PROMPT, SCORED, TEXTS = 320, 64, 48
FILLER, FILLERS = 170, 40
LABELS = {"expected_attention": "expected attention", "window": "window + sinks", "cam": "CaM", "merging": "merging"}


def perplexity(model: Any, config: Any, rows: torch.Tensor) -> tuple[float, float]:
    """(perplexity of the last tokens, share of the cache's bytes that is saved when the last one has been read)."""
    cache = KVCache(model, config)
    logits = cache.forward(rows[:, :PROMPT])
    nats = []
    for place in range(PROMPT, rows.shape[1]):
        nats.append(torch.nn.functional.cross_entropy(logits, rows[:, place]))
        logits = cache.forward(rows[:, place : place + 1])
    return math.exp(torch.stack(nats).mean().item()), 1 - cache.usage.nbytes / cache.usage.full_nbytes


def recall(model: Any, config: Any, rows: torch.Tensor, names: list[list[int]]) -> tuple[int, int]:
    """(right, items). Row i is a story of hero i modulo the number of names."""
    scores = []
    for name in names:
        cache = KVCache(model, config)
        logits, score = cache.forward(rows), torch.zeros(len(rows))
        for token in name:
            score += logits.log_softmax(-1)[:, token]
            logits = cache.forward(torch.full((len(rows), 1), token))
        scores.append(score)
    heroes = torch.arange(len(rows)) % len(names)
    return int((torch.stack(scores, 1).argmax(1) == heroes).sum()), len(rows)


def material(tokenizer: Any, text: str) -> tuple[torch.Tensor, torch.Tensor, list[list[int]]]:
    """(rows for perplexity, rows for recall, the names' tokens)."""

    def encode(piece: str, before: str = "x") -> list[int]:
        """Tokens of a piece that stands after something else."""
        ids: list[int] = tokenizer(before + piece, add_special_tokens=False)["input_ids"]
        return ids[len(tokenizer(before, add_special_tokens=False)["input_ids"]) :]

    ids = encode(text, "")
    step = (len(ids) - PROMPT - SCORED) // TEXTS
    rows = [[1, *ids[i * step : i * step + PROMPT + SCORED - 1]] for i in range(TEXTS)]
    names = [encode(f" {name}") for name in NAMES]
    begins = [encode(BEGINNING.format(name), "") for name in NAMES]
    if len({len(name) for name in names}) > 1 or len({len(begin) for begin in begins}) > 1:
        raise SystemExit(f"the names have different numbers of tokens: {dict(zip(NAMES, names, strict=True))}")
    filler = encode(" ".join(p for p in text.split("\n\n") if not any(name in p for name in NAMES)), "")
    gap = (len(filler) - FILLER) // FILLERS
    stories = [[1, *begin, *filler[i * gap :][:FILLER], *encode(QUESTION)] for i in range(FILLERS) for begin in begins]
    return torch.tensor(rows), torch.tensor(stories), names


def draw(results: dict[str, list[tuple[float, float, float]]], chance: float, path: Path) -> None:
    """Two panels: perplexity and recall against the share of bytes saved."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    plt.rcParams |= {"svg.hashsalt": "kv", "font.size": 9, "svg.fonttype": "path"}
    figure, panels = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    for (method, points), mark in zip(results.items(), "osD^v", strict=False):
        saved, ppl, found = zip(*sorted(points), strict=True)
        label = LABELS.get(method, method)
        for panel, values in zip(panels, (ppl, found), strict=True):
            panel.plot(saved, values, marker=mark, ls="--" if method == "window" else "-", ms=4, lw=1.2, alpha=0.85, label=label)
    panels[0].set(ylabel="perplexity (lower is better)")
    panels[1].set(ylabel="names recalled", ylim=(0, 1.02))
    panels[1].axhline(chance, color="grey", linewidth=0.8, linestyle=":")
    panels[1].annotate("chance", (0.0, chance), xytext=(0, 3), textcoords="offset points", color="grey")
    for panel in panels:
        panel.set(xlabel="share of the cache's bytes saved", xlim=(-0.02, 0.95))
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(alpha=0.25)
    panels[0].legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Prints the table and writes the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figure", type=Path, default=Path(".github/kv.svg"))
    arguments = parser.parse_args()
    folder = Settings().shared / "models" / "stories260K"
    if not folder.is_dir():
        print(f"skipped: {folder} isn't there; set LAPIDAR_SHARED to the folder with the shared models")
        return
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    text = (Settings().shared / "data" / "tinystories_sample" / "tinystories.txt").read_text(encoding="utf-8")
    rows, stories, names = material(AutoTokenizer.from_pretrained(folder), text)
    results: dict[str, list[tuple[float, float, float]]] = {}
    print(f"{TEXTS} texts; {len(stories)} names to recall over {stories.shape[1]} tokens, chance 1/{len(NAMES)}\n")
    print("| method | ratio | bytes saved | perplexity | names recalled |\n| --- | --- | --- | --- | --- |")
    full = None
    for method in ["full", *(m for m in methods.names("kv") if m != "full")]:
        for ratio in RATIOS if method != "full" else (0.0,):
            try:
                config = methods.load("kv", method).Config(ratio=ratio)
                if ratio or full is None:
                    (ppl, saved), (right, n) = perplexity(model, config, rows), recall(model, config, stories, names)
                else:
                    ppl, saved, right, n = full
            except InputError as error:
                print(f"| {method} | {ratio} | refused: {error} | | |")
                continue
            full = full or (ppl, saved, right, n)
            estimate = rate(right, n)
            shown = f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"
            print(f"| {method} | {ratio} | {saved:.3f} | {ppl:.3f} | {shown} |", flush=True)
            if method != "full":
                results.setdefault(method, []).append((saved, ppl, right / n))
    draw(results, 1 / len(NAMES), arguments.figure)


if __name__ == "__main__":
    main()
