"""Asks the judge of a benchmark about single answers, and keeps what it said until the evaluation is done.

One line a question, under the sha256 of what was asked and of whom; an evaluation that was broken off asks for the rest only::

    {"key": "9f86d081…", "text": "Right. Score: 10", "cut": false}
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from components.errors import LapidarError
from components.inference.endpoint import EndpointError, Message, Reply
from components.inference.local import open_chat
from components.judges.journal import Journal
from components.settings import Settings

Read = Callable[[str, bool], float | None]
_SECONDS = 120.0
_SHOWN = 80


def verdicts(
    judge: str, conversations: Sequence[list[Message]], read: Read, form: str, max_tokens: int, kept: Path
) -> list[float | None]:
    """What a judge says to each conversation, or None where it says nothing that can be read or refuses this one alone.

    Args:
        judge: ``URL#model``, ``models:/name/version`` or the folder of a model.
        read: the verdict in an output, from its text and whether the token limit cut it.
        form: how an output should end, for messages.
        kept: file that outputs are kept in.

    Raises:
        InputError: if there is no such judge.
        EndpointError: if it can't be asked any more; what it said so far is kept.
        LapidarError: if none of its outputs holds a verdict: then there is no score.
    """
    keys = [hashlib.sha256(json.dumps([judge, max_tokens, asked]).encode()).hexdigest() for asked in conversations]
    with Journal(kept) as journal:
        _ask(judge, dict(zip(keys, conversations, strict=True)), max_tokens, journal)
        said = [journal.records.get(key) for key in keys]
        found = [read(one["text"], one["cut"]) if one is not None else None for one in said]
        useless = bool(found) and all(value is None for value in found)
        outputs = journal.put_aside() if useless else kept
    if useless:
        shown = next((" ".join(one["text"].split())[:_SHOWN] for one in said if one is not None), "")
        raise LapidarError(
            f"{judge} can't judge: none of its {len(found)} outputs ends in {form}; it says, for example, {shown!r}. "
            f"No score is given; choose a judge that follows instructions. All outputs: {outputs}"
        )
    return found


def _ask(judge: str, asked: dict[str, list[Message]], max_tokens: int, journal: Journal) -> None:
    missing = [key for key in asked if key not in journal.records]
    if not missing:
        return

    def take(place: int, replies: list[Reply]) -> None:
        journal.add(missing[place], {"text": replies[0].text, "cut": replies[0].finish == "length"})

    try:
        open_chat(judge, Settings(), _SECONDS).chat_many([asked[key] for key in missing], max_tokens=max_tokens, on_reply=take)
    except EndpointError as error:
        there = sum(key in journal.records for key in asked)
        if error.hopeless or not there:
            error.args = (f"{error}; {there} of {len(asked)} verdicts of this judge are kept, run again to go on",)
            raise
