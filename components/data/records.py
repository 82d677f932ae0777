r"""The five record kinds, and JSON Lines files of them: reading, checking, writing.

Lines are split on ``\n`` only: U+0085 and U+2028 occur inside strings of real datasets. Samples::

    text        {"id": "a1", "text": "Two and two is four."}
    sft         {"id": "a1", "prompt": "What is 2 + 2?", "completion": "The answer is 4."}
                {"id": "a1", "messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}
    preference  {"id": "a1", "prompt": "What is 2 + 2?", "chosen": "The answer is 4.", "rejected": "Five."}
    labelled    {"id": "a1", "prompt": "What is 2 + 2?", "completion": "Five.", "label": false}
                {"id": "a1", "prompt": [{"role": "user", "content": "…"}, …, {"role": "user", "content": "…"}], …}  (preference too)
    prompts     {"id": "a1", "prompt": "What is 2 + 2?", "answer": "4"}

A prompt of messages may hold calls of tools: ``tool_calls`` of an assistant's message as OpenAI's API has them, results of role
``tool`` with their ``tool_call_id``, and beside the prompt ``tools``, what the model was offered.

``id`` may be absent in what users bring. Other fields are kept as they are.
"""

from __future__ import annotations

import gzip
import json
import stat
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from components.artifacts import RecordKind
from components.errors import InputError

Record = dict[str, Any]
FIELDS: dict[RecordKind, tuple[str, ...]] = {
    "text": ("text",),
    "sft": ("prompt", "completion"),
    "preference": ("prompt", "chosen", "rejected"),
    "labelled": ("prompt", "completion"),
    "prompts": ("prompt", "answer"),
}
ROLES = ("system", "user", "assistant", "tool")
_LFS = b"version https://git-lfs.github.com/spec/v1"
_BOM = b"\xef\xbb\xbf"
_LINES = "expected one object a line: `jq -c '.[]'` makes that of a list, `jq -c .` of objects over several lines"


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON value")


def _each_once(pairs: list[tuple[str, Any]]) -> Record:
    """JSON keeps the last of two equal keys without a word: refuse instead."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key {next(name for name in names if names.count(name) > 1)!r} stands twice")
    return found


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_each_once)
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


def read(path: Path, kind: RecordKind | None = None) -> Iterator[Record]:
    """Rows of a JSON Lines file, plain or gzip, each checked against ``kind`` if it is given.

    Raises:
        InputError: naming file, row (lines counted from 1) and field, or what is wrong with the file as a whole.
    """
    count = 0
    with _lines(path) as lines:
        for number, line in enumerate(lines, 1):
            text = line.removeprefix(_BOM) if number == 1 else line
            if not text.strip():
                continue
            row = _parse(text, number, path)
            if kind is not None:
                check(row, kind, number, path)
            count += 1
            yield row
    if not count:
        raise InputError(f"{path} is empty; expected one JSON object a line")


def write(path: Path, rows: Iterable[Record]) -> int:
    """Writes rows as UTF-8 JSON Lines, keys in the order given, and returns their number."""
    count = 0
    with path.open("wb") as file:
        for row in rows:
            file.write(encoded(row) + b"\n")
            count += 1
    return count


def encoded(row: Any) -> bytes:
    """A row as it stands in a file."""
    return _ENCODER.encode(row).encode()


def check(row: Record, kind: RecordKind, number: int, path: Path) -> None:
    """Checks the fields that a kind needs: present, text, not blank, and encodable as UTF-8.

    Raises:
        InputError: naming file, row and field.
    """
    if kind == "sft" and "messages" in row:
        _check_messages(row["messages"], number, path)
        return
    for field in FIELDS[kind]:
        value = row.get(field)
        if field == "prompt" and kind in ("preference", "labelled") and isinstance(value, list):
            _check_turns(value, "prompt", kind, number, path)
            if value[-1]["role"] not in ("user", "tool"):
                role = value[-1]["role"]
                raise InputError(
                    f"{place(number, path)}: the last message of 'prompt' is of role {role!r}, expected 'user' or 'tool'"
                )
            _check_tools(row.get("tools"), number, path)
            continue
        if value is None:
            raise InputError(f"{place(number, path)} has no '{field}'; {needs(kind)}")
        if not isinstance(value, str):
            raise InputError(f"{place(number, path)}: '{field}' is {shown(value)}, expected text; {needs(kind)}")
        _check_text(value, field, number, path)
    if kind == "preference" and row["chosen"] == row["rejected"]:
        raise InputError(f"{place(number, path)} has the same 'chosen' and 'rejected'; a preference needs two answers")
    if kind == "labelled" and not isinstance(row.get("label"), bool):
        raise InputError(f"{place(number, path)}: 'label' is {shown(row.get('label'))}, expected true or false; {needs(kind)}")


def place(number: int, path: Path) -> str:
    """Where a row stands, for messages."""
    return f"row {number} of {path.name}"


def is_folder(path: Path) -> bool:
    """Whether a path leads to a folder; one that is too long leads nowhere."""
    try:
        return path.is_dir()
    except OSError:
        return False


def refuse_pointer(path: Path) -> None:
    """Refuses what can't be data whatever its format: a missing file, an empty one, a Git LFS pointer.

    Raises:
        InputError: with the remedy.
    """
    if is_folder(path):
        raise InputError(f"{path} is a folder; expected a file")
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(f"{path} is a pipe or a device, which can't be read twice; write its content into a file")
        with path.open("rb") as file:
            head = file.read(len(_LFS))
    except FileNotFoundError as error:
        raise InputError(f"{path} doesn't exist (looked from {Path.cwd()}); correct the path") from error
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror}); check the path and its permissions") from error
    except ValueError as error:
        raise InputError(f"{str(path)!r} is no path ({error}); correct it") from error
    if head == _LFS:
        raise InputError(f"{path} is a Git LFS pointer, not data; run `git lfs pull` in its repository")
    if not head:
        raise InputError(f"{path} is empty; a dataset needs at least one row")


@contextmanager
def _lines(path: Path) -> Iterator[IO[bytes]]:
    """Opens a plain or gzip file, told apart by its first bytes; iterating a binary file splits at line feeds only."""
    refuse_pointer(path)
    with path.open("rb") as plain:
        if plain.read(2) != b"\x1f\x8b":
            plain.seek(0)
            yield plain
            return
    try:
        with gzip.open(path, "rb") as unpacked:
            yield unpacked  # type: ignore[misc]
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path} isn't a whole gzip file ({error}); fetch it again") from error


def _parse(line: bytes, number: int, path: Path) -> Record:
    try:
        row = _DECODER.decode(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(
            f"{place(number, path)} isn't valid UTF-8 (byte 0x{error.object[error.start]:02x} at {error.start}); "
            "save the file as UTF-8"
        ) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place(number, path)} isn't valid JSON ({error}); {_remedy(line, number)}") from error
    if number == 1 and isinstance(row, list) and row and isinstance(row[0], dict):
        raise InputError(f"{path} is one JSON list; {_LINES}")
    if not isinstance(row, dict):
        raise InputError(f'{place(number, path)} is {shown(row)}; expected a JSON object such as {{"text": …}}')
    return row


def _remedy(line: bytes, number: int) -> str:
    """How to mend a line that isn't JSON: text in two bytes a character, and JSON over several lines, are known by their look."""
    if b"\x00" in line[:4]:
        return "it looks like UTF-16; save the file as UTF-8"
    return _LINES if number == 1 and line.strip() in (b"[", b"{", b"[{") else "expected one object a line"


def _check_messages(messages: Any, number: int, path: Path) -> None:
    _check_turns(messages, "messages", "sft", number, path)
    if len(messages) == 1 and messages[0]["role"] == "assistant":
        raise InputError(f"{place(number, path)}: 'messages' has nothing before the answer; put the user's message there")
    if all(message["role"] != "assistant" for message in messages):
        raise InputError(f"{place(number, path)} has no message of role 'assistant'; nothing in it would be trained on")
    if (role := messages[-1]["role"]) != "assistant":
        raise InputError(
            f"{place(number, path)}: 'messages.{len(messages) - 1}', the last one, is of role {role!r}; the last answer is what is "
            "trained on, so take out what stands behind it"
        )


def _check_turns(messages: Any, name: str, kind: RecordKind, number: int, path: Path) -> None:
    if not isinstance(messages, list) or not messages:
        raise InputError(f"{place(number, path)}: '{name}' is {shown(messages)}, expected a list of role and content")
    for index, message in enumerate(messages):
        field = f"{name}.{index}"
        if not isinstance(message, dict):
            raise InputError(f"{place(number, path)}: '{field}' is {shown(message)}, expected role and content")
        for key in ("role", "content"):
            if not isinstance(message.get(key), str):
                raise InputError(f"{place(number, path)} has no text in '{field}.{key}'; {needs(kind)}")
        if message["role"] not in ROLES:
            raise InputError(f"{place(number, path)}: '{field}.role' is {message['role']!r}; expected one of {', '.join(ROLES)}")
        if kind != "sft" and (calls := message.get("tool_calls")) is not None:
            if not isinstance(calls, list) or not all(is_call(call) for call in calls):
                raise InputError(
                    f"{place(number, path)}: '{field}.tool_calls' are no calls; each needs id, function.name and "
                    "function.arguments, a JSON object as text"
                )
        elif message["role"] != "tool" or message["content"]:
            _check_text(message["content"], f"{field}.content", number, path)


def is_call(call: Any) -> bool:
    """Whether something is a call of a tool as OpenAI's API has them."""
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(call.get("id"), str) or not isinstance(function.get("name"), str):
        return False
    try:
        return isinstance(json.loads(function.get("arguments") or "{}"), dict)
    except (TypeError, ValueError, RecursionError):
        return False


def _check_tools(tools: Any, number: int, path: Path) -> None:
    named = isinstance(tools, list) and all(
        isinstance(tool, dict) and isinstance(tool.get("function"), dict) and isinstance(tool["function"].get("name"), str)
        for tool in tools
    )
    if tools is not None and not named:
        raise InputError(f"{place(number, path)}: 'tools' is {shown(tools)}, expected a list of {{type, function: {{name, …}}}}")


def _check_text(value: str, field: str, number: int, path: Path) -> None:
    if not value.strip():
        raise InputError(f"{place(number, path)}: '{field}' is blank; remove the row or fill it in")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"{place(number, path)}: '{field}' holds half a surrogate pair at character {error.start}; "
                "write the character itself as UTF-8"
            ) from error


def needs(kind: RecordKind) -> str:
    """What a kind of data has to hold, for messages."""
    other = " (or messages)" if kind == "sft" else ""
    name = {"text": "text", "sft": "SFT", "preference": "preference", "labelled": "labelled", "prompts": "prompt"}[kind]
    label = ", label" if kind == "labelled" else ""
    return f"{name} data needs {', '.join(FIELDS[kind])}{label}{other}"


def shown(value: Any) -> str:
    """A value as a message shows it: its JSON kind and its beginning."""
    kinds = {"NoneType": "null", "dict": "an object", "list": "a list", "str": "text", "bool": "a truth value"}
    kinds |= {"int": "a number", "float": "a number"}
    kind = kinds.get(type(value).__name__, f"of type {type(value).__name__}")
    text = repr(value)
    return f"{kind} ({text if len(text) <= 40 else text[:40] + '…'})"
