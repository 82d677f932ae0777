"""How a conversation is answered: sampling, context, KV cache, prompt helpers, samples, tools; as it is kept with a conversation.

Sample record (what isn't the default)::

    {"model": "support@champion", "temperature": 0.7, "steps": "answer_line", "kv": {"method": "window", "ratio": 0.5}}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, ValidationError

from components import methods, prompting
from components.config import Config
from components.consistency import READERS
from components.errors import InputError
from components.inference.client import Ask, Message

Policy = Literal["error", "drop_oldest", "window", "compress"]


class ChatSettings(Config):
    """Everything that a reader chooses for a chat.

    Attributes:
        model: as the server names it.
        examples: solved examples as ``prompting.examples`` reads them.
        stop: strings that end an answer, one a line.
        limit: tokens for prompt and answer together; 0 for the model's own.
        kv: settings of a KV cache method; empty for the full cache.
        samples: answers to every question; more than one are voted on.
        reader, target: how samples are read for the vote, and the right answer if it is known.
        alternatives: alternatives shown for a token; 0 for none, and no probabilities.
        tools: names of the tools that the model may call.
        data: folder of the data version that the tool ``retrieval`` searches.
    """

    model: str = ""
    system: str = Field("", max_length=20_000)
    examples: str = Field("", max_length=50_000)
    steps: prompting.Steps = "off"
    max_tokens: int = Field(256, ge=1, le=32_768)
    temperature: float = Field(0.7, ge=0, le=5)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=0)
    min_p: float = Field(0.0, ge=0, le=1)
    repetition_penalty: float = Field(1.0, gt=0, le=5)
    seed: int | None = Field(None, ge=0)
    stop: str = ""
    context: Policy = "drop_oldest"
    limit: int = Field(0, ge=0)
    kv: dict[str, Any] = Field(default_factory=dict)
    samples: int = Field(1, ge=1, le=16)
    reader: str = "statement"
    target: str = ""
    alternatives: int = Field(0, ge=0, le=20)
    tools: tuple[str, ...] = ()
    data: str = "data"

    @classmethod
    def kept(cls, content: Mapping[str, Any]) -> ChatSettings:
        """Settings as they were kept; what another version wrote and this one doesn't know is left at its default."""
        known = {name: value for name, value in content.items() if name in cls.model_fields}
        while True:
            try:
                return cls.model_validate(known)
            except ValidationError as error:
                known = {name: value for name, value in known.items() if name not in {e["loc"][0] for e in error.errors()}}

    def changed(self) -> dict[str, Any]:
        """What isn't the default, as JSON values."""
        return self.model_dump(mode="json", exclude_defaults=True)

    def ask(self, messages: Sequence[Message]) -> Ask:
        """The request for an answer to a conversation.

        Raises:
            InputError: if the examples can't be read, no model is chosen, or a setting makes no sense.
        """
        if not self.model:
            raise InputError("no model is chosen; choose one above the conversation")
        if self.samples > 1 and self.temperature == 0:
            raise InputError(f"{self.samples} samples at temperature 0 are the same answer; raise the temperature, or take one")
        if self.samples > 1 and self.tools:
            raise InputError(f"{self.samples} samples with tools: a model uses tools for one answer; take one sample, or no tools")
        if self.reader not in READERS:
            raise InputError(f"answers can't be read by {self.reader!r}; there are {', '.join(READERS)}")
        built = prompting.build(messages, self.system, prompting.examples(self.examples), self.steps)
        return Ask(
            self.model,
            tuple(built),
            self.max_tokens,
            self.temperature,
            self.top_p,
            self.top_k,
            self.min_p,
            self.repetition_penalty,
            self.seed,
            tuple(line for line in self.stop.split("\n") if line),
            self.samples,
            self.alternatives or None,
            self.context,
            self.limit or None,
            kv_settings(self.kv),
        )


def kv_settings(content: Mapping[str, Any]) -> dict[str, Any] | None:
    """Settings of a KV cache method, checked; None for the full cache.

    Raises:
        InputError: naming the setting.
    """
    name = str(content.get("method", "full"))
    if name == "full":
        return None
    try:
        found: dict[str, Any] = methods.load("kv", name).Config.model_validate(dict(content)).model_dump(mode="json")
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"kv.{'.'.join(map(str, first['loc']))}={first['input']!r}: {first['msg']}") from error
    return found
