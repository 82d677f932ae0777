"""``lapidar inspect``: opens a model and shows one view of it, as tables, JSON or an Arrow file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.errors import InputError
from components.recipe import apply_override
from components.settings import Settings
from flows import cli_models, output

_WIDTH = 132
_ROWS = 32


def inspect(
    source: str,
    view: str,
    settings: list[str],
    prompt: str | None,
    answer: str,
    chat: bool,
    adapter: Path | None,
    rows: Path | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Prints the view; a wrong name or setting is told before a model is loaded."""
    from components import inspection, methods
    from components.models.open import open_model

    values: dict[str, Any] = {}
    for setting in settings:
        apply_override(values, setting)
    if rows is not None:
        values |= _conversations(rows)
    config = inspection.configure(view, values)
    if config.needs_prompt and not prompt:
        raise InputError(f"{view} shows what the model makes of a text; add --prompt TEXT")
    if out is not None and out.suffix not in inspection.ENDINGS:
        raise InputError(f"--out {out} should end in {' or '.join(inspection.ENDINGS)}: the ending says what is written")
    if source.startswith("models:/"):
        cli_models.registry_for(source)
    model, tokenizer = open_model(source, Settings(), adapter, unmerged=view == "adapter")
    text = inspection.Prompt.of(tokenizer, prompt, answer, chat) if prompt else None
    document = inspection.inspect(view, values, model, tokenizer, text)
    size = document.save(out) if out is not None else 0
    if as_json:
        output.document(document.to_dict())
        return
    _print(methods.load("inspect", view), document)
    if out is not None:
        print(f"{out}: {size} bytes", file=output.people())


def _conversations(file: Path) -> dict[str, list[str]]:
    """The first rows of a file as texts and their answers; of a conversation its last message.

    Raises:
        InputError: if it isn't there or a row isn't one of SFT.
    """
    from itertools import islice

    from components.data.records import read
    from components.models.chat import as_messages

    pairs = [as_messages(record) for record in islice(read(file, "sft"), _ROWS)]
    return {"texts": [asked[-1]["content"] for asked, _ in pairs], "answers": [said[0]["content"] for _, said in pairs]}


def _print(module: Any, document: Any) -> None:
    from rich.console import Console

    stream = output.people()
    console = Console(file=stream, highlight=False, markup=False, width=None if stream.isatty() else _WIDTH)
    for part in module.show(document, console.width):
        console.print(part)
    for note in document.notes:
        console.print(f"note: {note}")
