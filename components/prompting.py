"""Prompts for a chat: solved examples before the question (few-shot), and steps before the answer (chain of thought).

Pure functions on messages. Brown et al. 2020 (arXiv:2005.14165) for examples, Wei et al. 2022 (arXiv:2201.11903) for examples
with their steps, Kojima et al. 2022 (arXiv:2205.11916) for steps without examples.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from components.config import Config
from components.errors import InputError

Message = Mapping[str, Any]
Steps = Literal["off", "ask", "answer_line"]
STEPS: dict[str, str] = {
    "off": "",
    "ask": "Let's think step by step.",
    "answer_line": 'Think step by step, then end with a line "The answer is …."',
}
"""What each way to ask for steps adds to the last question. ``answer_line`` is read back by ``components.consistency``."""
LIMIT = 64


class Example(Config):
    """A solved example.

    Attributes:
        question: as a user would ask it.
        answer: the right answer.
        steps: how one gets there; shown only where steps are asked for.
    """

    question: str
    answer: str
    steps: str = ""


def build(
    messages: Sequence[Message], system: str = "", examples: Sequence[Example] = (), steps: Steps = "off"
) -> list[dict[str, Any]]:
    r"""A conversation with its system prompt, examples and request for steps; ``messages`` themselves stay as they are.

    >>> asked = build([{"role": "user", "content": "2 + 2?"}], "Be brief.", [Example(question="1 + 1?", answer="2")], "ask")
    >>> [message["role"] for message in asked]
    ['system', 'user', 'assistant', 'user']
    >>> asked[-1]["content"]
    "2 + 2?\n\nLet's think step by step."

    Args:
        messages: turns of user and assistant, the last one the user's.
    """
    found: list[dict[str, Any]] = [{"role": "system", "content": system}] if system.strip() else []
    for example in examples:
        found.append({"role": "user", "content": _asking(example.question, steps)})
        found.append({"role": "assistant", "content": _solved(example, steps)})
    found += [dict(message) for message in messages]
    asked = next((i for i in range(len(found) - 1, -1, -1) if found[i]["role"] == "user"), None)
    if asked is not None:
        found[asked]["content"] = _asking(str(found[asked]["content"]), steps)
    return found


def examples(text: str) -> list[Example]:
    """Examples from JSONL or from plain lines ``question => answer``, whichever the text holds.

    >>> examples('{"question": "1 + 1?", "answer": "2"}')[0].answer, examples("1 + 1? => 2")[0].question
    ('2', '1 + 1?')

    Raises:
        InputError: naming the line.
    """
    found = [_example(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if len(found) > LIMIT:
        raise InputError(f"{len(found)} examples are more than {LIMIT}; a model reads all of them before every answer")
    return found


def _example(number: int, line: str) -> Example:
    if line.startswith("{"):
        try:
            row = json.loads(line)
            answer = row.get("answer", row.get("completion"))
            fields = {"question": row.get("question", row.get("prompt")), "answer": answer, "steps": row.get("steps", "")}
            if isinstance(fields["question"], str) and isinstance(answer, str | int | float) and isinstance(fields["steps"], str):
                return Example.model_validate(fields | {"answer": str(answer)})
        except ValueError as error:
            raise InputError(f"line {number} of the examples isn't JSON ({error}); write one object a line") from error
        raise InputError(f'line {number} of the examples has no "question" and "answer"')
    question, arrow, answer = line.partition("=>")
    if not arrow or not question.strip() or not answer.strip():
        raise InputError(f"line {number} of the examples has no '=>' between question and answer: {line[:60]!r}")
    return Example(question=question.strip(), answer=answer.strip())


def _asking(question: str, steps: Steps) -> str:
    return f"{question}\n\n{STEPS[steps]}" if STEPS[steps] else question


def _solved(example: Example, steps: Steps) -> str:
    if steps == "off" or not (example.steps or steps == "answer_line"):
        return example.answer
    end = "" if example.answer.rstrip().endswith(".") else "."
    return " ".join(part for part in (example.steps.strip(), f"The answer is {example.answer.strip()}{end}") if part)
