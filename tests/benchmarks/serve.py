"""Our server against ``transformers serve --continuous-batching``: concurrent chats on the same model in the same run.

Every chat is a client of its own that streams greedy answers, one after the other, to prompts that nobody else sends. The servers
run one at a time, in turns; each is warm before it is timed. Tokens are counted in the text that came, the same way for both.
``memory.py --server`` shows what ours holds over thousands of requests.

Usage: ``serve.py [--model FOLDER] [--chats 16] [--tokens 200] [--answers 3] [--repeats 3]``; prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from components.models.chat import PLAIN
from components.settings import Settings

WORDS = (
    "dog",
    "cat",
    "tree",
    "boat",
    "girl",
    "king",
    "ball",
    "bird",
    "house",
    "moon",
    "fish",
    "cake",
    "star",
    "frog",
    "hat",
    "bear",
)


@dataclass(frozen=True)
class Measured:
    """One round: tokens a second of all chats together, and seconds to first tokens."""

    rate: float
    first: list[float]


def command(name: str, model: Path, port: int) -> list[str]:
    if name == "ours":
        return [sys.executable, "-m", "flows.cli", "serve", f"model={model}", "--port", str(port)]
    theirs = [str(Path(sys.executable).with_name("transformers")), "serve", str(model), "--continuous-batching"]
    # Without these it takes most of the machine's memory for its cache, and a CPU is minutes at that.
    theirs += ["--cb-block-size", "32", "--cb-num-blocks", "512", "--cb-max-batch-tokens", "512"]
    return [*theirs, "--device", "cpu", "--port", str(port), "--host", "127.0.0.1", "--log-level", "error"]


@contextmanager
def running(name: str, model: Path, home: Path, threads: int) -> Iterator[tuple[str, str, int]]:
    """(URL, the model's name there, process id) of a server that is warm."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    limits = {"OMP_NUM_THREADS": str(threads), "LAPIDAR_THREADS": str(threads), "LAPIDAR_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    with (home / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command(name, model, port), env=os.environ | limits, stdout=log, stderr=log)
    url, known = f"http://127.0.0.1:{port}", "model" if name == "ours" else str(model)
    try:
        limit = time.monotonic() + 180
        while True:
            try:
                if httpx.get(f"{url}/health", timeout=5).status_code == 200:
                    break
            except httpx.TransportError:
                pass
            if process.poll() is not None or time.monotonic() > limit:
                raise SystemExit(f"{name} didn't start:\n{(home / f'{name}.log').read_text()[-3000:]}")
            time.sleep(0.1)
        yield url, known, process.pid
    finally:
        for each in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
            each.kill()
        process.wait()


def body(model: str, number: int, tokens: int) -> dict[str, Any]:
    said = f"Tell a story about a {WORDS[number % len(WORDS)]} and {number} friends."
    messages = [{"role": "user", "content": said}]
    return {"model": model, "messages": messages, "max_tokens": tokens, "temperature": 0, "stream": True}


def stream(client: httpx.Client, url: str, request: dict[str, Any]) -> tuple[str, float]:
    """(text, seconds to its first piece)."""
    start, first, pieces = time.perf_counter(), None, []
    with client.stream("POST", f"{url}/v1/chat/completions", json=request) as answer:
        if answer.status_code != 200:
            raise SystemExit(f"{answer.status_code}: {answer.read().decode()[:500]}")
        for line in answer.iter_lines():
            if not line.startswith("data: {"):
                continue
            choices = json.loads(line[6:])["choices"]
            if choices and (text := choices[0]["delta"].get("content")):
                first = first or time.perf_counter() - start
                pieces.append(text)
    return "".join(pieces), first or float("nan")


def round_of(url: str, model: str, chats: int, answers: int, tokens: int, tokenizer: Any, begin: int) -> Measured:
    def chat(number: int) -> list[tuple[str, float]]:
        with httpx.Client(timeout=300) as client:
            return [stream(client, url, body(model, begin + number + chats * i, tokens)) for i in range(answers)]

    with ThreadPoolExecutor(chats) as threads:
        start = time.perf_counter()
        said = [answer for found in threads.map(chat, range(chats)) for answer in found]
        seconds = time.perf_counter() - start
    counted = sum(len(tokenizer.encode(text, add_special_tokens=False)) for text, _ in said)
    return Measured(counted / seconds, [first for _, first in said])


def compare(model: Path, home: Path, arguments: argparse.Namespace) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(model))
    contenders = {"ours": ("ours", 1), "theirs, 1 thread": ("theirs", 1), "theirs, 2 threads": ("theirs", 2)}
    found: dict[str, list[Measured]] = {name: [] for name in contenders}
    for repeat in range(arguments.repeats):
        order = list(contenders) if repeat % 2 == 0 else list(reversed(contenders))
        for name in order:
            kind, threads = contenders[name]
            with running(kind, model, home, threads) as (url, known, _):
                round_of(url, known, arguments.chats, 1, 20, tokenizer, 10_000)
                found[name].append(
                    round_of(url, known, arguments.chats, arguments.answers, arguments.tokens, tokenizer, 1000 * repeat)
                )
            last = found[name][-1]
            first = statistics.median(last.first)
            print(f"{name}: {last.rate:,.0f} tokens/s, first token after {first:.3f} s", file=sys.stderr, flush=True)
    print(f"\n{arguments.chats} chats, {arguments.answers} answers of at most {arguments.tokens} tokens each, {model.name}:\n")
    print("| server | tokens/s (median of rounds) | rounds | first token, median | 95 % |\n| --- | --- | --- | --- | --- |")
    for name, rounds in found.items():
        first = sorted(value for each in rounds for value in each.first)
        rates = ", ".join(f"{each.rate:,.0f}" for each in rounds)
        middle, late = statistics.median(first), first[int(0.95 * (len(first) - 1))]
        print(f"| {name} | {statistics.median(each.rate for each in rounds):,.0f} | {rates} | {middle:.3f} s | {late:.3f} s |")
    best = max(statistics.median(each.rate for each in found[name]) for name in found if name != "ours")
    print(f"\nratio to their best: {statistics.median(each.rate for each in found['ours']) / best:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Settings().shared / "models" / "stories260K")
    parser.add_argument("--chats", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--answers", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that a killed benchmark ends its servers
    with tempfile.TemporaryDirectory() as scratch:
        model = Path(scratch, arguments.model.name)
        shutil.copytree(arguments.model, model)
        if not (model / "chat_template.jinja").exists():
            (model / "chat_template.jinja").write_text(PLAIN, encoding="utf-8")
        compare(model, Path(scratch), arguments)


if __name__ == "__main__":
    main()
