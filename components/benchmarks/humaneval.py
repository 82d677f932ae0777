r"""HumanEval, functions from their docstrings (Chen et al. 2021, arXiv:2107.03374), run in the sandbox.

``accuracy`` is the share of answers that pass all tests of their item; with ``n`` answers an item, ``pass_at_k`` estimates it for
k attempts. A chat model is asked for the function in a Markdown block, with the harness's words; with ``chat: false`` a base model
continues the prompt and is stopped where the function has ended. Sample item::

    {"id": "HumanEval/53", "group": null, "prompt": "def add(x: int, y: int):\n    \"\"\"Add two numbers x and y …\"\"\"\n",
     "entry_point": "add", "answer": "    return x + y\n", "test": "def check(candidate): …"}
"""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field

from components.artifacts import Inputs
from components.benchmarks import _harness
from components.benchmarks._ahead import Ahead
from components.benchmarks._source import Hub, Source, text
from components.benchmarks._task import Graded, StoredConfig, stored_task
from components.data.records import Record
from components.sandbox.run import Limits, check, require

_FENCE = re.compile(r"^[ \t]*```[^\n`]*\n(?P<code>.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)


class Config(StoredConfig):
    """One greedy answer by default. There are no solved examples, and no steps are asked for.

    Attributes:
        cpu_seconds: CPU time of an answer with its tests.
    """

    method: Literal["humaneval"] = "humaneval"
    max_new_tokens: int = Field(1024, ge=1)
    shots: int = Field(0, ge=0, le=0)
    cot: Literal[False] = False
    cpu_seconds: int = Field(10, ge=1)


def task(config: Config, inputs: Inputs, tokenizer: Any) -> dict[str, Any]:
    """The harness's task config.

    Raises:
        SandboxUnavailable: if programs can't be confined on this machine.
    """
    require()
    stops = _harness.until(_harness.load("humaneval/humaneval.yaml", functions=False))
    words = _harness.load("humaneval/humaneval_instruct.yaml", functions=False)["doc_to_text"]

    def grade(row: Record, answer: str) -> Graded:
        program = chat_program(row, answer) if config.chat else base_program(row, answer, stops)
        return grade_program(row, program, Limits(cpu_seconds=config.cpu_seconds))

    ahead = Ahead(grade)
    settings = stored_task(
        config,
        inputs,
        ahead,
        until=() if config.chat else stops,
        doc_to_text=words if config.chat else (lambda row: row["prompt"]),
        doc_to_target=lambda row: row["answer"],
    )
    return ahead.known_first(settings)


def grade_program(row: Record, program: str | None, limits: Limits | None = None) -> Graded:
    """Runs the item's tests against a program; None, where the answer held no code, is wrong."""
    if program is None:
        return Graded({"accuracy": 0.0}, None)
    return Graded({"accuracy": float(check(program, checks_of(row), limits).passed)}, program)


def checks_of(row: Record) -> str:
    """The item's tests for ``components.sandbox.run.check``.

    They may use what the prompt defines beside the function, so it is there too; the function's own name is the program's.
    """
    name = row["entry_point"]
    return f"{row['prompt']}    pass\n\n{name} = program[{name!r}]\n{row['test']}\n\ncheck({name})\n"


def base_program(row: Record, answer: str, stops: list[str]) -> str | None:
    """The prompt with its continuation, up to the first string that ends a function."""
    for stop in stops:
        answer = answer.split(stop)[0]
    return f"{row['prompt']}{answer}" if answer.strip() else None


def chat_program(row: Record, answer: str) -> str | None:
    r"""The program of an answer in prose: its last Markdown block that defines the function, else its last block, else all of it.

    What stands before the function in the prompt (imports, helpers) is put before it; a block that doesn't define the function
    is taken for its body.

    >>> row = {"prompt": "import math\n\ndef area(r):\n    '''Area.'''\n", "entry_point": "area"}
    >>> print(chat_program(row, "Sure:\n```python\ndef area(r):\n    return math.pi * r * r\n```\nDone."))
    import math
    <BLANKLINE>
    def area(r):
        return math.pi * r * r
    <BLANKLINE>
    """
    defines = re.compile(rf"^(?:async )?def {re.escape(row['entry_point'])}\b|^{re.escape(row['entry_point'])}\s*=", re.MULTILINE)
    blocks = [match["code"] for match in _FENCE.finditer(answer)]
    whole = [block for block in blocks if defines.search(block)]
    code = (whole or blocks or [answer])[-1]
    if not code.strip():
        return None
    prompt = str(row["prompt"])
    if defines.search(code):
        start = defines.search(prompt)
        return prompt[: start.start() if start else 0] + code
    return prompt + (code if code[0] in " \t\n" else "    " + code.replace("\n", "\n    "))


def _item(row: Record) -> Record:
    return {
        "id": text(row, "task_id"),
        "group": None,
        "prompt": text(row, "prompt"),
        "entry_point": text(row, "entry_point"),
        "answer": text(row, "canonical_solution"),
        "test": text(row, "test"),
    }


SOURCE = Source(
    item=_item,
    sample={
        "task_id": "HumanEval/53",
        "prompt": 'def add(x: int, y: int):\n    """Add two numbers x and y\n    >>> add(2, 3)\n    5\n    """\n',
        "entry_point": "add",
        "canonical_solution": "    return x + y\n",
        "test": "def check(candidate):\n    assert candidate(0, 1) == 1\n    assert candidate(2, 3) == 5\n",
    },
    about="HumanEval.jsonl.gz of https://github.com/openai/human-eval",
    licence="MIT",
    size=164,
    hub=Hub("openai/openai_humaneval", "test"),
)
