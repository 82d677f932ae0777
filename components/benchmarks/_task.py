"""What our benchmarks share: a task of lm-evaluation-harness over a held-out split, or over a benchmark's stored data.

A benchmark file holds a ``Config`` and ``task(config, inputs, tokenizer)``, which returns the harness's own task config as a
dictionary. A benchmark of the harness's own is read from its file (``components.benchmarks._harness``) and keeps its prompts,
filters and scoring; only its dataset is ours. Where the items don't come from a recipe's dataset, the file also has a
``SOURCE``: what an item must have and how to get them (``components.benchmarks._source``).

``process_results`` gives one score a metric, ``parsed`` (share of answers that could be read) and ``extracted`` (what was
read). Sample item as a task sees it: its dataset's fields, with ``id`` and ``group``.
"""

from __future__ import annotations

import hashlib
import json
import logging
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import Field, model_validator

from components.artifacts import Inputs, RecordKind
from components.benchmarks import _stored
from components.benchmarks._estimators import expected_majority, pass_at_k
from components.config import MethodConfig
from components.data.records import Record, read
from components.data.separate import normalised
from components.errors import InputError

log = logging.getLogger(__name__)
Scores = dict[str, float]
Pool = list[Record]
_SOLUTION = ("id", "group", "answer", "solution", "cot_content", "target", "src")
MAIN = "accuracy"
"""The metric that a benchmark is compared by."""


class BenchmarkConfig(MethodConfig):
    """What every benchmark has.

    Attributes:
        name: label of its scores, where one benchmark is measured in several ways; default: the benchmark's own name.
        limit: so many items, chosen by a hash of their ids: the same ones whatever the seed, and part of a larger choice.
    """

    name: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    limit: int | None = Field(None, ge=1)

    @property
    def label(self) -> str:
        """What its scores are called."""
        return self.name or self.method

    @property
    def by_likelihood(self) -> bool:
        """Whether it asks how probable given texts are, instead of generating."""
        return False

    def stored(self) -> str | None:
        """Name of the stored data that it reads, or None where it reads the recipe's held-out split."""
        return None


class GenerationConfig(BenchmarkConfig):
    """How a benchmark's answers are generated.

    Attributes:
        max_new_tokens: longer answers are cut and count as truncated.
        temperature: 0 takes the most probable token.
        top_p: draws come from the smallest set of tokens that has this probability.
        n: answers to every item, for ``pass_at_k``, ``maj_at_k`` and ``avg_at_n``.
        k: which ``k`` are estimated from the ``n`` answers; default: 1 and n.
        system: system prompt.
        chat: whether the prompt goes through the model's chat template; without it the model continues plain text.
    """

    max_new_tokens: int = Field(64, ge=1)
    temperature: float = Field(0.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    n: int = Field(1, ge=1)
    k: tuple[int, ...] = ()
    system: str | None = None
    chat: bool = True

    @model_validator(mode="after")
    def _samples_make_sense(self) -> GenerationConfig:
        if self.n > 1 and self.temperature == 0:
            raise ValueError(f"n={self.n} answers at temperature 0 are n times the same one; set a temperature above 0")
        if wrong := [k for k in self.k if not 1 <= k <= self.n]:
            raise ValueError(f"k={wrong[0]} can't be estimated from n={self.n} answers; choose k between 1 and n, or raise n")
        return self

    @property
    def ks(self) -> tuple[int, ...]:
        """The estimated k, in order; none where there is one answer to an item."""
        return () if self.n == 1 else tuple(sorted(set(self.k or (1, self.n))))

    def generation_kwargs(self, until: Iterable[str] = ()) -> dict[str, Any]:
        """The harness's entry."""
        return {
            "until": list(until),
            "max_gen_toks": self.max_new_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
        }


class StoredConfig(GenerationConfig):
    """A benchmark over stored data.

    Attributes:
        shots: solved examples before every item: the same ones in the same order for all (of a group, where the benchmark
            has them by group), drawn with the run's seed from the benchmark's example rows, never an item.
        cot: whether the prompt asks for the steps before the answer.
        by_group: whether the examples come from the item's own group.
    """

    by_group: ClassVar[bool] = False
    max_new_tokens: int = Field(512, ge=1)
    shots: int = Field(0, ge=0)
    cot: bool = True

    def stored(self) -> str | None:
        """See BenchmarkConfig."""
        return self.method

    @property
    def draws(self) -> bool:
        """Whether its examples are drawn from the stored ones, not fixed ones of the benchmark's own."""
        return self.shots > 0

    @property
    def more_examples(self) -> str:
        """How somebody gets more of them, for messages."""
        return f"import examples with `lapidar data benchmark {self.stored()} --from ITEMS --examples EXAMPLES`"


@dataclass(frozen=True)
class Graded:
    """One answer to one item.

    Attributes:
        scores: metric → score; ``accuracy`` is 0 or 1 and what pass@k and maj@k rest on.
        extracted: what was read out of the answer, in a form in which equal answers are equal; None if nothing could be.
    """

    scores: Scores
    extracted: str | None


Grade = Callable[[Record, str], Graded]


def stored_task(
    config: StoredConfig,
    inputs: Inputs,
    grade: Grade,
    metrics: Sequence[str] = (MAIN,),
    *,
    until: Iterable[str] = (),
    pool: Callable[[], Pool] | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """A task that generates ``n`` answers to every stored item and grades each.

    Args:
        config: says how answers are generated.
        inputs: hold the benchmark's data.
        grade: grades one answer; called with the item and the answer's text (of class ``Answer``).
        metrics: names of the scores that ``grade`` gives.
        until: strings that end an answer.
        pool: fixed examples in their order, where the benchmark doesn't draw them from its example rows.
        fields: the harness's settings: ``doc_to_text``, ``doc_to_target``, ``description``, ``fewshot_config``, ``process_docs``…
    """
    return {
        **fields,
        "task": config.label,
        "custom_dataset": stored(config, inputs, pool),
        "test_split": "test",
        "output_type": "generate_until",
        "repeats": config.n,
        "num_fewshot": config.shots,
        "fewshot_config": {**(fields.get("fewshot_config") or {}), **sampler(config)},
        "generation_kwargs": config.generation_kwargs(until),
        **_scoring(config, grade, metrics),
    }


def generation_task(
    config: GenerationConfig,
    inputs: Inputs,
    score: Callable[[Record, str], Scores],
    metrics: Iterable[str],
    **fields: Any,
) -> dict[str, Any]:
    """A task that generates an answer to every held-out prompt and scores it with ``score(row, answer)``.

    Args:
        config: names the task and says how answers are generated.
        inputs: hold the dataset version.
        score: gives one score a metric, and ``parsed``.
        metrics: names of the scores, ``parsed`` left out.
        fields: of a row beside ``id``, ``group``, ``prompt`` and ``answer``, with what stands where a row has none.
    """

    def grade(row: Record, answer: str) -> Graded:
        scores = score(row, answer)
        return Graded({name: scores[name] for name in metrics}, answer if scores["parsed"] else None)

    metrics = tuple(metrics)
    return {
        "task": config.label,
        "custom_dataset": held_out(inputs, "prompts", {"answer": "", **fields}, config.limit),
        "test_split": "test",
        "output_type": "generate_until",
        "repeats": config.n,
        "doc_to_text": _field("prompt"),
        "doc_to_target": _field("answer"),
        "generation_kwargs": config.generation_kwargs(),
        **_scoring(config, grade, metrics),
    }


def _scoring(config: GenerationConfig, grade: Grade, metrics: Sequence[str]) -> dict[str, Any]:
    """The harness's entries that grade all answers of an item."""
    names = [*metrics]
    if config.n > 1 and MAIN in metrics:
        names += [f"avg_at_{config.n}"] + [f"{kind}_at_{k}" for k in config.ks for kind in ("pass", "maj")]

    def process_results(row: Record, answers: Sequence[Sequence[str]]) -> dict[str, Any]:
        graded = [grade(row, answer) for answer in answers[0]]
        return {**scores_of(graded, config.ks), "parsed": share(graded), "extracted": [g.extracted for g in graded]}

    return {
        "filter_list": [{"name": "all", "filter": [{"function": "take_first_k", "k": config.n}]}],
        "process_results": process_results,
        "metric_list": metric_list([*names, "parsed"]),
    }


def scores_of(graded: Sequence[Graded], ks: Sequence[int] = ()) -> Scores:
    """Scores of an item from its graded answers: means, and for each k the estimates of pass@k and maj@k."""
    n = len(graded)
    scores = {name: sum(g.scores[name] for g in graded) / n for name in graded[0].scores}
    if ks and MAIN in scores:
        right = [g.scores[MAIN] > 0 for g in graded]
        scores[f"avg_at_{n}"] = scores[MAIN]
        for k in ks:
            scores[f"pass_at_{k}"] = pass_at_k(n, sum(right), k)
            scores[f"maj_at_{k}"] = expected_majority([(g.extracted, ok) for g, ok in zip(graded, right, strict=True)], k)
    return scores


def share(graded: Sequence[Graded]) -> float:
    """Share of the answers from which something could be read."""
    return sum(g.extracted is not None for g in graded) / len(graded)


def metric_list(names: Iterable[str]) -> list[dict[str, Any]]:
    """The harness's entries for metrics whose value is the mean of the items' scores, and for what was read."""
    means = [{"metric": name, "aggregation": "mean", "higher_is_better": True} for name in names]
    return [*means, {"metric": "extracted", "aggregation": len, "higher_is_better": True}]


def stored(config: StoredConfig, inputs: Inputs, pool: Callable[[], Pool] | None = None) -> Callable[..., Any]:
    """The harness's ``custom_dataset``: the stored items that ``limit`` leaves, and the drawn examples.

    Raises:
        InputError: if there are fewer examples than ``shots`` (of a group, if they are drawn by group).
    """
    data = inputs.benchmark(config.stored() or config.method)

    def load(seed: int = 0, **_: Any) -> dict[str, Any]:
        from datasets import Dataset

        items = _stored.items(data)
        splits = {"test": Dataset.from_list(chosen(items, config.limit))}
        if config.shots and pool is not None:
            splits["examples"] = Dataset.from_list(pool()[: config.shots])
        elif config.shots:
            splits["examples"] = Dataset.from_list(draw(config, _stored.examples(data), items, seed))
        return splits

    return load


def draw(config: StoredConfig, rows: Pool, items: Pool, seed: int = 0) -> Pool:
    """``shots`` of the solved rows in the order in which they stand before every item; none of them is an item.

    Raises:
        InputError: if there are too few.
    """
    shots, by_group = config.shots, config.by_group
    known = {normalised(row_text(item)) for item in items}
    free = [row for row in rows if normalised(row_text(row)) not in known]
    groups = sorted({str(item["group"]) for item in items}) if by_group else [None]
    found = []
    for group in groups:
        mine = [row for row in free if group is None or str(row["group"]) == group]
        if len(mine) < shots:
            where = f" of group {group!r}" if group is not None else ""
            raise InputError(
                f"{config.label}: shots={shots}, but its data has only {len(mine)} solved examples{where} that aren't items; "
                f"lower shots, or {config.more_examples}"
            )
        found += random.Random(f"{seed} few-shot {group or ''}").sample(mine, shots)
    return found


def row_text(row: Record) -> str:
    """All that a row asks, to tell whether two rows are the same: its texts but for id, group and what solves it."""
    return " ".join(str(value) for name, value in sorted(row.items()) if name not in _SOLUTION and isinstance(value, (str, list)))


def chosen(rows: Pool, limit: int | None) -> Pool:
    """The rows that a limit leaves, in their order: those whose ids have the smallest hashes."""
    if limit is None or limit >= len(rows):
        return rows
    order = sorted(range(len(rows)), key=lambda i: hashlib.sha256(str(rows[i]["id"]).encode()).digest())
    return [rows[i] for i in sorted(order[:limit])]


def held_out(inputs: Inputs, kind: RecordKind, fields: dict[str, Any], limit: int | None = None) -> Callable[..., dict[str, Any]]:
    """The harness's ``custom_dataset``: the held-out split in memory, with the fields that the benchmark reads.

    Where a prompt may be a conversation, ``prompt`` is its last question and ``before`` what stands before that, as JSON.

    Raises:
        InputError: if the dataset has no held-out split or one of another kind.
    """
    path = inputs.split("heldout")
    found = inputs.data.splits["heldout"].kind if inputs.data else kind
    if found != kind:
        raise InputError(
            f"the held-out split is of kind {found!r}, this benchmark needs {kind!r}; choose another benchmark or dataset"
        )
    names = {"id": None, "group": None, "prompt": None, **({"before": None} if kind == "preference" else {}), **fields}

    def load(**_: Any) -> dict[str, Any]:
        from datasets import Dataset

        every = list(enumerate(read(path, kind), 1))
        rows = [_row(row, number, names) for number, row in every if not row.get("tools")]
        if len(rows) < len(every):
            log.warning(
                "%d of %d held-out rows have tools: left out, a benchmark's prompts take none", len(every) - len(rows), len(every)
            )
        return {"test": Dataset.from_list(chosen(rows, limit))}

    return load


def _row(row: Record, number: int, names: dict[str, Any]) -> Record:
    kept = {name: row.get(name, default) for name, default in names.items()}
    if isinstance(kept["prompt"], list):
        *before, last = kept["prompt"]
        kept |= {"prompt": last["content"], "before": json.dumps(before, ensure_ascii=False) if before else None}
    kept["id"] = str(number if kept["id"] is None else kept["id"])
    kept["group"] = None if kept["group"] is None else str(kept["group"])
    return kept


def before(row: Record) -> list[dict[str, str]]:
    """The messages that stand before an item's question."""
    found: list[dict[str, str]] = json.loads(row.get("before") or "[]")
    return found


def sampler(config: StoredConfig) -> dict[str, Any]:
    """How the harness takes the drawn examples: all of them in order, or those of the item's group."""
    if not config.shots:
        return {}
    return {"split": "examples", "samples": None, "sampler": _same_group() if config.by_group else "first_n"}


def _same_group() -> Any:
    from lm_eval.api.samplers import FirstNSampler

    class SameGroup(FirstNSampler):  # type: ignore[misc]
        """The first examples of the item's group; ``sample`` learns the item through ``fewshot_context``."""

        item: Record | None = None

        def sample(self, n: int, eval_doc: Any = None, df: Any = None, **kwargs: Any) -> Any:
            group = (eval_doc or self.item or {}).get("group")
            return [row for row in self.df if row["group"] == group][:n]

    return SameGroup


def _field(name: str) -> Callable[[Record], str]:
    # A function, because the harness reads a plain string that looks like a template as one.
    return lambda row: str(row[name])
