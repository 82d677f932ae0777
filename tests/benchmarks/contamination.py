"""What contamination checks cost and find, on the shared data.

    python tests/benchmarks/contamination.py throughput 100 1000    # MB of corpus against MMLU-Pro, 50 planted items
    python tests/benchmarks/contamination.py rephrased              # threshold against recall and false alarms

``throughput`` runs the command itself in a process of its own and watches the memory of it and its children.
"""

from __future__ import annotations

import csv
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from components.settings import Settings

DATA = Settings().shared / "data"
PLANTED = 50
METHODS = "exact,ngram,minhash"
COMMAND = [sys.executable, "-m", "flows.cli", "contamination", "--json", "--show", "100000"]


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_bytes().split(b"\n") if line]


def throughput(sizes: list[int]) -> None:
    """Seconds, peak memory and planted items found for corpora of so many MB."""
    questions = rows("mmlu_pro/mmlu_pro_test.jsonl")
    for size in sizes:
        with tempfile.TemporaryDirectory() as scratch:
            corpus, planted = Path(scratch) / "corpus.jsonl", make(Path(scratch) / "corpus.jsonl", size, questions)
            began = time.perf_counter()
            found, peak = watched(
                [*COMMAND, str(corpus), str(DATA / "mmlu_pro/mmlu_pro_test.jsonl"), "--methods", METHODS, "--require", METHODS],
                Path(scratch) / "home",
            )
            seconds = time.perf_counter() - began
            flagged = {match["id"] for match in found["matches"]}
            by = {n: m["flagged"] for n, m in found["benchmarks"]["mmlu_pro_test"]["methods"].items()}
            print(
                f"{corpus.stat().st_size / 1e6:,.0f} MB, {sum(found['rows'].values()):,} rows: {seconds:.1f} s, "
                f"peak {peak / 2**20:,.0f} MiB, "
                f"{len(planted & flagged)} of {len(planted)} planted items found, {len(flagged - planted)} others; {by}",
                flush=True,
            )


def make(path: Path, size: int, questions: list[dict[str, Any]]) -> set[str]:
    """Writes a corpus of sentences of real texts in ever new order, with items in other layout in between."""
    rng = random.Random(0)
    texts = [row["question"] + " " + row["answer"] for row in rows("gsm8k/train.jsonl")]
    texts += [row["problem"] + " " + row["solution"] for row in rows("math_eval/math500.jsonl")]
    texts += [(DATA / "tinystories_sample/tinystories.txt").read_text()]
    texts += [row["generated_text"] for row in rows("mmlu_pro/outputs_llama31_8b_instruct_first500.jsonl")]
    sentences = [part for text in texts for part in text.replace("\n", " ").split(". ") if part]
    long = [q for q in questions if len(q["question"].split()) >= 6]
    chosen = rng.sample(long, PLANTED)
    written, last = 0, 0
    with path.open("w", encoding="utf-8") as file:
        while written < size * 1e6:
            part = rng.choices(sentences, k=rng.randrange(4, 24))
            rng.shuffle(words := part[0].split())
            part[0] = " ".join(words)
            if last < PLANTED and written > (last + 0.5) * size * 1e6 / PLANTED:
                part.insert(len(part) // 2, disguised(chosen[last], last))
                last += 1
            written += file.write(json.dumps({"text": ". ".join(part), "source": "synthetic"}) + "\n")
    return {str(question["question_id"]) for question in chosen}


def disguised(question: dict[str, Any], number: int) -> str:
    """An item as it might stand in a corpus: other white space, markup, case."""
    text = question["question"].strip()
    options = "\n".join(f"{chr(65 + i)}) {option}" for i, option in enumerate(question["options"]))
    shapes = [
        f"\n\nQuestion: {text}\n{options}\nAnswer: {question['answer']}\n\n",
        f"\n\n**{text.upper()}**\n{options}\n\n",
        "\n" + text.replace(" ", "  \n") + "\n" + options + "\n",
    ]
    return shapes[number % len(shapes)]


def watched(command: list[str], home: Path) -> tuple[dict[str, Any], int]:
    """(the command's document, peak of the memory that it and its children have for themselves, in bytes)."""
    import os

    environment = os.environ | {"LAPIDAR_HOME": str(home)}
    with (home.parent / "out.json").open("wb") as out:
        process = psutil.Popen(command, stdout=out, env=environment)
        peak = 0
        while process.poll() is None:
            total = 0
            for one in [process, *process.children(recursive=True)]:
                try:
                    total += one.memory_full_info().pss
                except psutil.Error:
                    continue
            peak = max(peak, total)
            time.sleep(0.5)
    assert process.returncode == 0, process.returncode
    return json.loads((home.parent / "out.json").read_bytes()), peak


def rephrased() -> None:
    """Recall on rephrased MMLU and false alarms on GSM8K's test against its training questions, by threshold."""
    from components.contamination import wording
    from components.contamination.detectors import ngram
    from components.contamination.detectors import rephrased as method
    from components.contamination.items import Block, Item

    sets: dict[str, tuple[list[Item], list[list[str]], list[int]]] = {}
    for name in ("abstract_algebra", "sociology"):
        folder = DATA / "llm_decontaminator"
        table = list(csv.reader((folder / f"{name}_test.csv").open(encoding="utf-8")))
        items = [Item(name, str(i), r[0], tuple(r[1:5]), r[1 + "ABCD".index(r[5])]) for i, r in enumerate(table)]
        texts = [row["text"] for row in rows(f"llm_decontaminator/{name}_test_rephrase_english_filtered_question.jsonl")]
        sets[name] = (items, [[text] for text in texts], [i for i, text in enumerate(texts) if text.strip()])
    train = [[row[field]] for row in rows("gsm8k/train.jsonl") for field in ("question", "answer")]
    test = [Item("gsm8k", str(i), row["question"]) for i, row in enumerate(rows("gsm8k/test.jsonl"))]
    sets["gsm8k"] = (test, train, list(range(len(test))))
    best: dict[tuple[str, bool], np.ndarray[Any, Any]] = {}
    for name, (items, corpus, _) in sets.items():
        if name != "gsm8k":
            hits = list(ngram.detector(ngram.Config(), items)(Block(corpus)))
            print(f"{name}: n-grams find {len({h.item for h in hits})} of {len(sets[name][2])} rephrased items")
        began = time.perf_counter()
        detect = method.detector(method.Config(threshold=0.5, numbers=False), items)
        wanted = [wording.needed(item.text) for item in items]
        for numbers in (True, False):
            best[name, numbers] = np.zeros(len(items))
        for start in range(0, len(corpus), 500):
            for hit in detect(Block(corpus[start : start + 500])):
                if name != "gsm8k" and start + hit.row != hit.item:
                    continue  # recall counts an item's own twin, not a neighbour
                same = wording.has_numbers(corpus[start + hit.row][0], wanted[hit.item])
                for numbers in (True, False) if same else (False,):
                    best[name, numbers][hit.item] = max(best[name, numbers][hit.item], hit.similarity)
        print(f"{name}: {time.perf_counter() - began:.0f} s for {len(items)} items and {len(corpus)} texts", flush=True)
    head = ["threshold", *(f"{name}{'' if numbers else ' (any numbers)'}" for name, numbers in best)]
    print("  ".join(head))
    for threshold in (0.6, 0.65, 0.7, 0.74, 0.75, 0.76, 0.77, 0.78, 0.8, 0.85, 0.9):
        shares = [float((found[sets[name][2]] >= threshold).mean()) for (name, _), found in best.items()]
        print(
            "  ".join(
                [f"{threshold:.2f}".ljust(9), *(f"{share:.3f}".ljust(len(h)) for share, h in zip(shares, head[1:], strict=True))]
            )
        )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["throughput", *sizes]:
            throughput([int(size) for size in sizes] or [100])
        case ["rephrased"]:
            rephrased()
        case _:
            sys.exit(__doc__)
