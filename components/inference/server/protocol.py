"""Requests as OpenAI's API has them, with vLLM's names for what it lacks, checked before anything is done with them.

What would change the answer and isn't done here is refused, not passed over: ``logit_bias``, ``presence_penalty``, images.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from components.errors import InputError
from components.inference.server.errors import ApiError
from components.inference.server.messages import Context, Job

MOST_ANSWERS = 64
MOST_PROMPTS = 256
_MOST_TOKENS = 1 << 24
Body = TypeVar("Body", bound=BaseModel)
_Text = Annotated[str, Field(max_length=1 << 22)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Asked(_Part):
    """A field set of Lapidar's own in a request: ``"lapidar": {"context": …, "kv": …}``."""

    class ContextAsked(_Part):
        """See ``components.inference.context``."""

        policy: Literal["error", "drop_oldest", "window", "compress"] = "error"
        limit: int | None = Field(None, ge=2, le=_MOST_TOKENS)

    context: ContextAsked = ContextAsked()
    kv: dict[str, Any] | None = None


class StreamOptions(_Part):
    """What a stream holds besides the answer."""

    include_usage: bool = False
    include_obfuscation: bool = False


class _Request(_Part):
    """What chats and plain completions have in common."""

    model: str = Field(min_length=1, max_length=512)
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1, le=_MOST_TOKENS)
    temperature: float | None = Field(None, ge=0, le=100)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=-1, le=_MOST_TOKENS)
    min_p: float | None = Field(None, ge=0, le=1)
    repetition_penalty: float | None = Field(None, gt=0, le=100)
    n: int | None = Field(None, ge=1, le=MOST_ANSWERS)
    stop: Annotated[str, Field(max_length=1000)] | list[Annotated[str, Field(max_length=1000)]] | None = None
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    return_token_ids: bool = False
    lapidar: Asked = Asked()
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None

    @model_validator(mode="after")
    def _done_here(self) -> _Request:
        for name in ("frequency_penalty", "presence_penalty"):
            if getattr(self, name):
                raise ValueError(f"{name} isn't supported; repetition_penalty is")
        if self.logit_bias:
            raise ValueError("logit_bias isn't supported; leave it out")
        return self

    @field_validator("stop")
    @classmethod
    def _stops(cls, value: Any) -> Any:
        strings = [value] if isinstance(value, str) else value or []
        if len(strings) > 16 or not all(strings):
            raise ValueError("give 1 to 16 strings, none of them empty")
        return value

    @property
    def choices(self) -> int:
        """Answers to each prompt."""
        return self.n or 1

    def sampling(self) -> dict[str, Any]:
        """Fields of ``Sampling``; like OpenAI's, an answer is drawn at temperature 1 where the request names none."""
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        found = {
            "temperature": 1.0 if self.temperature is None else self.temperature,
            "top_p": self.top_p,
            "top_k": None if self.top_k is None else max(0, self.top_k),
            "min_p": self.min_p,
            "repetition_penalty": self.repetition_penalty,
            "seed": None if self.seed is None else self.seed % 2**64,
            "n": self.n,
            "stop": stop,
        }
        return {name: value for name, value in found.items() if value is not None}

    def context(self) -> Context:
        """The request's context policy."""
        return Context(self.lapidar.context.policy, self.lapidar.context.limit)


class TextPart(_Part):
    """A part of a message's content; only text is understood here."""

    type: Literal["text"]
    text: _Text


class Message(BaseModel):
    """One message of a conversation."""

    model_config = ConfigDict(frozen=True, extra="ignore")  # what other servers put into their answers comes back here

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: _Text | list[TextPart] | None = None
    name: Annotated[str, Field(max_length=200)] | None = None
    tool_calls: list[dict[str, Any]] | None = Field(None, max_length=128)
    tool_call_id: Annotated[str, Field(max_length=200)] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Message:
        if self.content is None and not self.tool_calls:
            raise ValueError("a message needs content")
        return self

    def plain(self) -> dict[str, Any]:
        """For the chat template, which knows content as one text and no ``developer``."""
        content = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content or [])
        found: dict[str, Any] = {"role": "system" if self.role == "developer" else self.role, "content": content}
        more = {"name": self.name, "tool_calls": self.tool_calls, "tool_call_id": self.tool_call_id}
        return found | {key: value for key, value in more.items() if value}


class ChatRequest(_Request):
    """Body of ``POST /v1/chat/completions``."""

    messages: list[Message] = Field(min_length=1, max_length=4096)
    max_completion_tokens: int | None = Field(None, ge=1, le=_MOST_TOKENS)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    reasoning_effort: str | None = None
    modalities: list[Literal["text"]] | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> ChatRequest:
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs=true")
        _check_format(self.response_format)
        return self

    def jobs(self, first: int) -> list[Job]:
        """The one job of a chat.

        Raises:
            ApiError: if a tool isn't one.
        """
        from components.agents import toolcalls

        try:
            tools, forced = toolcalls.chosen(toolcalls.checked(self.tools or []), self.tool_choice)
        except InputError as error:
            raise ApiError(400, str(error), param="tools", code="invalid_tools") from error
        if forced and self.response_format and self.response_format["type"] != "text":
            raise ApiError(400, "a required tool call and a response_format exclude each other", param="tool_choice")
        job = Job(
            first,
            [message.plain() for message in self.messages],
            None,
            self.max_completion_tokens or self.max_tokens,
            self.sampling(),
            (self.top_logprobs or 0) if self.logprobs else None,
            self.stream,
            tuple(dict(tool) for tool in tools),
            forced,
            self.parallel_tool_calls is not False,
            self.response_format,
            self.context(),
            self.lapidar.kv,
        )
        return [job]


class CompletionRequest(_Request):
    """Body of ``POST /v1/completions``."""

    prompt: _Text | list[int] | list[_Text] | list[list[int]]
    logprobs: int | None = Field(None, ge=0, le=20)
    echo: Literal[False] = False
    suffix: None = None
    best_of: int | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> CompletionRequest:
        if self.best_of not in (None, self.choices):
            raise ValueError("best_of isn't supported; ask for n answers and choose")
        if not self.prompt or len(self.prompts) > MOST_PROMPTS or not all(self.prompts):
            raise ValueError(f"prompt: give 1 to {MOST_PROMPTS} prompts, none of them empty")
        return self

    @property
    def prompts(self) -> list[str | list[int]]:
        """Each prompt by itself."""
        given: Any = self.prompt
        return list(given) if isinstance(given, list) and not isinstance(given[0] if given else 0, int) else [given]

    def jobs(self, first: int) -> list[Job]:
        """One job for each prompt."""
        tokens = self.max_tokens or 16  # OpenAI's default here
        return [
            Job(
                first + i,
                prompt,
                None,
                tokens,
                self.sampling(),
                self.logprobs,
                self.stream,
                context=self.context(),
                kv=self.lapidar.kv,
            )
            for i, prompt in enumerate(self.prompts)
        ]


class InspectRequest(_Part):
    """Body of ``POST /lapidar/inspect``."""

    model: str = Field(min_length=1, max_length=512)
    view: str = Field(max_length=100)
    settings: dict[str, Any] = {}
    prompt: _Text = ""
    answer: _Text = ""
    chat: bool = False


def validated(kind: type[Body], body: Any) -> Body:
    """A request of a kind.

    Raises:
        ApiError: 400, naming the field.
    """
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(each) for each in first["loc"]) or None
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            message = "this server doesn't know the field"
        raise ApiError(400, f"{where}: {message}" if where else message, code="invalid_request", param=where) from error


def _check_format(found: dict[str, Any] | None) -> None:
    if found is None:
        return
    kind = found.get("type")
    if kind not in ("text", "json_object", "json_schema"):
        raise ValueError("response_format.type is text, json_object or json_schema")
    inner = found.get("json_schema")
    if kind == "json_schema" and not (isinstance(inner, dict) and isinstance(inner.get("schema"), dict)):
        raise ValueError("response_format.json_schema.schema has to be a JSON schema")
