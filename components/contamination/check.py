"""From matches to a state for each benchmark: clean, contaminated, or not checked. *Not checked* is never green.

A benchmark is contaminated if any method flagged an item; else it is not checked if a method that the policy requires said nothing;
else it is clean. The same rule makes one state of several benchmarks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator

from components import methods
from components.config import Choice, Config, MethodConfig, each_once
from components.contamination.items import Item, NotChecked, digest
from components.contamination.scan import Job, Match, Scanned, scan
from components.contamination.suite import Benchmark

if TYPE_CHECKING:
    from components.contamination.corpus import Source
    from components.inference.endpoint import Chat

State = Literal["clean", "contaminated", "not checked"]
CORPUS = ("exact", "ngram", "minhash", "rephrased")
MODEL = ("min_k", "order")
_EMBEDDING_BYTES = 64 << 10


def _default() -> list[MethodConfig]:
    return [methods.load("contamination", name).Config() for name in CORPUS]


class Policy(Config):
    """What is looked for, and what has to be for a benchmark to be clean.

    Attributes:
        methods: how training data is looked through, each at most once.
        require: methods without which nothing is clean.
        fields: of a training row whose texts count; none takes every text.
    """

    methods: list[Annotated[MethodConfig, Choice("contamination")]] = Field(default_factory=_default)
    require: tuple[str, ...] = CORPUS
    fields: tuple[str, ...] = ()

    @field_validator("methods")
    @classmethod
    def _once(cls, value: list[MethodConfig]) -> list[MethodConfig]:
        each_once([found.method for found in value], "method", "give its settings once")
        return value

    @field_validator("require")
    @classmethod
    def _are_methods(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("something has to be required: what nobody looked for isn't clean")
        if unknown := [name for name in value if name not in (*CORPUS, *MODEL)]:
            raise ValueError(f"there is no method {unknown[0]!r}; there are {', '.join((*CORPUS, *MODEL))}")
        return value


@dataclass(frozen=True)
class Said:
    """What a method says of one benchmark: nothing, with a reason; which of its items it flags; or that it was seen as a whole."""

    checked: bool
    reason: str
    flagged: frozenset[str] = frozenset()
    contaminated: bool = False

    @property
    def state(self) -> State:
        """A flagged item, or a test that speaks of the whole benchmark, makes it contaminated."""
        return "contaminated" if self.flagged or self.contaminated else "clean" if self.checked else "not checked"


@dataclass
class Found:
    """What came of looking.

    Attributes:
        said: by benchmark and method.
        matches: JSON-ready records, one for each item, method and row that is kept.
        rows: rows of the corpus by file.
    """

    said: dict[str, dict[str, Said]] = field(default_factory=dict)
    matches: list[dict[str, Any]] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)


def look(
    benchmarks: Sequence[Benchmark],
    files: Sequence[Source],
    policy: Policy,
    work: Path,
    *,
    workers: int = 1,
    no_corpus: str = "no corpus was given",
    chat: Chat | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Found:
    """Looks for benchmarks' items in a corpus.

    Args:
        work: folder for what is done, so that a run that was broken off goes on.
        workers: processes for all but embeddings.
        no_corpus: why there are no files, if there are none.
        chat: a judge of rephrased items.

    Raises:
        InputError: if the corpus breaks off or a row is wrong; then nothing is said.
    """
    items = [item for benchmark in benchmarks for item in benchmark.items]
    chosen = {config.method: config for config in policy.methods}
    silent = {name: "it was switched off" for name in CORPUS if name not in chosen}
    notes: dict[str, str] = {}
    found = Scanned()
    if not files:
        silent = {name: no_corpus for name in CORPUS}
    else:
        quick = {name: config for name, config in chosen.items() if name != "rephrased"}
        found = scan(files, _job(quick, items, policy, work), workers, on_progress)
        if not sum(found.rows.values()):
            silent |= {name: "the corpus has no rows" for name in CORPUS}
        elif "rephrased" in chosen:
            try:
                notes["rephrased"] = _rephrased(found, chosen["rephrased"], items, files, policy, work, chat)
            except NotChecked as reason:
                silent["rephrased"] = str(reason)
    result = Found(rows=dict(found.rows))
    for benchmark in benchmarks:
        result.said[benchmark.name] = {
            name: Said(False, silent[name]) if name in silent else _said(name, benchmark, found, items, notes.get(name, ""))
            for name in CORPUS
        } | {name: Said(False, "no model was given") for name in MODEL}
    hidden = {benchmark.name for benchmark in benchmarks if benchmark.hidden}
    result.matches = [_record(match, items, found, hidden) for key in sorted(found.matches) for match in found.matches[key]]
    result.matches.sort(key=lambda m: (m["benchmark"], m["position"], CORPUS.index(m["method"])))
    return result


def _job(configs: Mapping[str, MethodConfig], items: Sequence[Item], policy: Policy, work: Path) -> Job:
    parts = {
        "items": digest(items),
        "configs": {name: config.model_dump(mode="json") for name, config in configs.items()},
        "fields": policy.fields,
        "code": methods.code_digest(__name__, *(type(config).__module__ for config in configs.values())),
        "numpy": metadata.version("numpy"),
    }
    fingerprint = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return Job(dict(configs), items, policy.fields, work, fingerprint)


def _rephrased(
    found: Scanned,
    config: Any,
    items: Sequence[Item],
    files: Sequence[Source],
    policy: Policy,
    work: Path,
    chat: Chat | None,
) -> str:
    """Adds what embeddings find; returns a note. Not in other processes: the library brings threads of its own."""
    from components.contamination.judge import confirmed

    rows = sum(found.rows.values())
    if rows > config.max_rows:
        raise NotChecked(f"the corpus has {rows:,} rows, more than max_rows={config.max_rows:,} to embed; raise that and wait")
    more = scan(files, _job({"rephrased": config}, items, policy, work), size=_EMBEDDING_BYTES)
    note = ""
    if chat is not None:
        kept, undecided = confirmed([match for some in more.matches.values() for match in some], items, chat)
        dropped = sum(map(len, more.matches.values())) - len(kept)
        more.matches = {}
        for match in kept:
            more.matches.setdefault((match.method, match.item), []).append(match)
        note = f"the judge {chat.name} called {dropped} pairs different" + (f" and left {undecided} undecided" if undecided else "")
    found.matches |= more.matches
    found.counts |= more.counts
    return note


def _said(method: str, benchmark: Benchmark, found: Scanned, items: Sequence[Item], note: str) -> Said:
    ids = frozenset(items[number].id for number in found.flagged(method) if items[number].benchmark == benchmark.name)
    wordless = [item.id for item in benchmark.items if not item.words]
    if not wordless:
        return Said(True, note, ids)
    count = "1 item holds" if len(wordless) == 1 else f"{len(wordless)} items hold"
    uncompared = f"{count} no word that could be compared, e.g. {wordless[0]!r}"
    return Said(bool(ids), f"{note}; {uncompared}" if note else uncompared, ids)


def _record(match: Match, items: Sequence[Item], found: Scanned, hidden: Collection[str]) -> dict[str, Any]:
    """One line of ``matches.jsonl``: the item and the training row, side by side, unless its benchmark's texts are hidden."""
    item = items[match.item]
    if item.benchmark in hidden:
        item, match = replace(item, text="", choices=()), replace(match, text="")
    return {
        "benchmark": item.benchmark,
        "id": item.id,
        "position": match.item,
        "method": match.method,
        "similarity": match.similarity,
        "how": match.how,
        "file": match.file,
        "split": match.split,
        "row": match.row,
        "rows": found.counts[match.method, match.item],
        "item": _plain(item.text),
        "choices": [_plain(choice) for choice in item.choices],
        "training": match.text,
    }


def _plain(text: str) -> str:
    return text.encode("utf-8", "replace").decode()  # half a surrogate pair can't be written


def summarise(benchmarks: Sequence[Benchmark], found: Found, policy: Policy) -> dict[str, Any]:
    """What a version's evidence says of contamination: ``state``, ``reason`` and the same by benchmark and method."""
    parts = {benchmark.name: _benchmark(benchmark, found.said[benchmark.name], policy) for benchmark in benchmarks}
    state = _worst([part["state"] for part in parts.values()])
    reasons = [f"{name}: {part['reason']}" for name, part in parts.items() if part["state"] == state]
    return {"state": state, "reason": "; ".join(reasons) or "there is no benchmark", "benchmarks": parts}


def _benchmark(benchmark: Benchmark, said: Mapping[str, Said], policy: Policy) -> dict[str, Any]:
    by = {name: {"state": found.state, "reason": found.reason, "flagged": len(found.flagged)} for name, found in said.items()}
    flagged = {item for found in said.values() for item in found.flagged}
    required = [name for name in policy.require if by[name]["state"] == "not checked"]
    names = [name for name, found in said.items() if found.state == "contaminated"]
    state: State = "contaminated" if names else "not checked" if required else "clean"
    if names:
        reason = f"{len(flagged)} of {len(benchmark.items):,} items found in training data ({', '.join(names)})"
        if set(names) <= set(MODEL):
            reason = f"the model shows that it has seen it ({', '.join(names)})"
    elif required:
        reason = "; ".join(f"{name}: {said[name].reason}" for name in required)
    else:
        reason = f"{', '.join(policy.require)} found none of {len(benchmark.items):,} items"
    return {"state": state, "reason": reason, "items": len(benchmark.items), "flagged": len(flagged), "methods": by}


def _worst(states: Sequence[State]) -> State:
    order: tuple[State, ...] = ("contaminated", "not checked", "clean")
    return next((state for state in order if state in states), "not checked")
