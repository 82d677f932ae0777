"""Standard output: text for people, or exactly one JSON document."""

from __future__ import annotations

import json
import os
import sys
from typing import Any, TextIO

_document: list[TextIO] = []


def only_json() -> None:
    """From now on standard output is for one JSON document; everything else, also of libraries, goes to standard error."""
    if not _document:
        sys.stdout.flush()
        _document.append(os.fdopen(os.dup(1), "w", encoding="utf-8"))
        os.dup2(2, 1)


def is_json() -> bool:
    """Whether the command was asked for a JSON document."""
    return bool(_document)


def document(content: Any) -> None:
    """Prints the one JSON document."""
    stream = _document[0] if _document else sys.stdout
    json.dump(content, stream, ensure_ascii=False)
    stream.write("\n")
    stream.flush()


def error(kind: str, message: str) -> None:
    """Prints the JSON document of a command that failed."""
    document({"error": {"type": kind, "message": message}})


def people() -> TextIO:
    """Where text for people goes: standard output, or standard error beside a JSON document."""
    return sys.stderr if _document else sys.stdout
