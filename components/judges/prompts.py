"""Judge prompts: files with an id in ``prompts/``, rendered so that nothing inside an answer can pass for structure.

What is shown to a judge stands between lines that carry a marker drawn anew for every question, from the seed, and never one
that the texts hold themselves: an answer can't write the line that would end it. A prompt's sha256 covers its file and the
criteria that take the place of the file's own, and goes into keys, reports and the gate's evidence.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from components.errors import InputError
from components.inference.endpoint import Message

Mode = Literal["pairwise", "rubric"]
LATEST: dict[Mode, str] = {"pairwise": "pairwise-1", "rubric": "rubric-1"}
_FOLDER = Path(__file__).parent / "prompts"
_HOLE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class JudgePrompt:
    """One version of a judge's prompt.

    Attributes:
        system, user: messages with ``{holes}``.
        reference: what stands in ``{reference}`` where an item has a reference answer.
        criteria: what is judged by.
        sha256: over the file and the criteria.
    """

    id: str
    mode: Mode
    system: str
    user: str
    reference: str
    criteria: str
    sha256: str


def load(prompt_id: str, criteria: str | None = None) -> JudgePrompt:
    """The prompt of an id, with a team's own criteria if they are given.

    Raises:
        InputError: if there is no such prompt, or the criteria are blank.
    """
    import yaml

    file = _FOLDER / f"{prompt_id}.yaml"
    if not file.is_file():
        have = ", ".join(sorted(f.stem for f in _FOLDER.glob("*.yaml")))
        raise InputError(f"there is no judge prompt {prompt_id!r}; there are {have}")
    if criteria is not None and not criteria.strip():
        raise InputError("the criteria are blank; say what a good answer is, or leave them out")
    content = file.read_bytes()
    found = JudgePrompt(**yaml.safe_load(content), sha256=hashlib.sha256(content).hexdigest())
    if criteria is None:
        return found
    digest = hashlib.sha256(json.dumps([found.sha256, criteria.strip()]).encode()).hexdigest()
    return replace(found, criteria=criteria.strip(), sha256=digest)


def render(template: JudgePrompt, seed: str, texts: dict[str, str], reference: str | None = None) -> list[Message]:
    """The messages of one question.

    Args:
        seed: decides the marker; another one for every question.
        texts: what goes into the holes ``prompt`` and ``first``, ``second`` or ``answer``.
        reference: a reference answer, or None.
    """
    marker = _marker(seed, [*texts.values(), reference or "", template.criteria])
    shown = _fill(template.reference, {"marker": marker, "reference": reference}) if reference else ""
    user = _fill(template.user, {**texts, "marker": marker, "criteria": template.criteria, "reference": shown})
    return [{"role": "system", "content": template.system}, {"role": "user", "content": user}]


def _fill(text: str, values: dict[str, str]) -> str:
    """All holes in one pass, so that ``{second}`` inside an answer stays what it is."""
    return _HOLE.sub(lambda hole: values[hole[1]], text)


def _marker(seed: str, texts: list[str]) -> str:
    """Sixteen hex digits in brackets that none of the texts holds."""
    draws = random.Random(seed)
    while True:
        marker = f"<<{draws.getrandbits(64):016x}>>"
        if not any(marker in text for text in texts):
            return marker
