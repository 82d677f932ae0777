"""Reading and checking JSON Lines: what is wrong is named by file, row and field."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from components.data import records
from components.errors import InputError

LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
GOOD = {"prompt": "What is 2 + 2?", "chosen": "4", "rejected": "5"}


def lines(path: Path, *rows: object) -> Path:
    path.write_bytes(b"".join(r if isinstance(r, bytes) else json.dumps(r).encode() + b"\n" for r in rows))
    return path


def failure(path: Path, kind: records.RecordKind = "preference") -> str:
    with pytest.raises(InputError) as caught:
        list(records.read(path, kind))
    return str(caught.value)


def test_missing_field_names_row_file_field_and_what_the_kind_needs(tmp_path: Path) -> None:
    path = lines(tmp_path / "train.jsonl", *[GOOD] * 16, {"prompt": "a", "rejected": "b"})
    assert failure(path) == "row 17 of train.jsonl has no 'chosen'; preference data needs prompt, chosen, rejected"


@pytest.mark.parametrize(
    ("kind", "row", "said"),
    [
        ("text", {"txt": "a"}, "row 1 of x.jsonl has no 'text'; text data needs text"),
        ("sft", {"prompt": "a"}, "row 1 of x.jsonl has no 'completion'; SFT data needs prompt, completion (or messages)"),
        ("prompts", {"prompt": "a", "answer": 4}, "row 1 of x.jsonl: 'answer' is a number (4), expected text"),
        ("prompts", {"prompt": " ", "answer": "4"}, "row 1 of x.jsonl: 'prompt' is blank"),
        ("preference", {**GOOD, "rejected": "4"}, "row 1 of x.jsonl has the same 'chosen' and 'rejected'"),
        ("labelled", {"prompt": "a", "label": True}, "has no 'completion'; labelled data needs prompt, completion, label"),
        ("labelled", {"prompt": "a", "completion": "b"}, "'label' is null (None), expected true or false"),
        ("labelled", {"prompt": "a", "completion": "b", "label": 1}, "'label' is a number (1), expected true or false"),
        ("text", {"text": "half \ud83d"}, "'text' holds half a surrogate pair at character 5"),
        ("text", ["a"], "row 1 of x.jsonl is a list (['a']); expected a JSON object"),
        ("sft", {"messages": []}, "row 1 of x.jsonl: 'messages' is a list ([]), expected a list of role and content"),
        ("sft", {"messages": [{"role": "user", "content": "a"}]}, "has no message of role 'assistant'"),
        (
            "sft",
            {"messages": [{"role": r, "content": "a"} for r in ("user", "assistant", "user")]},
            "row 1 of x.jsonl: 'messages.2', the last one, is of role 'user'; the last answer is what is trained on",
        ),
        ("sft", {"messages": [{"role": "bot", "content": "a"}]}, "'messages.0.role' is 'bot'; expected one of system, user"),
        ("sft", {"messages": [{"role": "user"}]}, "has no text in 'messages.0.content'"),
        ("preference", {**GOOD, "prompt": []}, "'prompt' is a list ([]), expected a list of role and content"),
        (
            "preference",
            {**GOOD, "prompt": [{"role": "assistant", "content": "a"}]},
            "the last message of 'prompt' is of role 'assistant'",
        ),
        (
            "labelled",
            {"prompt": [{"role": "user", "content": " "}], "completion": "b", "label": True},
            "'prompt.0.content' is blank",
        ),
        ("sft", {"prompt": [{"role": "user", "content": "a"}], "completion": "b"}, "'prompt' is a list"),
        ("sft", {"messages": [{"role": "assistant", "content": "a"}]}, "'messages' has nothing before the answer"),
        ("sft", {"messages": ["hello"]}, "'messages.0' is text ('hello'), expected role and content"),
    ],
)
def test_wrong_shape_is_named(tmp_path: Path, kind: records.RecordKind, row: object, said: str) -> None:
    assert said in failure(lines(tmp_path / "x.jsonl", row), kind)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"text": "a"}\n{"text": \n', "row 2 of x.jsonl isn't valid JSON"),
        (b'{"text": "a"}\n\n{"text": "caf\xe9"}\n', "row 3 of x.jsonl isn't valid UTF-8 (byte 0xe9 at 13); save the file as UTF-8"),
        (b'{"text": NaN}\n', "row 1 of x.jsonl isn't valid JSON (NaN is no JSON value)"),
        (b'{"text": "a", "text": "b"}\n', "row 1 of x.jsonl isn't valid JSON (key 'text' stands twice)"),
        (b'{"text": "a"}\n'.decode().encode("utf-16-le"), "it looks like UTF-16; save the file as UTF-8"),
        (b'[{"text": "a"}]\n', "x.jsonl is one JSON list; expected one object a line: `jq -c '.[]'` makes that of a list"),
        (b'[\n {"text": "a"}\n]\n', "expected one object a line: `jq -c '.[]'` makes that of a list"),
        (b'{\n "text": "a"\n}\n', "`jq -c .` of objects over several lines"),
        (b"\xef\xbb\xbf\n", "x.jsonl is empty; expected one JSON object a line"),
        (b"[" * 100_000 + b"\n", "row 1 of x.jsonl isn't valid JSON"),
        (b"", "x.jsonl is empty; a dataset needs at least one row"),
        (b"\n \n", "x.jsonl is empty; expected one JSON object a line"),
        (LFS_POINTER, "x.jsonl is a Git LFS pointer, not data; run `git lfs pull`"),
        (gzip.compress(b'{"text": "a"}\n' * 99, mtime=0)[:-20], "x.jsonl isn't a whole gzip file"),
    ],
)  # fmt: skip
def test_wrong_file_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    assert said in failure(path, "text")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    assert "no.jsonl doesn't exist" in failure(tmp_path / "no.jsonl")
    assert "is a folder; expected a file" in failure(tmp_path)
    os.mkfifo(tmp_path / "pipe.jsonl")
    assert "pipe.jsonl is a pipe or a device" in failure(tmp_path / "pipe.jsonl")
    assert "can't be read (File name too long)" in failure(tmp_path / ("a" * 300))
    assert "is no path (embedded null byte)" in failure(tmp_path / "a\0b")


@pytest.mark.parametrize("packed", [False, True])
def test_unicode_line_separators_inside_strings_survive(tmp_path: Path, packed: bool) -> None:
    text = "one\u2028two\u0085three\u2029four\x0bfive\x1cé😀"
    path = tmp_path / "x.jsonl"
    assert records.write(path, [{"text": text}, {"text": "b"}]) == 2
    assert "\u2028" in path.read_bytes().decode()  # written as itself, so that a reader that splits on it would fail
    if packed:
        path.write_bytes(gzip.compress(path.read_bytes()))
    assert [row["text"] for row in records.read(path, "text")] == [text, "b"]


def test_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "a"}\r\n{"text": "b"}\r\n')
    assert [row["text"] for row in records.read(path, "text")] == ["a", "b"]


def test_real_files_with_separators_are_read_whole(shared: Path) -> None:
    found = 0
    for path in sorted(shared.rglob("*.jsonl*")):
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        assert len(list(records.read(path))) == len([line for line in raw.split(b"\n") if line.strip()])
        found += any(mark.encode() in raw for mark in ("\u2028", "\u0085"))
    assert found, "the shared data no longer holds U+2028 or U+0085"
