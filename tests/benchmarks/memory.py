"""Whether memory stays flat: 10,000 small requests of every kind through one decoder that remembers earlier turns.

Usage: ``memory.py [--requests 10000] [--model FOLDER]``; prints the resident memory along the way, in MiB. What the first tenth
takes (tables, kernels, the memory of earlier turns filling up) isn't counted as growth.
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path

from components.inference.constraints import Constraint
from components.inference.engine import Engine, Sampling
from components.inference.kv.expected_attention import Config
from components.settings import Settings

AT_ONCE = 16


def resident() -> float:
    """Of this process, in MiB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--model", type=Path, default=Settings().shared / "models" / "stories260K")
    options = parser.parse_args()
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(options.model)
    engine = Engine(AutoModelForCausalLM.from_pretrained(options.model, dtype="float32"), tokenizer)
    decoder = engine.decoder(batch_tokens=8192)
    decoder.remember = True
    draw, began, start = random.Random(0), time.perf_counter(), 0.0
    constraint = Constraint.json_schema(tokenizer, {"type": "array", "items": {"type": "boolean"}, "maxItems": 3})
    tenth = max(options.requests // 10, 1)
    sent = tokens = done = 0
    running: set[int] = set()
    while sent < options.requests or not decoder.idle:
        while sent < options.requests and len(running) < AT_ONCE:
            prompt = [draw.randrange(3, len(tokenizer)) for _ in range(draw.randint(4, 60))]
            sampling = Sampling(draw.randint(1, 16), temperature=sent % 2 * 0.8, seed=sent)
            kind = {"constraint": constraint} if sent % 10 == 3 else {"logprobs": 3} if sent % 10 == 5 else {}
            if sent % 10 == 7:
                running.add(decoder.submit(prompt, sampling, kv=Config(ratio=0.5)))
            else:
                running.add(decoder.submit(prompt, sampling, **kind))
            sent += 1
            if sent % 10 == 9:
                gone = next(iter(running))
                decoder.cancel(gone)
                running.discard(gone)
                done += 1
            if sent % tenth == 0:
                start = resident() if sent == tenth else start
                print(f"{sent:6} requests  {resident():7.1f} MiB  {time.perf_counter() - began:6.1f} s", flush=True)
        for event in decoder.step():
            tokens += 1
            if event.completion is not None:
                running.discard(event.request)
                done += 1
    print(f"{done} requests, {tokens} tokens; growth after the first tenth: {resident() - start:+.1f} MiB")


if __name__ == "__main__":
    main()
