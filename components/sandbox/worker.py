"""The process in the sandbox that holds the untrusted program, and the messages it exchanges with the one that judges.

The program defines functions; the judge asks for calls and gets plain values back. Only values travel: an object that claims
to equal everything arrives as what it holds, or as ``Opaque``, which equals nothing. This file is run from its source, so it
imports nothing of ours.
"""

from __future__ import annotations

import contextlib
import json
import numbers
import os
import struct
import sys
import types
from collections.abc import KeysView
from typing import Any

_HEADER = struct.Struct(">I")
_LARGE = 1 << 62  # beyond it JSON's decimal digits would be slow to read, and above 4,300 of them Python refuses


class Opaque:
    """Stands for a value that isn't plain data. Equals nothing, not even itself."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{self.kind}>"


def encode(value: Any) -> Any:
    """A value as JSON: scalars and lists as they are, everything else as a one-key object that names its type."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, numbers.Integral):
        whole = int(value)
        return whole if -_LARGE < whole < _LARGE else {"int": hex(whole)}
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, list):
        return [encode(item) for item in list.__iter__(value)]
    if isinstance(value, tuple):
        return {"tuple": [encode(item) for item in tuple.__iter__(value)]}
    if isinstance(value, dict):
        return {"dict": [[encode(key), encode(item)] for key, item in dict.items(value)]}
    if isinstance(value, (set, frozenset, KeysView)):
        return {"set": [encode(item) for item in value]}
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": bytes(value).hex()}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    return {"opaque": type(value).__name__}


def decode(value: Any) -> Any:
    """The value that ``encode`` was given, with the types that tests compare."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "int":
        return int(content, 16)
    if kind == "tuple":
        return tuple(decode(content))
    if kind == "dict":
        return {decode(key): decode(item) for key, item in content}
    if kind == "set":
        return set(decode(content))
    if kind == "bytes":
        return bytes.fromhex(content)
    if kind == "complex":
        return complex(*content)
    return Opaque(str(content))


def send(channel: int, message: dict[str, Any]) -> None:
    """Writes one message: its length in four bytes, then JSON."""
    data = json.dumps(message).encode("ascii")
    data = _HEADER.pack(len(data)) + data
    while data:
        data = data[os.write(channel, data) :]


def receive(channel: int, most: int = 1 << 31) -> dict[str, Any] | None:
    """Reads one message, or None where the other side is gone.

    Raises:
        MemoryError: if it has more than ``most`` bytes.
    """
    head = _exactly(channel, _HEADER.size)
    size = _HEADER.unpack(head)[0] if head else 0
    if size > most:
        raise MemoryError
    data = _exactly(channel, size)
    message: dict[str, Any] | None = json.loads(data) if data else None
    return message


def describe(error: BaseException) -> list[str]:
    """Class name and text of an exception."""
    try:
        return [type(error).__name__, str(error)[:500]]
    except BaseException:
        return [type(error).__name__, ""]


def serve(channel: int) -> None:
    """Runs the program, then answers calls of what it defines until the judge hangs up."""
    request = receive(channel)
    if request is None:
        return
    module = types.ModuleType("candidate")
    sys.modules["candidate"] = module
    try:
        exec(compile(request["code"], "<program>", "exec"), module.__dict__)  # noqa: S102
        reply: dict[str, Any] = {"value": None}
    except BaseException as error:
        reply = {"error": describe(error)}
    while True:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()  # nothing is flushed at the end: the judge kills this process
        send(channel, reply)
        call = receive(channel)
        if call is None:
            return
        try:
            function = eval(call["function"], module.__dict__)  # noqa: S307
            reply = {"value": encode(function(*decode(call["args"]), **decode(call["kwargs"])))}
        except BaseException as error:
            reply = {"error": describe(error)}


def main_program(channel: int) -> None:
    """Runs the program as a script: it reads standard input and writes standard output."""
    request = receive(channel)
    os.close(channel)
    if request is not None:
        exec(compile(request["code"], "<program>", "exec"), sys.modules["__main__"].__dict__)  # noqa: S102


def _exactly(channel: int, size: int) -> bytes:
    parts = []
    while size:
        part = os.read(channel, min(size, 1 << 20))
        if not part:
            return b""
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
