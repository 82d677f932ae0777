"""Keeps benchmark items from being read by accident: by a crawler, a search, or a training set that takes in every text file.

A key stream of SHA-256 (password and counter), xored over the bytes, as base64. It isn't secrecy: the password stands here,
as the password of GPQA's own archive stands beside it. It keeps questions and canary out of plain text, as their authors ask.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

from components.errors import InputError

_PASSWORD = b"deserted-untie-orchid"
_HEAD = b"lapidar-veil-1\n"
SUFFIX = ".veiled"


def veil(content: bytes) -> bytes:
    """Bytes that don't show their content."""
    return _HEAD + base64.b64encode(_xor(content)) + b"\n"


def unveil(content: bytes, place: str) -> bytes:
    """The content again.

    Raises:
        InputError: if it isn't veiled or was cut.
    """
    try:
        if not content.startswith(_HEAD) or not content.endswith(b"\n"):
            raise ValueError("its beginning or its end is missing")
        return _xor(base64.b64decode(content[len(_HEAD) :].strip(), validate=True))
    except (ValueError, binascii.Error) as error:
        raise InputError(f"{place} isn't a whole veiled file ({error}); import the benchmark again") from error


def _xor(content: bytes) -> bytes:
    blocks = -(-len(content) // 32)
    stream = b"".join(hashlib.sha256(_PASSWORD + i.to_bytes(8, "big")).digest() for i in range(blocks))[: len(content)]
    return (int.from_bytes(content, "big") ^ int.from_bytes(stream, "big")).to_bytes(len(content), "big")
