"""Both answers of a blind match: asked for at once under the same settings, kept as they come, shown together.

Nothing here that a page may show names a model: not the errors, not the time that either took.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

from components.errors import LapidarError
from components.inference.answering import Answer, Progress
from components.inference.client import Ask
from components.reviews import arena
from components.settings import Settings
from dashboards.talk import server


@dataclass(frozen=True)
class Terms:
    """How both models are asked."""

    max_tokens: int = 256
    temperature: float = 0.7
    system: str = ""

    def ask(self, model: str, prompt: str) -> Ask:
        """The request for one side's answer."""
        system = ({"role": "system", "content": self.system},) if self.system.strip() else ()
        messages = (*system, {"role": "user", "content": prompt})
        return Ask(model, messages, self.max_tokens, self.temperature, context="drop_oldest")

    def kept(self) -> dict[str, Any]:
        """What is kept with an answer."""
        return {"max_tokens": self.max_tokens, "temperature": self.temperature, "system": self.system}


def begin(settings: Settings, match: str, terms: Terms) -> None:
    """Asks for the answers that a match lacks, unless they are on their way.

    Raises:
        LapidarError: if the server isn't there.
    """
    sides = arena.models_of(settings, match)
    for side, model in sides.missing():
        stream = server.client().stream(terms.ask(model, sides.prompt))

        def keep(progress: Progress, side: arena.Side = side) -> None:
            if progress.error is None and progress.finish != "stopped":
                use = progress.use
                said = arena.Answer(progress.texts[0], use.version if use else None, use.digest if use else None, terms.kept())
                arena.answer(settings, match, side, said)

        server.answers().start(_name(match, side), lambda stream=stream, keep=keep: Answer(stream, keep))  # type: ignore[misc]


def waiting(match: str) -> bool:
    """Whether an answer of the match is on its way."""
    found = (server.answers().get(_name(match, side)) for side in get_args(arena.Side))
    return any(answer is not None and not answer.look().done for answer in found)


def failed(settings: Settings, match: str) -> str | None:
    """Why the match has no two answers, with no model's name in it; None if nothing failed."""
    models = arena.models_of(settings, match).models.values()
    for side in get_args(arena.Side):
        answer = server.answers().get(_name(match, side))
        error = answer.look().error if answer is not None else None
        if error is not None:
            return unnamed(error, list(models))
    return None


def forget(match: str) -> None:
    """Lets a match that failed be asked for again."""
    for side in get_args(arena.Side):
        server.answers().drop(_name(match, side))


def unnamed(error: LapidarError, models: list[str]) -> str:
    """An error's sentence without the models' names, in any form.

    >>> unnamed(LapidarError("no room for support/3 (models:/support/3)"), ["models:/support/3"])
    'no room for … (…)'
    """
    said = str(error)
    for model in sorted(models, key=len, reverse=True):
        for form in (model, model.removeprefix("models:/")):
            said = said.replace(form, "…")
    return said


def _name(match: str, side: str) -> str:
    return f"arena.{match}.{side}"
