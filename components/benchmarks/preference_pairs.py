r"""Held-out preference pairs: how often the model finds the chosen answer more probable than the rejected one.

``accuracy`` compares summed log-probabilities of the answers with their end token, as DPO's loss does; ``accuracy_per_byte``
divides them by the answers' length in UTF-8 bytes. ``prefer_shorter`` and ``prefer_longer`` are what those rules would score
on the same rows. A tie counts one half. Sample item::

    {"id": "h1", "prompt": "Would you say: \"I enjoy mathematics\"?", "chosen": "Yes", "rejected": "No"}

A conversation's answers are compared behind all of it.
"""

from __future__ import annotations

from typing import Any, Literal

from components.artifacts import Inputs
from components.benchmarks._task import BenchmarkConfig, Scores, before, held_out, metric_list
from components.data.records import Record
from components.models.chat import Message, prompt_text

METRICS = ("accuracy", "accuracy_per_byte", "prefer_shorter", "prefer_longer")


class Config(BenchmarkConfig):
    """No settings of its own."""

    method: Literal["preference_pairs"] = "preference_pairs"

    @property
    def by_likelihood(self) -> bool:
        """See BenchmarkConfig."""
        return True


def task(config: Config, inputs: Inputs, tokenizer: Any) -> dict[str, Any]:
    """The harness's task config: two choices a row, the chosen one first."""
    return {
        "task": config.label,
        "custom_dataset": held_out(inputs, "preference", {"chosen": "", "rejected": ""}, config.limit),
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": lambda row: row["prompt"],
        "doc_to_target": lambda row: 0,
        "doc_to_choice": lambda row: [
            completion(tokenizer, [*before(row), _user(row["prompt"])], row[side]) for side in ("chosen", "rejected")
        ],
        "process_results": _results,
        "metric_list": metric_list([*METRICS, "parsed"]),
    }


def _user(text: str) -> Message:
    return {"role": "user", "content": text}


def completion(tokenizer: Any, prompt: list[Message], answer: str) -> str:
    """What the chat template writes behind the prompt, up to the answer's end token."""
    start = prompt_text(tokenizer, prompt)
    whole: str = tokenizer.apply_chat_template([*prompt, {"role": "assistant", "content": answer}], tokenize=False)
    rest = whole.removeprefix(start)
    end = rest.rfind(tokenizer.eos_token)
    return rest if end < 0 else rest[: end + len(tokenizer.eos_token)]


def _results(row: Record, results: list[tuple[float, bool]]) -> dict[str, Any]:
    chosen, rejected = (value for value, _ in results)
    return {**score(row, [chosen, rejected]), "extracted": [row["chosen" if chosen > rejected else "rejected"]]}


def score(row: Record, logprobs: list[float]) -> Scores:
    """The metrics of one pair.

    Args:
        row: the pair, for the lengths of its answers.
        logprobs: summed log-probability of the chosen and of the rejected answer.

    >>> score({"chosen": "Yes", "rejected": "No"}, [-3.0, -2.5])
    {'accuracy': 0.0, 'accuracy_per_byte': 1.0, 'prefer_shorter': 0.0, 'prefer_longer': 1.0, 'parsed': 1.0}
    """
    lengths = [len(row[side].encode()) for side in ("chosen", "rejected")]
    return {
        "accuracy": _first_wins(logprobs[0], logprobs[1]),
        "accuracy_per_byte": _first_wins(logprobs[0] / lengths[0], logprobs[1] / lengths[1]),
        "prefer_shorter": _first_wins(lengths[1], lengths[0]),
        "prefer_longer": _first_wins(lengths[0], lengths[1]),
        "parsed": 1.0,
    }


def _first_wins(first: float, second: float) -> float:
    return 0.5 if first == second else float(first > second)
