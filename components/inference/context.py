"""What happens when a conversation outgrows its limit: an error, dropped turns, a window, or a compressed cache.

Pure functions on messages and token ids. The limit counts prompt and answer together, as a model's context does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from components.errors import InputError
from components.inference.kv._layer import kept_count

Message = dict[str, str]
Policy = Literal["error", "drop_oldest", "window", "compress"]


@dataclass(frozen=True)
class Use:
    """How a request fills its limit, in tokens; said in every answer.

    Attributes:
        limit: what prompt and answer may take together.
        asked: tokens of the whole conversation.
        prompt: tokens that the model is given.
        answer: tokens that are left for the answer, at most those asked for.
        dropped_turns: messages that were left out.
        dropped_tokens: tokens that were left out.
        ratio: share of the KV cache to remove so that it fits; 0 but for ``compress``.
    """

    limit: int
    asked: int
    prompt: int
    answer: int
    dropped_turns: int = 0
    dropped_tokens: int = 0
    ratio: float = 0.0


@dataclass(frozen=True)
class Fitted:
    """Token ids to give to the model, and how they use the limit."""

    ids: list[int]
    use: Use


def fit(
    messages: Sequence[Message],
    render: Callable[[list[Message]], list[int]],
    *,
    limit: int,
    answer: int,
    policy: Policy = "error",
    sinks: int = 4,
    model_context: int | None = None,
) -> Fitted:
    """Makes a conversation fit.

    Args:
        messages: the conversation; a system message, if any, comes first.
        render: token ids of messages up to where the answer begins (``components.models.chat.prompt_ids``).
        limit: tokens that prompt and answer may take together.
        answer: tokens to leave for the answer.
        policy: ``error`` refuses; ``drop_oldest`` leaves out the oldest turns, never the system message nor the last
            question; ``window`` keeps the first ``sinks`` tokens and the latest; ``compress`` keeps all tokens and says
            which share of the KV cache has to go.
        model_context: the longest sequence the model was made for, where the limit is smaller; ``compress`` needs it,
            because compressed tokens still count as positions.

    Raises:
        InputError: if the conversation doesn't fit under the policy.
    """
    if answer < 1 or answer >= limit:
        raise InputError(f"max_tokens={answer}: has to be at least 1 and below the context limit of {limit} tokens")
    room = limit - answer
    whole = render(list(messages))
    if len(whole) <= room:
        return Fitted(whole, Use(limit, len(whole), len(whole), answer))
    if policy == "drop_oldest":
        return _drop_oldest(messages, render, whole, limit, answer)
    if policy == "window":
        return _window(whole, limit, answer, sinks)
    if policy == "compress":
        return _compress(whole, limit, answer, model_context or limit)
    raise InputError(
        f"the conversation has {len(whole)} tokens and {answer} are asked for, the limit is {limit}; "
        "shorten it, ask for fewer tokens, or choose another context policy (drop_oldest, window, compress)"
    )


def _drop_oldest(
    messages: Sequence[Message], render: Callable[[list[Message]], list[int]], whole: list[int], limit: int, answer: int
) -> Fitted:
    """Leaves out whole turns: from a user's message up to the next one, so that no answer stands without its question."""
    head = 1 if messages and messages[0]["role"] == "system" else 0
    begins = [i for i in range(head + 1, len(messages)) if messages[i]["role"] == "user"]
    ids = whole
    for begin in begins:
        ids = render([*messages[:head], *messages[begin:]])
        if len(ids) <= limit - answer:
            use = Use(limit, len(whole), len(ids), answer, begin - head, len(whole) - len(ids))
            return Fitted(ids, use)
    raise InputError(
        f"the last message alone takes {len(ids)} tokens (with the system message) and {answer} are asked for, the limit is "
        f"{limit}; shorten it, ask for fewer tokens, or use a model with a longer context"
    )


def _window(whole: list[int], limit: int, answer: int, sinks: int) -> Fitted:
    """Sinks and the latest tokens, which are then read as one text: positions start from 0 again."""
    room = limit - answer
    first = min(sinks, room - 1)
    ids = whole[:first] + whole[len(whole) - room + first :]
    return Fitted(ids, Use(limit, len(whole), room, answer, 0, len(whole) - room))


def _compress(whole: list[int], limit: int, answer: int, model_context: int) -> Fitted:
    if len(whole) + answer > model_context:
        raise InputError(
            f"the conversation has {len(whole)} tokens and {answer} are asked for; a compressed cache saves memory, not "
            f"positions, and the model was made for {model_context}; use drop_oldest or window"
        )
    # The smallest ratio whose kept count fits, in thousandths.
    ratio = next(r / 1000 for r in range(1000) if kept_count(len(whole), r / 1000) <= limit - answer)
    return Fitted(whole, Use(limit, len(whole), len(whole), answer, ratio=ratio))
