r"""MT-Bench (Zheng et al. 2023, arXiv 2306.05685): 80 open questions of two turns, each answer rated from 1 to 10 by a judge.

``turn_1`` and ``turn_2`` are the mean ratings of the turns, ``score`` that of both (one value a question, because its two ratings
aren't independent), each also by category. Questions of mathematics, reasoning and coding are judged against references, which
are imported as the benchmark's examples. An answer that the judge doesn't rate has no score and counts as unparsed. A rating is
worth as much as its judge: hold it against people with ``lapidar judge --audit``. Sample item::

    {"id": "101", "group": "reasoning", "turns": ["Imagine you are participating in a race …", "If the …"]}

The original asks at a temperature that depends on the category; here answers are greedy unless the settings say otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, model_validator

from components.artifacts import Inputs
from components.benchmarks import _stored
from components.benchmarks._mt_bench import ratings
from components.benchmarks._source import Source
from components.benchmarks._task import StoredConfig, chosen, metric_list
from components.data.records import Record
from components.errors import InputError
from components.judges.verdicts import RATINGS

METRICS = ("score", "turn_1", "turn_2")
RANGE = RATINGS
"""Between which every score lies; other benchmarks' scores lie between 0 and 1."""
_NEEDS_REFERENCE = ("math", "reasoning", "coding")


class Config(StoredConfig):
    """Two turns, one answer each.

    Attributes:
        judge: who rates: ``URL#model`` or a model's folder.
        judge_tokens: limit of the judge's outputs; one that reaches it gives no rating.
        prompts: version of the judge's prompts.
    """

    method: Literal["mt_bench"] = "mt_bench"
    judge: str = Field(min_length=1)
    judge_tokens: int = Field(2048, ge=1)
    prompts: Literal["single-v1"] = "single-v1"
    max_new_tokens: int = Field(1024, ge=1)

    @model_validator(mode="after")
    def _one_conversation(self) -> Config:
        if self.shots or self.n != 1 or not self.cot:
            raise ValueError("mt_bench is one conversation a question, without examples: leave shots, n and cot as they are")
        return self


def task(config: Config, inputs: Inputs, tokenizer: Any) -> dict[str, Any]:
    """The harness's task config of the first turn."""
    rows = chosen(_stored.items(inputs.benchmark("mt_bench")), config.limit)
    references = _references(rows, inputs)
    first = [{**row, "id": f"{row['id']}/1", "number": row["id"], "asked": row["turns"][0]} for row in rows]

    def asked(row: Record, answer: str) -> tuple[dict[str, str], int, str]:
        texts = {"question_1": row["turns"][0], "answer_1": answer} | references.get(row["number"], {})
        return texts, 1, f"{config.prompts} {row['id']}"

    return _judged(config, inputs, first, asked, lambda row, value: {"turn_1": value})


def second_turn(config: Config, inputs: Inputs, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The task config of the second turn, which follows the model's own first answers."""
    rows = {row["id"]: row for row in _stored.items(inputs.benchmark("mt_bench"))}
    references = _references(list(rows.values()), inputs)
    second = []
    for item in items:
        row = rows[str(item["id"]).rpartition("/")[0]]
        said = {"said": item["response"], "rated": item["scores"].get("turn_1")}
        second.append({**row, "id": f"{row['id']}/2", "number": row["id"], "asked": row["turns"][1], **said})

    def asked(row: Record, answer: str) -> tuple[dict[str, str], int, str]:
        texts = {"question_1": row["turns"][0], "answer_1": row["said"], "question_2": row["turns"][1], "answer_2": answer}
        return texts | references.get(row["number"], {}), 2, f"{config.prompts} {row['id']}"

    def scores(row: Record, value: float) -> dict[str, float]:
        both = {} if row["rated"] is None else {"score": (row["rated"] + value) / 2}
        return {"turn_2": value, **both}

    history = {
        "sampler": _own_first_turn(),
        "samples": second[:1],
        "doc_to_text": lambda row: row["turns"][0],
        "doc_to_target": lambda row: row["said"],
    }
    return {**_judged(config, inputs, second, asked, scores), "num_fewshot": 1, "fewshot_config": history}


def _judged(
    config: Config,
    inputs: Inputs,
    rows: list[Record],
    asked: Callable[[Record, str], tuple[dict[str, str], int, str]],
    scores: Callable[[Record, float], dict[str, float]],
) -> dict[str, Any]:
    """A task whose answers are all judged at once, before they are scored one by one."""

    def judge(answers: Iterable[Sequence[str]], docs: Sequence[Record]) -> list[list[float | None]]:
        calls = [asked(row, str(said[0])) for row, said in zip(docs, (list(of_item) for of_item in answers), strict=True)]
        return [[value] for value in ratings(config.judge, calls, config.judge_tokens, inputs.kept(config.label))]

    def results(row: Record, found: Sequence[Sequence[Any]]) -> dict[str, Any]:
        value = found[0][0]
        if not isinstance(value, float):
            return {"parsed": 0.0, "extracted": [None]}
        return {**scores(row, value), "parsed": 1.0, "extracted": [f"{value:g}"]}

    def load(**_: Any) -> dict[str, Any]:
        from datasets import Dataset

        return {"test": Dataset.from_list(rows)}

    return {
        "task": config.label,
        "custom_dataset": load,
        "test_split": "test",
        "output_type": "generate_until",
        "num_fewshot": 0,
        "doc_to_text": lambda row: row["asked"],
        "doc_to_target": lambda row: "",
        "generation_kwargs": config.generation_kwargs(),
        "filter_list": [{"name": "all", "filter": [{"function": "custom", "filter_fn": judge}]}],
        "process_results": results,
        "metric_list": metric_list([*METRICS, "parsed"]),
    }


def _references(rows: Sequence[Record], inputs: Inputs) -> dict[str, dict[str, str]]:
    """Reference answers by question.

    Raises:
        InputError: if a question that is judged against one has none.
    """
    stored = _stored.examples(inputs.benchmark("mt_bench"))
    found = {row["id"]: {f"reference_{i}": text for i, text in enumerate(row["turns"], 1)} for row in stored}
    if lacking := next((row for row in rows if row["group"] in _NEEDS_REFERENCE and row["id"] not in found), None):
        raise InputError(
            f"mt_bench: question {lacking['id']} ({lacking['group']}) is judged against a reference and has none; import them with "
            "`lapidar data benchmark mt_bench --from question.jsonl --examples reference_answer/gpt-4.jsonl`"
        )
    return {row["id"]: found[row["id"]] for row in rows if row["group"] in _NEEDS_REFERENCE}


def _own_first_turn() -> Any:
    from lm_eval.api.samplers import FirstNSampler

    class OwnFirstTurn(FirstNSampler):  # type: ignore[misc]
        """The item's own first turn with the model's answer; ``sample`` learns the item through ``fewshot_context``."""

        item: Record | None = None

        def sample(self, n: int, eval_doc: Any = None, df: Any = None, **kwargs: Any) -> Any:
            return [eval_doc or self.item]

    return OwnFirstTurn


def _item(row: Record) -> Record:
    return {"id": str(row["question_id"]), "group": row["category"], "turns": _two(row["turns"], "turns")}


def _reference(row: Record) -> Record:
    return {"id": str(row["question_id"]), "group": None, "turns": _two(row["choices"][0]["turns"], "choices.0.turns")}


def _two(turns: Any, name: str) -> list[str]:
    if not isinstance(turns, list) or len(turns) != 2 or not all(isinstance(turn, str) and turn.strip() for turn in turns):
        raise ValueError(f"{name!r} is {str(turns)[:60]!r}, expected the texts of two turns")
    return [str(turn) for turn in turns]


SOURCE = Source(
    item=_item,
    sample={"question_id": 81, "category": "writing", "turns": ["Write a haiku about frost.", "Now without the letter E."]},
    about="question.jsonl and reference_answer/gpt-4.jsonl (examples) of llm_judge/data/mt_bench in github.com/lm-sys/FastChat",
    licence="Apache-2.0",
    size=80,
    example=_reference,
)
