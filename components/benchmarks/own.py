"""A team's own set: a file of questions with answers, and a rule that scores.

JSONL (also gzip), JSON, CSV, Parquet or a dataset on disk. A row has ``prompt`` and ``answer``, perhaps ``id`` and ``group``; for
``multiple_choice`` also ``options``, for ``exact`` and ``contains`` the answer may be a list, each of which is right::

    {"id": "t1", "prompt": "Which port does the service listen on?", "answer": ["8080", "port 8080"], "group": "operations"}

The file becomes a DVC version below the home before the evaluation begins; a changed file is another version. Without a ``name``
the set is called like its file.

- ``exact``: the answer, trimmed and without regard to case or full stops at its end;
- ``contains``: the right answer stands in it as whole words;
- ``numeric``: the number in its last box, the one behind "the answer is", or its last number, see ``decimal``;
- ``math_verify``: its last formula or number, compared as mathematics;
- ``multiple_choice``: the option's letter, by likelihood or from a generated answer;
- ``judge``: another model's score against the answer, see ``components.benchmarks._judge``.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from components.artifacts import Inputs
from components.benchmarks._choices import LETTERS, ChoiceConfig, likelihood_task
from components.benchmarks._judge import RUBRICS, verdicts
from components.benchmarks._numerals import Mark, number
from components.benchmarks._scorers import SCORERS, numeric
from components.benchmarks._source import Source, choices, letter, text
from components.benchmarks._task import MAIN, Graded, scores_of, share, stored_task
from components.data.records import Record

Scorer = Literal["exact", "contains", "numeric", "math_verify", "multiple_choice", "judge"]


class Config(ChoiceConfig):
    """A team's own set.

    Attributes:
        path: its file, from the working folder.
        scorer: how an answer is scored.
        examples: file of solved rows for ``shots``.
        judge: for ``scorer: judge``: ``URL#model`` or a model's folder.
        rubric: version of the judge's prompt.
        decimal: for ``scorer: numeric``: how the set and its answers write decimals, ``"."`` (1,234.5) or ``","`` (1.234,5). It
            decides about numbers with one separator before three digits (``1.234``); where it isn't set they are read in the
            English way, and an answer that would be right in the other way only counts as unparsed, not as another number.
            Numbers that a file holds as numbers, not as text, are what they are.
    """

    method: Literal["own"] = "own"
    path: str = Field(min_length=1)
    scorer: Scorer = "exact"
    examples: str | None = None
    judge: str | None = None
    rubric: str = "reference-1"
    decimal: Mark | None = None
    max_new_tokens: int = Field(256, ge=1)
    cot: bool = False

    @model_validator(mode="after")
    def _judge_is_named(self) -> Config:
        if (self.scorer == "judge") != (self.judge is not None):
            raise ValueError("'judge' names the judging model of scorer: judge, and of no other scorer")
        if self.judge is not None and self.n > 1:
            raise ValueError(f"n={self.n}: a judged set has one answer an item")
        if self.rubric not in RUBRICS:
            raise ValueError(f"rubric {self.rubric!r} isn't known; there are {', '.join(RUBRICS)}")
        if self.decimal is not None and self.scorer != "numeric":
            raise ValueError("'decimal' is for scorer: numeric")
        if self.form == "likelihood" and self.scorer != "multiple_choice":
            raise ValueError("form: likelihood is for scorer: multiple_choice")
        return self

    @property
    def label(self) -> str:
        """Its name, or that of its file."""
        return self.name or _stem(self.path)

    @property
    def more_examples(self) -> str:
        """See StoredConfig."""
        return "name a file with more solved rows in 'examples'"

    def stored(self) -> str:
        """The file's name and a hash of where it lies and how it is read: two sets may have files of one name. What is in
        the file is told apart by its md5.
        """
        parts = f"{self.path}\0{self.examples}\0{self.scorer}\0{self.judge}" + (f"\0{self.decimal}" if self.decimal else "")
        return f"{_stem(self.path)}-{hashlib.sha256(parts.encode()).hexdigest()[:8]}"


def _stem(path: str) -> str:
    """A file's name without its endings, in the characters that a benchmark's name may have.

    >>> _stem("sets/Häufige Fragen.v2.jsonl.gz"), _stem("問題.csv"), _stem("sets/ports/")
    ('Haufige-Fragen-v2', 'own', 'ports')
    """
    bare = re.sub(r"(\.(jsonl|ndjson|json|csv|parquet))?(\.gz)?$", "", Path(path).name, flags=re.IGNORECASE)
    plain = unicodedata.normalize("NFKD", bare).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_-]+", "-", plain).strip("-_")[:48] or "own"


def task(config: Config, inputs: Inputs, tokenizer: Any) -> dict[str, Any]:
    """The harness's task config."""
    steps = "\nThink step by step, then give the answer." if config.cot else ""
    fields: dict[str, Any] = {
        "doc_to_text": lambda row: f"{row['prompt']}{steps}",
        "doc_to_target": lambda row: row["answer"][0],
        "fewshot_config": {"doc_to_target": lambda row: row["answer"][0]},
    }
    if config.form == "likelihood":
        fields["fewshot_config"] = {"doc_to_target": lambda row: row["answer"][0]}
        return likelihood_task(
            config,
            inputs,
            tokenizer,
            labels=lambda row: LETTERS[: len(row["options"])],
            right=lambda row: LETTERS.index(row["answer"][0]),
            **fields,
        )
    made = stored_task(config, inputs, _grade(config), (MAIN,), **fields)
    return _judged(made, config, inputs) if config.scorer == "judge" else made


def _grade(config: Config) -> Any:
    rule = SCORERS[config.scorer] if config.decimal is None else partial(numeric, decimal=config.decimal)

    def grade(row: Record, answer: str) -> Graded:
        right, found = rule(row["answer"], answer, row.get("options", ()))
        return Graded({MAIN: float(right)}, found)

    return grade


_ROW: Record = {"id": "t1", "prompt": "How many ports are open?", "answer": "2"}
SAMPLES: dict[str, Record] = {**dict.fromkeys(SCORERS, _ROW), "multiple_choice": {**_ROW, "options": ["1", "2"]}}
"""A row of each scorer's set."""


def _judged(settings: dict[str, Any], config: Config, inputs: Inputs) -> dict[str, Any]:
    """The same task with all its answers judged at once, before they are scored one by one."""

    def judge(answers: Iterable[Sequence[str]], rows: Sequence[Record]) -> list[list[float | None]]:
        lists = [list(of_item) for of_item in answers]
        asked = [(row["prompt"], row["answer"][0], str(a)) for row, of_item in zip(rows, lists, strict=True) for a in of_item]
        found = iter(verdicts(str(config.judge), config.rubric, asked, inputs.kept(config.label)))
        return [[next(found) for _ in of_item] for of_item in lists]

    def results(row: Record, found: Sequence[Sequence[float | None]]) -> dict[str, Any]:
        graded = [Graded({MAIN: value or 0.0}, None if value is None else f"{value:.3f}") for value in found[0]]
        return {**scores_of(graded), "parsed": share(graded), "extracted": [g.extracted for g in graded]}

    return {**settings, "filter_list": [{"name": "all", "filter": [{"function": "custom", "filter_fn": judge}]}]} | {
        "process_results": results
    }


def source_of(config: Config) -> Source:
    """How rows of the set's file become items."""
    own = "the team's own"
    return Source(
        item=lambda row: _item(row, config.scorer, config.decimal), sample=SAMPLES[config.scorer], about=config.path, licence=own
    )


def _item(row: Record, scorer: str, decimal: Mark | None) -> Record:
    prompt = text(row, "prompt", "question")
    if scorer == "multiple_choice":
        options = choices(row, "options", "choices")
        right = [letter(row, options, "answer", "answer_index")]
        listed = "\n".join(f"{LETTERS[i]}. {option}" for i, option in enumerate(options))
        prompt = f"{prompt}\n{listed}\nAnswer:"
        return {"id": _name(row), "group": _group(row), "prompt": prompt, "options": options, "answer": right}
    given = row.get("answer")
    if scorer == "numeric" and isinstance(given, float) and math.isfinite(given):
        row = {**row, "answer": _written(given, decimal)}
    if isinstance(given, list) and scorer not in ("exact", "contains"):
        raise ValueError(f"'answer' is a list, which scorers exact and contains take; scorer: {scorer} takes one answer")
    targets = given if isinstance(given, list) else [text(row, "answer")]
    targets = [text({"answer": target}, "answer") for target in targets]
    if not targets:
        raise ValueError("'answer' is an empty list, expected at least one right answer")
    if scorer == "numeric" and (wrong := [target for target in targets if number(target, decimal) is None]):
        raise ValueError(f"'answer' is {wrong[0]!r}, expected a number for scorer: numeric")
    return {"id": _name(row), "group": _group(row), "prompt": prompt, "answer": targets}


def _written(value: float, decimal: Mark | None) -> str:
    """A number of the file as the set writes numbers.

    >>> _written(1.234, ","), _written(1.234, None), _written(1e-7, None), _written(1200.0, ",")
    ('1,234', '1.234', '0.0000001', '1200')
    """
    plain = f"{Decimal(repr(value)):f}".removesuffix(".0")
    return plain.replace(".", ",") if decimal == "," else plain


def _name(row: Record) -> str | None:
    return None if row.get("id") is None else str(row["id"])


def _group(row: Record) -> str | None:
    return None if row.get("group") is None else str(row["group"])
