"""Commands of ``lapidar chat``: a function each, whose docstring is its line in /help."""

from __future__ import annotations

import time
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from components import methods
from components.agents import dialogue
from components.agents.toolbox import Toolbox
from components.errors import InputError

if TYPE_CHECKING:
    from flows.cli_chat import Chat

Command = Callable[["Chat", str], bool | None]


def run(chat: Chat, line: str) -> bool:
    """Runs a line that begins with ``/``; returns whether the chat is over.

    Raises:
        InputError: if there is no such command, or what follows it is wrong.
    """
    name, _, rest = line[1:].partition(" ")
    command = _COMMANDS.get(name)
    if command is None:
        near = get_close_matches(name, _COMMANDS, 1)
        raise InputError(f"no command /{name}; " + (f"did you mean /{near[0]}?" if near else "/help shows them"))
    return bool(command(chat, rest.strip()))


def _system(chat: Chat, rest: str) -> None:
    """[TEXT]  What the model is told before the conversation; without a text, shows it; "off" takes it away."""
    if rest:
        chat.dialogue.change(system="" if rest == "off" else rest)
    chat.note(f"  system: {chat.dialogue.settings.system or 'none'}")


def _temperature(chat: Chat, rest: str) -> None:
    """[NUMBER]  Randomness of the answers; 0 takes the most probable token."""
    _number(chat, "temperature", rest)


def _top_p(chat: Chat, rest: str) -> None:
    """[NUMBER]  Share of the probability from which tokens are drawn."""
    _number(chat, "top_p", rest)


def _kv(chat: Chat, rest: str) -> None:
    """[METHOD [RATIO] [KEY=VALUE…] | off]  KV cache: e.g. /kv expected_attention 0.5 removes half of it."""
    if rest == "off":
        chat.dialogue.change(kv=None)
    elif rest:
        method, *values = rest.split()
        if method not in methods.names("kv"):
            raise InputError(f"no KV cache method {method!r}; there are {', '.join(methods.names('kv'))}")
        pairs = [value.partition("=") if "=" in value else ("ratio", "=", value) for value in values]
        chat.dialogue.change(kv={"method": method} | {key: yaml.safe_load(value) for key, _, value in pairs})
    chat.note(f"  kv: {chat.dialogue.settings.kv or 'full'}")


def _context(chat: Chat, rest: str) -> None:
    """[error|drop_oldest|window|compress] [LIMIT]  What happens when the conversation outgrows the limit; shows its use."""
    for word in rest.split():
        chat.dialogue.change(**({"limit": int(word) or None} if word.isdecimal() else {"context": word}))
    settings, use = chat.dialogue.settings, chat.use.context
    chat.note(f"  context: {settings.context}, limit {settings.limit or 'the model’s'}")
    if use is not None:
        left = f"; {use.dropped_turns} messages left out" if use.dropped_turns else ""
        chat.note(f"  the last request: {use.prompt} of {use.limit} tokens, {use.answer} for the answer{left}")


def _tools(chat: Chat, rest: str) -> None:
    """[TOOL… | off]  Tools that the model may call: by name, Python file or folder; NAME:KEY=VALUE sets one up."""
    from flows.cli_chat import found

    if rest:
        specs = [] if rest == "off" else rest.split()
        chat.toolbox = Toolbox([tool for spec in specs for tool in found(spec)], chat.policy)
    for tool in chat.toolbox.definitions:
        chat.note(f"  {tool['function']['name']}: {tool['function'].get('description', '')}")
    if not chat.toolbox:
        chat.note("  no tools")


def _retry(chat: Chat, rest: str) -> None:
    """Asks the last question again."""
    chat.say(chat.unanswered or chat.dialogue.take_back())


def _edit(chat: Chat, rest: str) -> None:
    """[TEXT]  Asks the last question in other words; without a text, in a terminal, opens it for editing."""
    before = list(chat.dialogue.messages)
    question = chat.unanswered or chat.dialogue.take_back()
    text = rest or _edited(question)
    if not text:
        chat.dialogue.messages = before
        raise InputError("nothing to ask; write /edit TEXT")
    chat.say(text)


def _save(chat: Chat, rest: str) -> None:
    """[FILE]  Writes the conversation as JSONL, which SFT can read."""
    path = Path(rest).expanduser() if rest else chat.settings.root / "chats" / f"{time.strftime('%Y%m%d-%H%M%S')}.jsonl"
    chat.dialogue.save(path)
    chat.note(f"  saved in {path}")


def _load(chat: Chat, rest: str) -> None:
    """FILE  Goes on with a saved conversation."""
    if not rest:
        raise InputError("which file? write /load FILE")
    chat.dialogue.settings, chat.dialogue.messages = dialogue.load(Path(rest).expanduser())
    chat.note(f"  {len(chat.dialogue.messages)} messages")


def _help(chat: Chat, rest: str) -> None:
    """Shows this."""
    for name, command in _COMMANDS.items():
        arguments, _, text = (command.__doc__ or "").rpartition("  ")
        chat.note(f"  /{name} {arguments}".rstrip() + f"\n      {text}")


def _quit(chat: Chat, rest: str) -> bool:
    """Ends the chat."""
    return True


_COMMANDS: dict[str, Command] = {
    "system": _system,
    "temperature": _temperature,
    "top_p": _top_p,
    "kv": _kv,
    "context": _context,
    "tools": _tools,
    "retry": _retry,
    "edit": _edit,
    "save": _save,
    "load": _load,
    "help": _help,
    "quit": _quit,
}


def _number(chat: Chat, name: str, rest: str) -> None:
    if rest:
        try:
            chat.dialogue.change(**{name: float(rest)})
        except ValueError as error:
            raise InputError(f"/{name} {rest}: write a number") from error
    chat.note(f"  {name}: {getattr(chat.dialogue.settings, name):g}")


def _edited(text: str) -> str:
    """The text after the user has changed it in the terminal; empty where that isn't possible."""
    import sys

    if not sys.stdin.isatty():
        return ""
    import readline

    readline.set_startup_hook(lambda: readline.insert_text(text))
    try:
        return input("> ").strip()
    finally:
        readline.set_startup_hook()
