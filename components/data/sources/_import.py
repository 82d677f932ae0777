"""From rows as people have them to a split: column mapping, row checks, ids, a held-out share."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from components.artifacts import RecordKind, SplitName
from components.config import Config
from components.data import records
from components.data.records import FIELDS, Record
from components.data.separate import normalised
from components.errors import InputError

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
        if (name := mapped.get("id")) is not None:
            first = ids.setdefault(str(name), number)
            if first != number:
                raise InputError(f"{records.place(number, path)} repeats id {name!r} of row {first}; ids are unique within a split")
        yield mapped


def _mapped(row: Record, kind: RecordKind, config: SplitConfig, number: int, path: Path) -> Record:
    messages = "messages" in config.columns or ("messages" in row and "prompt" not in config.columns)
    fields = ("messages",) if kind == "sft" and messages else (*FIELDS[kind], *(("label",) if kind == "labelled" else ()))
    wanted = {"id": "id", **{field: field for field in fields}, **config.columns}
    mapped = {}
    for field, column in wanted.items():
        names = _NAMED.findall(column) or [column]
        if missing := [name for name in names if row.get(name) is None]:
            if field == "id" and "id" not in config.columns:
                continue
            if column == field:
                break  # the check behind this names the field and what the kind needs
            raise InputError(
                f"{records.place(number, path)} has no column {missing[0]!r} for '{field}'; it has {', '.join(row) or 'none'}"
            )
        if column == names[0]:
            mapped[field] = _as_text(row[column]) if field in FIELDS[kind] else row[column]
        else:
            mapped[field] = _NAMED.sub(lambda match: str(_as_text(row[match[1]])), column)
    return mapped


def _as_text(value: Any) -> Any:
    """Numbers as people write them (145.0 is 145); what is neither text nor number stays, for the check to name."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


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
        records.write(out / f"{other}.jsonl", (r for r in split if "prompt" not in r or _draw(r["prompt"]) >= share))


def _draw(prompt: str) -> float:
    """A number in [0, 1) that follows from the prompt alone."""
    return int(hashlib.sha256(normalised(prompt).encode()).hexdigest()[:8], 16) / 2**32
