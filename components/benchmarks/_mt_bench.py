"""MT-Bench's judge prompts for single answers (Zheng et al. 2023, arXiv 2306.05685; FastChat at 0e6d3e4b, Apache-2.0).

Word for word ``single-v1``, ``single-math-v1`` and their multi-turn forms, but for one thing: the lines around what a model wrote
carry a marker drawn anew for every question, so that an answer can't write the line that would end it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from components.benchmarks import _asking
from components.inference.endpoint import Message
from components.judges.verdicts import rating

_LOOK = (
    "Please act as an impartial judge and evaluate the quality of the response provided by an AI assistant to the user question"
    "{displayed}. Your evaluation should consider "
)
_FACTORS = "factors such as the helpfulness, relevance, accuracy, depth, creativity, and level of detail of the response. "
_CORRECT = (
    "correctness and helpfulness. You will be given a reference answer and the assistant's answer. {focus}Begin your evaluation by "
    "comparing the assistant's answer with the reference answer. Identify and correct any mistakes. "
)
_RATE = (
    "Be as objective as possible. After providing your explanation, you must rate the response on a scale of 1 to 10 by strictly "
    'following this format: "[[rating]]", for example: "Rating: [[5]]".'
)
_EXPLAIN = "Begin your evaluation by providing a short explanation. "
_SYSTEM = "You are a helpful assistant."
_HOLE = re.compile(r"\{(\w+)\}")

_ONE = (
    "[Question]\n{question_1}\n\n{reference}[The Start of Assistant's Answer {marker}]\n{answer_1}\n"
    "[The End of Assistant's Answer {marker}]"
)
_ONE_REFERENCE = "[The Start of Reference Answer {marker}]\n{reference_1}\n[The End of Reference Answer {marker}]\n\n"
_TWO = (
    "{reference}<|The Start of Assistant A's Conversation with User {marker}|>\n\n### User:\n{question_1}\n\n### Assistant A:\n"
    "{answer_1}\n\n### User:\n{question_2}\n\n### Assistant A:\n{answer_2}\n\n"
    "<|The End of Assistant A's Conversation with User {marker}|>"
)
_TWO_REFERENCE = (
    "<|The Start of Reference Answer {marker}|>\n\n### User:\n{question_1}\n\n### Reference answer:\n{reference_1}\n\n### User:\n"
    "{question_2}\n\n### Reference answer:\n{reference_2}\n\n<|The End of Reference Answer {marker}|>\n\n\n"
)


def messages(texts: Mapping[str, str], turn: int, seed: str) -> list[Message]:
    """What the judge is asked about one answer.

    Args:
        texts: ``question_1``, ``answer_1``; for the second turn also ``question_2``, ``answer_2``; where there is a reference also
            ``reference_1``, ``reference_2``.
        turn: 1 or 2.
        seed: decides the marker.
    """
    marker = _marker(seed, list(texts.values()))
    known = "reference_1" in texts
    if turn == 1:
        criteria = _LOOK.format(displayed=" displayed below") + (_CORRECT.format(focus="") if known else _FACTORS + _EXPLAIN)
        user = f"[Instruction]\n{criteria}{_RATE}\n\n{_filled(_ONE, _ONE_REFERENCE, texts, marker)}"
        return [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": user}]
    if known:
        focus = "You evaluation should focus on the assistant's answer to the second question. "
        criteria = _LOOK.format(displayed="") + _CORRECT.format(focus=focus)
    else:
        focus = "You evaluation should focus on the assistant's answer to the second user question. "
        criteria = _LOOK.format(displayed=" displayed below") + _FACTORS + focus + _EXPLAIN
    return [
        {"role": "system", "content": criteria + _RATE},
        {"role": "user", "content": _filled(_TWO, _TWO_REFERENCE, texts, marker)},
    ]


def ratings(judge: str, asked: Sequence[tuple[Mapping[str, str], int, str]], max_tokens: int, kept: Path) -> list[float | None]:
    """A rating from 1 to 10 for each (texts, turn, seed), or None where the judge gave none.

    Args:
        judge, kept: see ``components.benchmarks._asking``, also for errors.
    """
    conversations = [messages(texts, turn, seed) for texts, turn, seed in asked]
    return _asking.verdicts(judge, conversations, partial(rating, whole=False), "a rating such as [[7]]", max_tokens, kept)


def _filled(template: str, reference: str, texts: Mapping[str, str], marker: str) -> str:
    """One pass over the template's own holes: braces in answers stay what they are."""
    whole = template.replace("{reference}", reference if "reference_1" in texts else "")
    values = {**texts, "marker": marker}
    return _HOLE.sub(lambda hole: values[hole[1]], whole)


def _marker(seed: str, texts: Sequence[str]) -> str:
    draws = random.Random(seed)
    while any((marker := f"{draws.getrandbits(64):016x}") in text for text in texts):
        pass
    return marker
