"""The sides of a comparison: stored answers, or a model that answers the prompts now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.errors import InputError
from components.inference.endpoint import Chat, EndpointError, is_endpoint
from components.inference.local import open_chat
from components.judges.items import Answers, Prompt, read_answers
from components.judges.journal import Journal
from components.settings import Settings
from components.store import file_sha256


@dataclass(frozen=True)
class Side:
    """One side.

    Attributes:
        name: as it stands in reports.
        digest: of the stored answers or the local model; an endpoint has only its name.
        chat: None for stored answers.
        file: of stored answers.
    """

    name: str
    digest: str
    chat: Chat | None = None
    file: Path | None = None


@dataclass(frozen=True)
class Sampling:
    """How models answer."""

    max_tokens: int = 512
    temperature: float = 0.0
    seed: int = 0
    concurrency: int = 8


def open_sides(specs: Sequence[str], settings: Settings, timeout: float = 120) -> list[Side]:
    """The sides that a command names.

    Raises:
        InputError: if one isn't there, there are fewer than two, or two are the same.
    """
    if len(specs) < 2:
        raise InputError("judging needs two sides or more: lapidar judge A B PROMPTS")
    sides = [_side(spec, settings, timeout) for spec in specs]
    names = [side.name for side in sides]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"{twice!r} stands on two sides; give the sides different names")
    return sides


def _side(spec: str, settings: Settings, timeout: float) -> Side:
    path = Path(spec).expanduser()
    if not is_endpoint(spec) and not spec.startswith("models:/") and (path.is_file() or spec.endswith((".jsonl", ".jsonl.gz"))):
        if not path.is_file():
            raise InputError(f"there is no file of answers {spec!r} (looked from {Path.cwd()})")
        return Side(path.name.removesuffix(".gz").removesuffix(".jsonl"), file_sha256(path), file=path)
    chat = open_chat(spec, settings, timeout)
    digest = "" if is_endpoint(spec) else chat.ref.digest  # type: ignore[union-attr]
    return Side(chat.name if is_endpoint(spec) else spec, digest, chat=chat)


def answers(
    side: Side, prompts: Sequence[Prompt], work: Path, sampling: Sampling, on_progress: Callable[[int, int], None] | None = None
) -> Answers:
    """A side's answers to all prompts. What a model has answered is kept in ``work`` and not asked again.

    Raises:
        InputError: if stored answers are missing or answer other prompts.
        EndpointError: if the model can't be asked any more, or one of the prompts can't be answered by it.
    """
    if side.file is not None:
        return read_answers(side.file, prompts)
    assert side.chat is not None
    with Journal(work) as journal:
        missing = [prompt for prompt in prompts if prompt.id not in journal.records]

        def take(index: int, replies: list[Any]) -> None:
            journal.add(missing[index].id, {"answer": replies[0].text, "finish": replies[0].finish})
            if on_progress is not None:
                on_progress(len(journal.records), len(prompts))

        try:
            side.chat.chat_many(
                [[{"role": "user", "content": prompt.text}] for prompt in missing],
                max_tokens=sampling.max_tokens,
                temperature=sampling.temperature,
                seed=sampling.seed,
                concurrency=sampling.concurrency,
                on_reply=take,
            )
        except EndpointError as error:
            error.args = (f"{error}; {len(journal.records)} of {len(prompts)} answers are kept, run again to go on",)
            raise
        texts = {prompt.id: str(journal.records[prompt.id]["answer"]) for prompt in prompts}
    return Answers(side.name, texts, {prompt.id: None for prompt in prompts})
