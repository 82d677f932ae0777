"""What the HTTP process and a model's process say to each other over their pipe: small records, no tensors.

In: ``Job``, ``Cancel``, ``Look``. Out: ``Ready`` once, then lists of these:
``Begun``, ``Piece``, ``Done``, ``Failed``, ``Seen``, ``Load``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Setup:
    """Which model a process loads.

    Attributes:
        folder: its files.
        adapters: folders of adapters over it, by name.
        threads: of torch; None for all cores.
    """

    folder: str
    adapters: dict[str, str]
    device: str
    threads: int | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """Policy and limit where a conversation outgrows the context; see ``components.inference.context``."""

    policy: Literal["error", "drop_oldest", "window", "compress"] = "error"
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One prompt to answer.

    Attributes:
        prompt: messages of a chat, a text, or token ids.
        adapter: which of the process's adapters; None for the base.
        tokens: most tokens of an answer; None for what the context leaves, up to the server's default.
        sampling: further fields of ``Sampling``.
        logprobs: alternatives to give with each token; None for no log-probabilities.
        stream: whether text is sent as it appears.
        tools: those that may be called; ``forced`` means that one must be, ``parallel`` that several may in one answer.
        format: ``response_format`` of the request: constrains the answer.
        kv: method and settings of the KV cache.
    """

    id: int
    prompt: list[dict[str, Any]] | str | list[int]
    adapter: str | None
    tokens: int | None
    sampling: dict[str, Any]
    logprobs: int | None = None
    stream: bool = False
    tools: tuple[dict[str, Any], ...] = ()
    forced: bool = False
    parallel: bool = True
    format: dict[str, Any] | None = None
    context: Context = field(default_factory=Context)
    kv: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Cancel:
    """The client of a job has left."""

    job: int


@dataclass(frozen=True, slots=True)
class Look:
    """A view of the model, see ``components.inspection``.

    Attributes:
        apart: registered version whose adapter is wanted beside its base; what is served has them merged.
    """

    id: int
    view: str
    settings: dict[str, Any]
    prompt: str
    answer: str
    chat: bool
    adapter: str | None
    apart: str | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """The model is loaded. ``error`` says why not."""

    context: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Begun:
    """A job's prompt is rendered: its tokens and how they use the context; ``at`` as that of ``Piece``."""

    job: int
    prompt_ids: list[int]
    use: dict[str, Any]
    at: float


@dataclass(frozen=True, slots=True)
class Token:
    """A token's log-probability.

    Attributes:
        text: the token alone.
        data: its bytes; a part of a character is no text.
        top: (text, bytes, log-probability) of alternatives.
    """

    text: str
    data: list[int]
    logprob: float
    top: list[tuple[str, list[int], float]]


@dataclass(frozen=True, slots=True)
class Piece:
    """What one of a job's answers grew by.

    Attributes:
        at: when the model had said it, by the machine's monotonic clock: what waited in pipes arrives all at once.
    """

    job: int
    sample: int
    text: str
    ids: list[int]
    tokens: list[Token] | None
    finish: str | None
    calls: tuple[dict[str, Any], ...]
    at: float


@dataclass(frozen=True, slots=True)
class Done:
    """All answers of a job are finished."""

    job: int
    reused: int
    kv: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Failed:
    """A job or a view that can't be done; ``status`` as in HTTP."""

    job: int
    status: int
    message: str
    param: str | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """A view's document."""

    job: int
    document: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Load:
    """What a process holds, in bytes of its device's memory."""

    nbytes: int


Said = Begun | Piece | Done | Failed | Seen | Load
