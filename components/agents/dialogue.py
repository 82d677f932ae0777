"""A conversation as it goes on: what was said, and how the next answer is to be made. Kept as one JSON line.

Sample of a file; ``messages`` is what SFT reads::

    {"model": "support@champion", "settings": {"temperature": 0.2}, "messages": [{"role": "user", "content": "Hello"}, …]}
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from components.agents.loop import COMPLAINT
from components.config import Config
from components.errors import InputError
from components.inference.client import Ask

Policy = Literal["error", "drop_oldest", "window", "compress"]
_ROLES = ("system", "user", "assistant", "tool")


class DialogueSettings(Config):
    """How answers are made; what is None is left to the server.

    Attributes:
        max_tokens: of an answer.
        context: what happens when the conversation outgrows ``limit``.
        limit: tokens of prompt and answer together; None for the model's own.
        kv: settings of a KV cache method.
        tool_choice: ``required`` or a tool's name makes the model call one first.
    """

    system: str = ""
    max_tokens: int | None = Field(None, ge=1)
    temperature: float = Field(0.7, ge=0, le=100)
    top_p: float = Field(1.0, gt=0, le=1)
    seed: int | None = None
    context: Policy = "drop_oldest"
    limit: int | None = Field(None, ge=2)
    kv: dict[str, Any] | None = None
    tool_choice: str | None = None


@dataclass
class Dialogue:
    """One conversation with a model."""

    model: str
    settings: DialogueSettings = field(default_factory=DialogueSettings)
    messages: list[Mapping[str, Any]] = field(default_factory=list)

    def change(self, **changes: Any) -> None:
        """Other settings from now on.

        Raises:
            InputError: if a value is wrong.
        """
        try:
            self.settings = DialogueSettings.model_validate({**self.settings.model_dump(), **changes})
        except ValidationError as error:
            first = error.errors()[0]
            raise InputError(f"{'.'.join(map(str, first['loc']))}={first['input']!r}: {first['msg']}") from error

    def ask(self) -> Ask:
        """The request for the next answer."""
        s = self.settings
        system = ({"role": "system", "content": s.system},) if s.system else ()
        choice = s.tool_choice
        return Ask(
            self.model,
            (*system, *self.messages),
            max_tokens=s.max_tokens,
            temperature=s.temperature,
            top_p=s.top_p,
            seed=s.seed,
            context=s.context,
            limit=s.limit,
            kv=s.kv,
            tool_choice={"type": "function", "function": {"name": choice}} if choice not in (None, "auto", "required") else choice,
        )

    def say(self, text: str) -> None:
        """Adds what the user says."""
        self.messages.append({"role": "user", "content": text})

    def hear(self, messages: Sequence[Mapping[str, Any]]) -> None:
        """Adds what came back."""
        self.messages.extend(messages)

    def take_back(self) -> str:
        """Removes the last question and everything behind it; returns the question.

        Raises:
            InputError: if nothing was asked yet.
        """
        for place in range(len(self.messages) - 1, -1, -1):
            if self.messages[place]["role"] == "user" and not self._complaint(place):
                text = str(self.messages[place]["content"])
                del self.messages[place:]
                return text
        raise InputError("nothing was asked yet")

    def _complaint(self, place: int) -> bool:
        """Whether a message is the loop's, about a call that couldn't be read: such a one follows an answer."""
        return place > 0 and str(self.messages[place]["content"]).startswith(COMPLAINT)

    def save(self, path: Path) -> None:
        """Writes the file in one step.

        Raises:
            InputError: if it can't be written.
        """
        kept = {"model": self.model, "settings": self.settings.model_dump(exclude_defaults=True, mode="json")}
        system = [{"role": "system", "content": self.settings.system}] if self.settings.system else []
        line = json.dumps({**kept, "messages": [*system, *self.messages]}, ensure_ascii=False)
        part = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(f"{line}\n", encoding="utf-8")
            part.replace(path)
        except OSError as error:
            raise InputError(f"{path} can't be written ({error.strerror}); choose another file") from error


def load(path: Path) -> tuple[DialogueSettings, list[Mapping[str, Any]]]:
    """Settings and messages of a file: of ``save``, or any JSONL whose first line has ``messages``.

    Raises:
        InputError: if it isn't one.
    """
    try:
        with path.open(encoding="utf-8") as file:
            record = json.loads(file.readline())
        messages = record["messages"]
        settings = DialogueSettings.model_validate(record.get("settings") or {})
        if not isinstance(messages, list):
            raise TypeError("messages isn't a list")
        for i, message in enumerate(messages):
            if message["role"] not in _ROLES or not isinstance(message.get("content"), (str, type(None))):
                raise ValueError(f"messages[{i}] has no role and text")
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror}); give a file that /save wrote") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        said = " ".join(str(error).split())[:200]
        raise InputError(f"{path} holds no conversation ({said}); its first line needs messages, as /save writes them") from error
    if messages and messages[0]["role"] == "system":
        settings = settings.model_copy(update={"system": messages[0]["content"] or ""})
        messages = messages[1:]
    return settings, messages
