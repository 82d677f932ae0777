"""A conversation as a file: JSON with all of it, JSON Lines as training data has it, Markdown to read."""

from __future__ import annotations

import json
from typing import Any, Literal

from components.errors import InputError
from components.reviews.conversations import Conversation, Message

Format = Literal["json", "jsonl", "markdown"]
MIME = {"json": "application/json", "jsonl": "application/x-ndjson", "markdown": "text/markdown"}


def export(conversation: Conversation, form: Format) -> str:
    """The branch that is shown as text.

    Raises:
        InputError: if there is no such format, or nothing was said yet.
    """
    if not conversation.messages:
        raise InputError("nothing was said in this conversation yet; there is nothing to export")
    if form == "json":
        messages = [_described(message) for message in conversation.messages]
        whole = {"title": conversation.title, "settings": conversation.settings, "messages": messages}
        return json.dumps(whole, ensure_ascii=False, indent=1) + "\n"
    if form == "jsonl":
        return json.dumps({"messages": conversation.chat()}, ensure_ascii=False) + "\n"
    if form == "markdown":
        return "\n\n".join([f"# {_one_line(conversation.title)}", *(_section(m) for m in conversation.messages)]) + "\n"
    raise InputError(f"{form!r} is no format; there are {', '.join(MIME)}")


def _described(message: Message) -> dict[str, Any]:
    found: dict[str, Any] = {"role": message.role, "content": message.content, "at": message.at.isoformat(timespec="seconds")}
    if message.said is not None:
        found |= {"model": message.said.model, "version": message.said.version, "digest": message.said.digest}
    return found | ({"details": message.details} if message.details else {})


def _section(message: Message) -> str:
    """A message in a fence that is longer than any run of back ticks in it: whatever a model says stays text."""
    longest = run = 0
    for character in message.content:
        run = run + 1 if character == "`" else 0
        longest = max(longest, run)
    fence = "`" * max(3, longest + 1)
    who = f"{message.role} ({_one_line(message.said.version or message.said.model)})" if message.said else message.role
    return f"## {who}\n\n{fence}text\n{message.content}\n{fence}"


def _one_line(text: str) -> str:
    """A text that begins no heading, link or tag of its own."""
    flat = " ".join(text.split())
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>()#!|" else c for c in flat)
