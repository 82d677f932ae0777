"""Whether memory stays flat over 10,000 small requests of every kind: of one decoder alone, or of a server with all its processes.

A decoder that remembers earlier turns gets greedy, drawn, constrained, compressed and cancelled requests. A server gets, 16 at
once: chats whole and streamed, stop strings, log-probabilities, JSON schemas, several answers, tools, compressed caches, plain
completions, clients that leave in the middle, and requests that are refused.

Usage: ``memory.py [--server] [--requests 10000] [--model FOLDER]``; prints the resident memory along the way, in MiB. What the
first tenth takes (tables, kernels, the memory of earlier turns filling up) isn't counted as growth.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
from serve import body, running

from components.inference.constraints import Constraint
from components.inference.engine import Engine, Sampling
from components.inference.kv.expected_attention import Config
from components.models.chat import PLAIN
from components.settings import Settings

AT_ONCE = 16
CHAT = "/v1/chat/completions"
KINDS = {"whole", "stream", "stop", "logprobs", "schema", "answers", "tool", "compressed", "plain", "left", "refused", "malformed"}


def resident(*processes: psutil.Process) -> float:
    """Of some processes, or of this one, in MiB."""
    return sum(process.memory_info().rss for process in processes or (psutil.Process(),)) / (1 << 20)


def decoder(model: Path, requests: int) -> None:
    """One decoder by itself."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    engine = Engine(AutoModelForCausalLM.from_pretrained(model, dtype="float32"), tokenizer)
    decoder = engine.decoder(batch_tokens=8192)
    decoder.remember = True
    draw, began, start = random.Random(0), time.perf_counter(), 0.0
    constraint = Constraint.json_schema(tokenizer, {"type": "array", "items": {"type": "boolean"}, "maxItems": 3})
    tenth = max(requests // 10, 1)
    sent = tokens = done = 0
    now: set[int] = set()
    while sent < requests or not decoder.idle:
        while sent < requests and len(now) < AT_ONCE:
            prompt = [draw.randrange(3, len(tokenizer)) for _ in range(draw.randint(4, 60))]
            sampling = Sampling(draw.randint(1, 16), temperature=sent % 2 * 0.8, seed=sent)
            kind = {"constraint": constraint} if sent % 10 == 3 else {"logprobs": 3} if sent % 10 == 5 else {}
            if sent % 10 == 7:
                now.add(decoder.submit(prompt, sampling, kv=Config(ratio=0.5)))
            else:
                now.add(decoder.submit(prompt, sampling, **kind))
            sent += 1
            if sent % 10 == 9:
                gone = next(iter(now))
                decoder.cancel(gone)
                now.discard(gone)
                done += 1
            if sent % tenth == 0:
                start = resident() if sent == tenth else start
                print(f"{sent:6} requests  {resident():7.1f} MiB  {time.perf_counter() - began:6.1f} s", flush=True)
        for event in decoder.step():
            tokens += 1
            if event.completion is not None:
                now.discard(event.request)
                done += 1
    print(f"{done} requests, {tokens} tokens; growth after the first tenth: {resident() - start:+.1f} MiB")


def asked(kind: str, model: str, number: int) -> tuple[str, Any, int]:
    """(route, body, status that it has to get) of a request unlike all others of its kind."""
    chat = body(model, number, 8) | {"stream": kind in ("stream", "left", "stop"), "temperature": number % 2 * 0.8}
    schema = {"type": "object", "properties": {f"a{number}": {"type": "boolean"}}, "additionalProperties": False}
    function = {"name": f"f{number}", "parameters": {"type": "object", "properties": {"x": {"type": "boolean"}}}}
    more: dict[str, dict[str, Any]] = {
        "stop": {"stop": [f"{number}", "the"]},
        "logprobs": {"logprobs": True, "top_logprobs": 5},
        "schema": {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}},
        "answers": {"n": 3, "temperature": 1.0},
        "tool": {"tools": [{"type": "function", "function": function}], "tool_choice": "required"},
        "compressed": {"lapidar": {"kv": {"method": "expected_attention", "ratio": 0.5}}},
        "left": {"max_tokens": 300},
        "refused": {"model": f"nobody-{number}@champion"},
    }
    if kind == "plain":
        plain = {"model": model, "prompt": [f"Once {number}", f"There was {number}"], "max_tokens": 8, "logprobs": 2}
        return "/v1/completions", plain, 200
    if kind == "malformed":
        return CHAT, chat | {f"field{number}": number, "messages": "x" * (number % 50_000)}, 400
    return CHAT, chat | more.get(kind, {}), 404 if kind == "refused" else 200


def send(client: httpx.Client, url: str, model: str, number: int, kind: str) -> None:
    """One request to its end, or to its third chunk where the client leaves.

    Raises:
        SystemExit: if it is answered otherwise than it has to be.
    """
    route, content, status = asked(kind, model, number)
    with client.stream("POST", url + route, json=content) as answer:
        said = b"".join(itertools.islice(answer.iter_bytes(), 3 if kind == "left" else None))
    if answer.status_code != status:
        raise SystemExit(f"{kind}: {answer.status_code}, not {status}: {said[:500].decode()}")


def server(model: Path, requests: int) -> None:
    """``lapidar serve`` and the process of its model."""
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        served = home / model.name
        shutil.copytree(model, served)
        if not (served / "chat_template.jinja").exists():
            (served / "chat_template.jinja").write_text(PLAIN, encoding="utf-8")
        with running("ours", served, home, 1) as (url, known, pid):
            front = psutil.Process(pid)
            _watch(url, known, front, requests)


def _watch(url: str, known: str, front: psutil.Process, requests: int) -> None:
    kinds, tenth, took, sent = sorted(KINDS), max(requests // 10, 1), time.perf_counter(), Counter[str]()
    lock, numbers, measured = threading.Lock(), iter(range(requests)), list[tuple[float, float]]()
    (back,) = front.children()

    def share(_: int) -> None:
        with httpx.Client(timeout=120) as client:
            while True:
                with lock:
                    if (number := next(numbers, None)) is None:
                        return
                    kind = kinds[number % len(kinds)]
                    sent[kind] += 1
                    if number and number % tenth == 0:
                        note(number)
                send(client, url, known, number, kind)

    def note(number: int) -> None:
        measured.append((resident(front), resident(back)))
        seconds, (http, held) = time.perf_counter() - took, measured[-1]
        print(
            f"{number:6} requests  HTTP {http:6.1f}  model {held:6.1f}  both {http + held:6.1f} MiB  {seconds:6.1f} s", flush=True
        )

    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(share, range(AT_ONCE)))
    note(requests)
    grown = [end - begin for begin, end in zip(measured[0], measured[-1], strict=True)]
    print(f"{json.dumps(dict(sent))}; growth after the first tenth: HTTP {grown[0]:+.1f}, model {grown[1]:+.1f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", action="store_true")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--model", type=Path, default=Settings().shared / "models" / "stories260K")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that a killed benchmark ends its server
    (server if options.server else decoder)(options.model, options.requests)


if __name__ == "__main__":
    main()
