"""From rows as people have them to a split: column mapping, row checks, ids, a held-out share."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from components.artifacts import RecordKind, SplitName
from components.config import Config
from components.data import records
from components.data.records import FIELDS, Record
from components.data.separate import normalised, whole
from components.errors import InputError

_MESSAGES = ("messages", "prompt", "tools")
_NAMED = re.compile(r"\{([^{}]+)\}")
_KINDS: dict[SplitName, RecordKind] = {
    "corpus": "text", "sft": "sft", "preference": "preference", "labelled": "labelled", "prompts": "prompts", "heldout": "prompts",
}  # fmt: skip


class SplitConfig(Config):
    """How a split is made from rows.

    Attributes:
        kind: needed only for a held-out split that doesn't hold prompts; the other splits have theirs.
        columns: our field → their column, or a text with columns in braces: ``{prompt: "{Body} {Question}"}``. Fields
            that aren't named are taken from columns of the same name; a field that no kind knows is carried along.
        limit: first rows that are used.
    """

    kind: RecordKind | None = None
    columns: dict[str, str] = Field(default_factory=dict)
    limit: int | None = Field(None, ge=1)

    @field_validator("columns")
    @classmethod
    def _no_empty(cls, value: dict[str, str]) -> dict[str, str]:
        if empty := [name for name, column in value.items() if not column]:
            raise ValueError(f"{empty[0]!r} names no column")
        return value


def kind_for(split: SplitName, config: SplitConfig) -> RecordKind:
    """The record kind of a split.

    Raises:
        InputError: if the recipe gives a split a kind that isn't its own.
    """
    own = _KINDS[split]
    if config.kind is not None and config.kind != own and split != "heldout":
        raise InputError(f"data: split {split} holds {own} rows, not {config.kind}; leave its 'kind' out")
    if split == "heldout" and config.kind in ("sft", "labelled"):
        raise InputError(
            f"data: what is held out are prompts, preference or text rows, not {config.kind}; leave its 'kind' out and "
            "say which column holds the right answer, e.g. columns: {answer: completion}"
        )
    return config.kind or own


def rows(found: Iterable[Record], split: SplitName, config: SplitConfig, path: Path) -> Iterator[Record]:
    """Rows of a split, mapped and checked; numbers become text.

    Raises:
        InputError: naming the row of ``path`` and the field or column.
    """
    kind = kind_for(split, config)
    ids: dict[str, int] = {}
    for number, row in enumerate(found, 1):
        if config.limit is not None and number > config.limit:
            return
        mapped = _mapped(row, kind, config, number, path)
        records.check(mapped, kind, number, path)
        _check_carried(mapped, kind, number, path)
        if (name := mapped.get("id")) is not None:
            first = ids.setdefault(str(name), number)
            if first != number:
                raise InputError(f"{records.place(number, path)} repeats id {name!r} of row {first}; ids are unique within a split")
        yield mapped


def _mapped(row: Record, kind: RecordKind, config: SplitConfig, number: int, path: Path) -> Record:
    wanted = {**{name: name for name in _taken(row, kind, config)}, **config.columns}
    mapped = {}
    for field, column in wanted.items():
        names = _NAMED.findall(column) or [column]
        if missing := next((name for name in names if row.get(name) is None), None):
            if column == field and missing in row:
                break  # the check behind this says that it is empty, and what the kind needs
            raise InputError(_missing(row, field, column, missing, kind, number, path))
        if column == names[0]:
            value = _without_nulls(row[column]) if field in _MESSAGES else row[column]
            mapped[field] = _as_text(value) if field in (*FIELDS[kind], "id") else value
        else:
            mapped[field] = _filled(column, {name: row[name] for name in names}, field, number, path)
    return mapped


def _filled(template: str, values: Record, field: str, number: int, path: Path) -> str:
    """A text with columns in braces, filled in."""
    texts = {name: _as_text(value) for name, value in values.items()}
    if wrong := next((name for name, text in texts.items() if not isinstance(text, str)), None):
        shown = records.shown(values[wrong])
        raise InputError(f"{records.place(number, path)}: column {wrong!r} of '{field}' is {shown}, expected text or a number")
    return _NAMED.sub(lambda match: texts[match[1]], template)


def _taken(row: Record, kind: RecordKind, config: SplitConfig) -> Iterator[str]:
    """The fields that are read from columns of the same name where the recipe names none."""
    if row.get("id") is not None:
        yield "id"
    messages = "messages" in config.columns or (row.get("messages") is not None and "prompt" not in config.columns)
    yield from ("messages",) if kind == "sft" and messages else FIELDS[kind]
    if kind == "labelled":
        yield "label"
    if kind in ("preference", "labelled") and isinstance(row.get("prompt"), list) and row.get("tools") is not None:
        yield "tools"


def _missing(row: Record, field: str, column: str, missing: str, kind: RecordKind, number: int, path: Path) -> str:
    """What is wrong with a row whose column isn't there, or is there and empty."""
    place = records.place(number, path)
    if missing in row:
        return f"{place}: column {missing!r} for '{field}' is empty; fill it in or leave the row out"
    wrong = f"has no '{field}'; {records.needs(kind)}" if column == field else f"has no column {missing!r} for '{field}'"
    return f"{place} {wrong}; it has {', '.join(row) or 'none'}"


def _as_text(value: Any) -> Any:
    """Numbers as people write them (145.0 is 145); what is neither text nor number stays, for the check to name."""
    if isinstance(value, float):
        return value if not math.isfinite(value) else str(int(value) if value.is_integer() else value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _without_nulls(value: Any) -> Any:
    """Messages as they were before a table gave each the keys of all others, as null: templates ask whether a key is there."""
    if isinstance(value, list):
        return [_without_nulls(inside) for inside in value]
    if isinstance(value, dict):
        return {key: _without_nulls(inside) for key, inside in value.items() if inside is not None}
    return value


def _check_carried(mapped: Record, kind: RecordKind, number: int, path: Path) -> None:
    """Refuses what JSON can't hold among the fields that the kind's own check passes over."""
    for field, value in mapped.items():
        if isinstance(value, str) and field in FIELDS[kind]:
            continue
        try:
            records.encoded(value)
        except (TypeError, ValueError, RecursionError) as error:
            shown = records.shown(value)
            raise InputError(f"{records.place(number, path)}: '{field}' is {shown}, which JSON can't hold ({error})") from error


def hold_out(out: Path, share: float) -> None:
    """Moves a share of the rows to ``heldout.jsonl``: of prompts, else of preference, else of SFT pairs.

    Which rows follows from their prompt alone, so more rows never move an old one from training to evaluation.

    Raises:
        InputError: if no split can be evaluated on.
    """
    found: dict[str, list[Record]] = {
        name: list(records.read(out / f"{name}.jsonl"))
        for name in ("prompts", "preference", "sft")
        if (out / f"{name}.jsonl").exists()
    }
    name = next((n for n, split in found.items() if all("prompt" in row for row in split)), None)
    if name is None:
        raise InputError("data.heldout_share: there are neither prompts nor pairs to hold out; give a heldout split or set it to 0")
    held = [row for row in found[name] if _draw(row["prompt"]) < share]
    if not held:
        raise InputError(f"data.heldout_share={share} of {len(found[name])} rows is none; raise it or set it to 0")
    if name == "sft":
        held = [{"prompt": row["prompt"], "answer": row["completion"]} for row in held]
    records.write(out / "heldout.jsonl", held)
    for other, split in found.items():  # an equal prompt may stand in another split
        if not records.write(out / f"{other}.jsonl", (r for r in split if "prompt" not in r or _draw(r["prompt"]) >= share)):
            raise InputError(f"data.heldout_share={share} of {len(split)} rows leaves none in {other}; lower it or bring more rows")


def _draw(prompt: str | list[dict[str, str]]) -> float:
    """A number in [0, 1) that follows from the prompt alone."""
    return int(hashlib.sha256(normalised(whole(prompt)).encode()).hexdigest()[:8], 16) / 2**32
