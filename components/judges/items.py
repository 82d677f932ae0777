"""What is judged: prompts, stored answers, and pairs that people have judged.

JSON Lines, one object a line::

    prompts      {"id": "a1", "prompt": "Name a prime.", "reference": "e.g. 7"}
    answers      {"id": "a1", "prompt": "Name a prime.", "answer": "7", "author": "qwen2.5-7b"}
    calibration  {"id": "a1", "prompt": "Name a prime.", "a": "7", "b": "8", "labels": ["a", "a", "tie"]}

``id``, ``reference``, ``author`` may be absent; a calibration row may have ``label`` in place of ``labels``, and ``author_a``,
``author_b``. PandaLM's and LLMBar's own JSON files are read as they are.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.data import records
from components.errors import InputError
from components.judges.verdicts import Side

_SIDES: dict[Any, Side] = {"a": "a", "b": "b", "tie": "tie"}
_NUMBERED: dict[Any, Side] = {1: "a", 2: "b", 0: "tie"}
BUILT_IN = {
    "pandalm": "pandalm/testset-v1.json",
    "llmbar-natural": "llmbar/llmbar_Natural.json",
    "llmbar-mt-bench": "llmbar/processed_MT-Bench.json",
}
"""Calibration sets by name, below ``data/`` of the shared folder."""


@dataclass(frozen=True)
class Prompt:
    """What models answer."""

    id: str
    text: str
    reference: str | None = None


@dataclass(frozen=True)
class Answers:
    """One model's answers: ``texts`` by the prompt's id, and who wrote each, where that is known."""

    name: str
    texts: Mapping[str, str]
    authors: Mapping[str, str | None]


@dataclass(frozen=True)
class Item:
    """Two answers to one prompt, and what people said about them.

    Attributes:
        pair: which two models, by their places; items of one pair share it.
        labels: one verdict for each person; empty where nobody was asked.
    """

    id: str
    prompt: str
    a: str
    b: str
    reference: str | None = None
    author_a: str | None = None
    author_b: str | None = None
    labels: tuple[Side, ...] = ()
    pair: str = "0-1"

    @property
    def label(self) -> Side | None:
        """What most of the people said; None where no verdict has more voices than each other."""
        counts = Counter(self.labels).most_common(2)
        if not counts or (len(counts) == 2 and counts[0][1] == counts[1][1]):
            return None
        return counts[0][0]


def read_prompts(path: Path) -> list[Prompt]:
    """The prompts of a JSON Lines file, or of the held-out split of a dataset's folder: its single questions, no conversations.

    Raises:
        InputError: naming file, row and field; also if two rows share an id.
    """
    file = path / "heldout.jsonl" if path.is_dir() else path
    found = {}
    for number, row in enumerate(records.read(file), 1):
        if path.is_dir() and isinstance(row.get("prompt"), list):
            continue
        text = _text(row, "prompt", number, file, "a prompt needs 'prompt', and may have 'id' and 'reference'")
        prompt = Prompt(_id(row, text), text, row.get("reference"))
        if prompt.id in found:
            raise InputError(f"{records.place(number, file)} has the id {prompt.id!r} of another row; give every prompt its own")
        found[prompt.id] = prompt
    return list(found.values())


def read_answers(path: Path, prompts: Sequence[Prompt]) -> Answers:
    """Stored answers to exactly these prompts; what else the file holds is left out.

    Raises:
        InputError: if an answer is missing, or answers another prompt than the one of its id.
    """
    texts: dict[str, str] = {}
    authors: dict[str, str | None] = {}
    known = {prompt.id: prompt for prompt in prompts}
    for number, row in enumerate(records.read(path), 1):
        prompt = _text(row, "prompt", number, path, "a stored answer needs 'prompt' and 'answer', and may have 'id' and 'author'")
        key = _id(row, prompt)
        if not isinstance(answer := row.get("answer"), str):
            raise InputError(f"{records.place(number, path)} has no 'answer'; a stored answer needs 'prompt' and 'answer'")
        if key not in known:
            continue
        if known[key].text != prompt:
            raise InputError(
                f"{records.place(number, path)} answers another prompt than the one with its id {key!r}; "
                "both sides must answer the same prompts"
            )
        if key in texts:
            raise InputError(f"{records.place(number, path)} answers the prompt {key!r} once more; keep one answer to a prompt")
        texts[key], authors[key] = answer, row.get("author")
    if missing := [prompt.id for prompt in prompts if prompt.id not in texts]:
        raise InputError(
            f"{path} answers {len(texts)} of {len(prompts)} prompts; the first without an answer is {missing[0]!r}: "
            "every side must answer the same prompts"
        )
    return Answers(path.stem, texts, authors)


def pairs(prompts: Sequence[Prompt], sides: Sequence[Answers]) -> list[Item]:
    """Every prompt's answers of every two models, first model first."""
    return [
        Item(
            prompt.id,
            prompt.text,
            one.texts[prompt.id],
            other.texts[prompt.id],
            prompt.reference,
            one.authors[prompt.id] or one.name,
            other.authors[prompt.id] or other.name,
            pair=f"{i}-{i + 1 + j}",
        )
        for i, one in enumerate(sides)
        for j, other in enumerate(sides[i + 1 :])
        for prompt in prompts
    ]


def calibration_file(name: str, shared: Path) -> Path:
    """The file of a calibration set: one of ``BUILT_IN`` by name, else a path.

    Raises:
        InputError: if it isn't there.
    """
    path = shared / "data" / BUILT_IN[name] if name in BUILT_IN else Path(name)
    if not path.is_file():
        have = ", ".join(BUILT_IN)
        raise InputError(f"calibration set {path} isn't there; give a file, or one of {have} (below LAPIDAR_SHARED)")
    return path


def read_calibration(path: Path) -> list[Item]:
    """Pairs with people's verdicts.

    Raises:
        InputError: if a row has no prompt, answer or label, or two share an id; names file, row and field.
    """
    if path.suffix == ".json":
        try:
            rows = json.loads(path.read_bytes())
        except ValueError as error:
            raise InputError(f"{path} isn't valid JSON ({error}); fetch it again") from error
    else:
        rows = list(records.read(path))
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{path} holds no list of objects; {_CALIBRATION}")
    found: dict[str, Item] = {}
    for number, row in enumerate(rows, 1):
        item = _calibrated(row, number, path)
        if item.id in found:
            raise InputError(f"{records.place(number, path)} has the id {item.id!r} of another row; give every pair its own")
        found[item.id] = item
    return list(found.values())


_CALIBRATION = "a calibration row needs 'prompt', 'a', 'b' and 'label' (a, b or tie) or 'labels'"


def _calibrated(row: Mapping[str, Any], number: int, path: Path) -> Item:
    if "response1" in row:  # PandaLM: cmp_key names the authors in the answers' order; six answers are the truth value true
        authors = str(row.get("cmp_key", "_")).split("_")
        given = "\n\n".join(part for part in (row.get("instruction"), row.get("input")) if part)
        labels = [row.get(f"annotator{person}") for person in (1, 2, 3)]
        a, b = (str(answer) if isinstance(answer, bool) else answer for answer in (row["response1"], row.get("response2")))
        row = {"id": row.get("idx"), "prompt": given, "a": a, "b": b, "numbers": labels}
        row |= {"author_a": authors[0], "author_b": authors[-1]}
    elif "output_1" in row:  # LLMBar
        row = {"prompt": row.get("input"), "a": row["output_1"], "b": row.get("output_2"), "numbers": [row.get("label")]}
    prompt, a, b = (_text(row, field, number, path, _CALIBRATION, blank=field != "prompt") for field in ("prompt", "a", "b"))
    given_labels = row["numbers"] if "numbers" in row else row.get("labels", [row.get("label")])
    known = _NUMBERED if "numbers" in row else _SIDES
    if not isinstance(given_labels, list) or not given_labels or any(label not in known for label in given_labels):
        raise InputError(f"{records.place(number, path)} has labels {given_labels!r}; {_CALIBRATION}")
    return Item(
        str(row["id"]) if row.get("id") is not None else str(number),
        prompt,
        a,
        b,
        row.get("reference"),
        row.get("author_a"),
        row.get("author_b"),
        tuple(known[label] for label in given_labels),
    )


def _text(row: Mapping[str, Any], field: str, number: int, path: Path, needs: str, blank: bool = False) -> str:
    value = row.get(field)
    if not isinstance(value, str) or not (blank or value.strip()):
        raise InputError(f"{records.place(number, path)} has no '{field}'; {needs}")
    return value


def _id(row: Mapping[str, Any], text: str) -> str:
    """A row's id, or the beginning of its prompt's sha256."""
    return str(row["id"]) if row.get("id") is not None else hashlib.sha256(text.encode()).hexdigest()[:16]
