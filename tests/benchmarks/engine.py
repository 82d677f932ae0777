"""Our engine against lm-evaluation-harness's own Hugging Face backend, side by side: throughput and equal answers.

Multiple choice with ten options (MMLU-Pro's questions) without and with five examples, 48-token answers to SVAMP's problems,
and answers of mixed lengths with early stops to GSM8K's; on stories260K and on a micro base of the quickstart's shape, trained
for a few seconds so that its answers end. The backend runs at each batch size on a part of the requests; the best one then
runs in turns with ours on all of them. Start-up (load, first pass) is timed apart.

Usage: ``engine.py [--repeats 3] [--items 96] [--only stories260K|micro] [--case "48 tokens" …]``; prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from components.settings import Settings

BATCHES = (16, 64, 128)
LETTERS = "ABCDEFGHIJ"
SHARED = Settings().shared / "data"


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (SHARED / name).read_text(encoding="utf-8").split("\n") if line]


def stem(item: dict[str, Any]) -> str:
    options = "".join(f"{letter}. {option}\n" for letter, option in zip(LETTERS, item["options"], strict=True))
    return f"Question: {item['question']}\n{options}Answer:"


def letters(contexts: list[str]) -> list[tuple[str, str]]:
    return [(context, f" {letter}") for context in contexts for letter in LETTERS]


def options(items: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(f"Question: {item['question']}\nAnswer:", f" {option}") for item in items for option in item["options"]]


def cases(tokenizer: Any, context: int, count: int, draw: random.Random) -> dict[str, tuple[str, list[Any]]]:
    """Name → (kind, requests' arguments); only items that fit into the context with their examples."""
    items = [item for item in rows("mmlu_pro/mmlu_pro_test.jsonl") if len(item["options"]) == 10]
    draw.shuffle(items)
    sized = [(item, len(tokenizer.encode(stem(item)))) for item in items[:4000]]
    fitting = [item for item, size in sized if size + 4 <= context][:count]
    # The shortest questions are the examples; in 512 tokens only three of them leave room for a question.
    shots = 5 if context > 600 else 3
    short = [item for item, _ in sorted(sized, key=lambda pair: pair[1])]
    header = "".join(f"{stem(item)} {LETTERS[item['answer_index']]}\n\n" for item in short[:shots])
    room = context - len(tokenizer.encode(header)) - 4
    behind = [item for item in short[shots:] if len(tokenizer.encode(stem(item))) <= room][: 4 * count]
    draw.shuffle(behind)
    svamp = [f"{row['Body']} {row['Question']}" for row in rows("math_eval/svamp.jsonl")]
    gsm8k = [row["question"] for row in rows("gsm8k/test.jsonl")]
    draw.shuffle(gsm8k)
    plain = {"until": [], "max_gen_toks": 48}
    mixed = [{"until": ["\n\n", "Question:", ". "], "max_gen_toks": limit} for limit in (16, 48, 96)]
    fits = [text for text in gsm8k if len(tokenizer.encode(f"Question: {text}\nAnswer:")) + 96 <= context]
    return {
        "ten letters": ("loglikelihood", letters([stem(item) for item in fitting])),
        "ten option texts": ("loglikelihood", options(fitting[: count // 2])),
        f"ten letters, {shots} examples": ("loglikelihood", letters([header + stem(item) for item in behind[:count]])),
        "48 tokens": ("generate_until", [(f"Question: {text}\nAnswer:", plain) for text in svamp[: 3 * count]]),
        "16 to 96 tokens, stops": (
            "generate_until",
            [(f"Question: {text}\nAnswer:", mixed[i % 3]) for i, text in enumerate(fits[: 2 * count])],
        ),
    }


def run(lm: Any, kind: str, arguments: list[Any]) -> tuple[list[Any], float]:
    from lm_eval.api.instance import Instance

    requests = [Instance(kind, {}, args, 0) for args in arguments]
    began = time.perf_counter()
    found = getattr(lm, kind)(requests, disable_tqdm=True)
    return found, time.perf_counter() - began


def best_batch(backend: Any, kind: str, arguments: list[Any], group: int) -> int:
    """The backend's fastest batch size, on a part of the requests."""
    rates = {}
    for size in BATCHES:
        part = arguments[: max(2 * group, min(len(arguments), 4 * size * (group // 5 or 1), 320))]
        backend.batch_size_per_gpu = size
        rates[size] = len(part) / run(backend, kind, part)[1]
    return max(rates, key=lambda size: rates[size])


def stories() -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = Settings().shared / "models" / "stories260K"
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval(), AutoTokenizer.from_pretrained(folder)


def micro(context: int = 1536, steps: int = 60) -> tuple[Any, Any]:
    """The quickstart's micro base with a longer context, trained on GSM8K's solutions for a few seconds."""
    import torch

    from components.models.sources.pretrain import Config, new_model, train_tokenizer

    texts = [f"Question: {row['question']}\nAnswer: {row['answer']}" for row in rows("gsm8k/train.jsonl")[:1500]]
    config = Config(hidden_size=128, intermediate_size=256, layers=3, heads=4, kv_heads=4, context=context)
    tokenizer = train_tokenizer(texts, config)
    torch.manual_seed(0)
    model = new_model(config, tokenizer)
    ids = torch.tensor([i for text in texts for i in [*tokenizer.encode(text), tokenizer.eos_token_id]])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(steps):
        batch = ids[step * 1024 : (step + 1) * 1024].view(8, 128)
        loss = model(batch, labels=batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval(), tokenizer


@contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - began


def measure(name: str, load: Callable[[], tuple[Any, Any]], count: int, repeats: int, only: list[str] | None) -> None:
    from lm_eval.models.huggingface import HFLM

    from components.inference.engine import Engine
    from components.inference.harness import EngineLM

    start: dict[str, float] = {}
    with timed(start, "load"):
        model, tokenizer = load()
    warm = [("Question: What is it?\nAnswer:", " A")] * 2
    with timed(start, "backend"):
        backend = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, device="cpu")
        run(backend, "loglikelihood", warm)
    with timed(start, "ours"):
        ours = EngineLM(Engine(model, tokenizer), chat=False)
        run(ours, "loglikelihood", warm)
    context = ours.engine.context
    print(f"<!-- {name}: start-up {json.dumps({k: round(v, 2) for k, v in start.items()})} s, context {context} -->", flush=True)
    for case, (kind, arguments) in cases(tokenizer, context, count, random.Random(0)).items():
        if only and case not in only:
            continue
        size = best_batch(backend, kind, arguments, 10 if kind == "loglikelihood" else 1)
        backend.batch_size_per_gpu = size
        seconds: dict[str, list[float]] = {"backend": [], "ours": []}
        for _ in range(repeats):
            theirs, took = run(backend, kind, arguments)
            seconds["backend"].append(took)
            found, took = run(ours, kind, arguments)
            seconds["ours"].append(took)
        slow, fast = (len(arguments) / statistics.median(seconds[side]) for side in ("backend", "ours"))
        if kind == "loglikelihood":
            equal = sum(a[1] == b[1] for a, b in zip(found, theirs, strict=True)) / len(found)
            same = f"{max(abs(a[0] - b[0]) for a, b in zip(found, theirs, strict=True)):.1e} | {equal:.1%} greedy flags"
        else:
            same = f"– | {sum(str(a) == b for a, b in zip(found, theirs, strict=True)) / len(found):.1%} texts"
        print(
            f"| {name} | {case} | {len(arguments)} | {slow:,.0f} (batch {size}) | {fast:,.0f} | {fast / slow:.1f} | {same} |",
            flush=True,
        )


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--items", type=int, default=96)
    parser.add_argument("--case", action="append", help="only these; all if not given")
    parser.add_argument("--only", choices=["stories260K", "micro"])
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    print("| model | requests | number | backend/s | ours/s | ratio | largest difference in nats | equal |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, load in {"stories260K": stories, "micro": micro}.items():
        if options.only in (None, name):
            measure(name, load, options.items, options.repeats, options.case)


if __name__ == "__main__":
    main()
