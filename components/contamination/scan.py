"""Goes through a corpus once for all methods: block by block, in several processes, and from where it was broken off.

A block's result is kept in the work folder under the hash of its bytes, so a second run reads it instead of looking again. Of each
item and method the rows that are most similar are kept, and the number of all: memory follows the benchmark, not the corpus.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from components import methods
from components.config import MethodConfig
from components.contamination import wording
from components.contamination.corpus import BLOCK_BYTES, Broken, Raw, Source, blocks, parse
from components.contamination.items import Detector, Item
from components.errors import InputError, StageKilled
from components.main_module import main_hidden

KEPT = 3
"""Rows that are kept for each item and method."""
_SHOWN = 2000
_JOB: list[Job] = []


@dataclass(frozen=True)
class Job:
    """What is looked for.

    Attributes:
        configs: of the methods, by name.
        items: what they look for.
        fields: of a row whose texts count; none takes all.
        work: folder of the blocks' results.
        fingerprint: changes with anything that decides a block's result.
    """

    configs: Mapping[str, MethodConfig]
    items: Sequence[Item]
    fields: tuple[str, ...]
    work: Path
    fingerprint: str

    @cached_property
    def detectors(self) -> dict[str, Detector]:
        """The methods with their indexes, made where they are used: the threads of rensa and torch don't survive a fork."""
        return {name: methods.load("contamination", name).detector(config, self.items) for name, config in self.configs.items()}


@dataclass(frozen=True)
class Match:
    """An item in a row of the corpus. ``text`` is the row, or the part of it around the match."""

    method: str
    item: int
    similarity: float
    how: str
    file: str
    split: str
    row: int
    text: str


@dataclass
class Scanned:
    """What was found.

    Attributes:
        matches: the most similar rows by (method, item), best first.
        counts: how many rows matched, by the same.
        rows: rows of each file.
    """

    matches: dict[tuple[str, int], list[Match]] = field(default_factory=dict)
    counts: dict[tuple[str, int], int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)

    def flagged(self, method: str) -> list[int]:
        """Items that a method found."""
        return sorted(item for name, item in self.matches if name == method)


def scan(
    files: Sequence[Source],
    job: Job,
    workers: int = 1,
    on_progress: Callable[[int], None] | None = None,
    size: int = BLOCK_BYTES,
) -> Scanned:
    """Looks through all files in their order.

    Args:
        workers: processes; 1 stays in this one.
        on_progress: gets the bytes of each block that is done, unpacked.
        size: bytes of a block.

    Raises:
        InputError: if a file breaks off or a row is wrong. Names both, and where the matches before it are kept.
        StageKilled: if a process died.
    """
    found = Scanned()
    job.work.mkdir(parents=True, exist_ok=True)
    for source in files:
        lines = 0
        found.rows[source.name] = 0
        try:
            for length, result in _results(blocks(source, size), job, workers):
                _take(found, source, lines, result)
                if result["problem"] is not None:
                    row = lines + result["at"] + 1
                    raise _stopped(found, job, f"row {row} of {source.path} {result['problem']}")
                lines += result["lines"]
                if on_progress is not None:
                    on_progress(length)
        except Broken as error:
            raise _stopped(found, job, f"{source.path}, behind row {lines}, {error}") from error
        except BrokenProcessPool as error:
            raise StageKilled(
                f"one of {workers} processes that looked through {source.path} behind row {lines} was killed, which is how a "
                "system without free memory ends them; run again: what is checked is kept"
            ) from error
    return found


def _stopped(found: Scanned, job: Job, problem: str) -> InputError:
    rows, items = sum(found.rows.values()), {item for _, item in found.matches}
    place = job.work / "matches-so-far.jsonl"
    lines = [json.dumps({**vars(match)}, sort_keys=True) for matches in found.matches.values() for match in matches]
    place.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return InputError(
        f"{problem}. Nothing is said of the benchmark: only the {rows:,} rows before it were checked ({len(items)} items found, "
        f"see {place}); mend the corpus and run again, what is checked is kept"
    )


def _results(raws: Iterator[Raw], job: Job, workers: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """(bytes, result) of each block in order. What was begun is finished also where the file breaks off."""
    if workers <= 1:
        yield from ((len(raw.data), _block(raw, job)) for raw in raws)
        return
    waiting: deque[tuple[int, Future[dict[str, Any]]]] = deque()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(job,)) as pool:
        broken = None
        while True:
            raw = None
            try:
                raw = next(raws, None)
            except InputError as error:
                broken = error
            if raw is not None:
                with main_hidden():  # a pool starts its processes when it is given work
                    future = pool.submit(_in_child, raw)
                waiting.append((len(raw.data), future))
            while waiting and (raw is None or len(waiting) > workers + 1):
                length, future = waiting.popleft()
                yield length, future.result()
            if raw is None:
                break
    if broken is not None:
        raise broken


def _begin(job: Job) -> None:
    """Sets a child up."""
    _JOB[:] = [job]


def _in_child(raw: Raw) -> dict[str, Any]:
    return _block(raw, _JOB[0])


def _block(raw: Raw, job: Job) -> dict[str, Any]:
    """The result of one block, from the work folder or by looking."""
    key = hashlib.blake2b(raw.data, key=job.fingerprint.encode()[:64], person=raw.kind.encode(), digest_size=20).hexdigest()
    path = job.work / f"{key}.json"
    if path.exists():
        known: dict[str, Any] = json.loads(path.read_bytes())
        return known
    parsed = parse(raw, job.fields)
    hits, counts = [], []
    for method, detect in job.detectors.items():
        mine: dict[int, list[Any]] = {}
        for hit in detect(parsed.block) if parsed.block.rows else ():
            mine.setdefault(hit.item, []).append(hit)
        for item, some in sorted(mine.items()):
            some.sort(key=lambda hit: (-hit.similarity, hit.row))
            counts.append([method, item, len(some)])
            for hit in some[:KEPT]:
                shown = excerpt(parsed.block.texts[hit.row], hit.at)
                hits.append([method, item, round(hit.similarity, 6), hit.how, parsed.numbers[hit.row], shown])
    result = {
        "rows": len(parsed.numbers),
        "lines": parsed.lines,
        "problem": parsed.problem,
        "at": parsed.at,
        "hits": hits,
        "counts": counts,
    }
    part = path.with_suffix(f".part-{os.getpid()}")
    part.write_text(json.dumps(result), encoding="utf-8")
    part.rename(path)
    return result


def _take(found: Scanned, source: Source, lines: int, result: Mapping[str, Any]) -> None:
    """Adds a block's result, keeping the best rows of each item."""
    found.rows[source.name] += result["rows"]
    for method, item, count in result["counts"]:
        found.counts[method, item] = found.counts.get((method, item), 0) + count
    for method, item, similarity, how, line, text in result["hits"]:
        match = Match(method, item, similarity, how, source.name, source.split, lines + line + 1, text)
        best = [*found.matches.get((method, item), []), match]
        best.sort(key=lambda m: -m.similarity)  # stable: of equals the earlier row comes first
        found.matches[method, item] = best[:KEPT]


def excerpt(text: str, at: int) -> str:
    """A row as it is shown: all of it, or what lies around its word ``at``."""
    text = text.encode("utf-8", "replace").decode()
    if len(text) <= _SHOWN:
        return text
    place = next((m.start() for number, m in enumerate(wording.WORD.finditer(text)) if number >= at), 0)
    start = max(0, min(place - _SHOWN // 4, len(text) - _SHOWN))
    end = start + _SHOWN
    return ("…" if start else "") + text[start:end] + ("…" if end < len(text) else "")
