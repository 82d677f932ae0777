"""Which layers mind being quantized: the increase of the loss on some texts when one layer, or one module, alone is.

``value`` is the mean increase over the texts in nats a token with its 95 % bootstrap interval; formats as in
``components.models.sensitivity``. A layer whose interval holds 0 isn't shown to lose anything.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from components.errors import InputError
from components.inspection import Document, Prompt, ViewConfig
from components.models.sensitivity import Format, TokenRow

if TYPE_CHECKING:
    from rich.console import RenderableType

MOST_TOKENS = 8192
"""Of all texts together."""


class Config(ViewConfig):
    """Settings of the sensitivity view.

    Attributes:
        texts: calibration texts; the prompt, if there is one, is one more.
        answers: what follows each of the texts, which are then a user's messages in the chat template; only answers count.
        formats: what each part is quantized to.
        by: whether a part is a decoder layer or a module.
        max_tokens: longer texts are cut.
        seconds: after that many, what hasn't been measured is left out.
    """

    needs_prompt: ClassVar[bool] = False
    method: Literal["sensitivity"] = "sensitivity"
    texts: tuple[str, ...] = Field((), max_length=64)
    answers: tuple[str, ...] = Field((), max_length=64)
    formats: tuple[Format, ...] = Field(("rtn2", "rtn3", "nf4", "llm_int8"), min_length=1)
    by: Literal["layer", "module"] = "layer"
    max_tokens: int = Field(256, ge=2, le=2048)
    seconds: float = Field(60.0, gt=0, le=600)


def view(config: Config, model: Any, tokenizer: Any, prompt: Prompt | None) -> Document:
    """One row a part and format: ``part, layer, kind, format, value, low, high, n``; ``facts`` has the loss before.

    Raises:
        InputError: if there is no text, there are too many tokens, or the model is quantized or has an adapter.
    """
    from components.models.sensitivity import increases, row_losses

    rows = _rows(config, tokenizer, prompt)
    if not rows:
        raise InputError("sensitivity is a loss on texts: add --prompt TEXT, or texts=[…]")
    if (total := sum(len(row.ids) for row in rows)) > MOST_TOKENS:
        raise InputError(f"the texts have {total} tokens, sensitivity takes {MOST_TOKENS}; give fewer, or lower max_tokens")
    parts = _parts(model, config.by)
    began, found, notes = time.monotonic(), list[dict[str, Any]](), list[str]()
    losses = row_losses(model, rows)
    for record in increases(model, parts, config.formats, rows, losses):
        found.append(record)
        if time.monotonic() - began > config.seconds and (left := len(parts) * len(config.formats) - len(found)):
            notes.append(f"{left} of {left + len(found)} measurements left out after {config.seconds:g} s; raise seconds")
            break
    if odd := sorted({name for record in found for name in record["left_out"]}):
        notes.append(f"{len(odd)} modules have widths that nf4 can't pack, so they stay as they are in it: {', '.join(odd[:3])}…")
    table = [_place(record["part"]) | {k: v for k, v in record.items() if k != "left_out"} for record in found]
    columns = {key: [row[key] for row in table] for key in table[0]}
    facts = {"texts": len(rows), "tokens": total, "loss": sum(losses) / len(losses), "by": config.by}
    settings = config.model_dump(exclude={"texts", "answers"})
    return Document("sensitivity", settings, facts, columns, tuple(notes))


def _rows(config: Config, tokenizer: Any, prompt: Prompt | None) -> list[TokenRow]:
    """The texts as tokens; of an answer that is cut to nothing, nothing is left to score.

    Raises:
        InputError: if answers are given, but not one for each text.
    """
    if config.answers and len(config.answers) != len(config.texts):
        raise InputError(
            f"sensitivity has {len(config.texts)} texts and {len(config.answers)} answers; give one answer a text, or none"
        )
    chat = bool(tokenizer.chat_template)
    found = [Prompt.of(tokenizer, text, answer, chat) for text, answer in zip(config.texts, config.answers, strict=False)]
    found += [Prompt.of(tokenizer, text) for text in config.texts] if not config.answers else []
    rows = []
    for each in [*found, *([prompt] if prompt is not None else [])]:
        start = each.answer_from if each.answer_from < len(each.ids) else 0
        ids = each.ids[: config.max_tokens]
        rows.append(TokenRow(ids, [i >= start for i in range(len(ids))]))
    return [row for row in rows if any(row.scored[1:])]


def _parts(model: Any, by: str) -> dict[str, list[str]]:
    """Names of linear modules by the part that they are quantized with.

    Raises:
        InputError: if they aren't plain weights.
    """
    from torch.nn import Linear

    from components.models.precision import layers

    found = layers(model)
    if strange := [name for layer in found for name, module in layer.items() if type(module) is not Linear or ".lora_" in name]:
        raise InputError(
            f"sensitivity quantizes plain weights, and {strange[0]} isn't; take the merged version, or the base without adapter"
        )
    if by == "layer":
        return {str(i): list(layer) for i, layer in enumerate(found)}
    return {name: [name] for layer in found for name in layer}


def _place(part: str) -> dict[str, Any]:
    if part.isdigit():
        return {"layer": int(part), "kind": "layer"}
    return {"layer": int(part.partition("layers.")[2].partition(".")[0]), "kind": part.rpartition(".")[2]}


def show(document: Document, width: int) -> Iterator[RenderableType]:
    """A map of part × format, then one line each with its interval."""
    from components.inspect._text import shade, table

    rows = list(document.rows)
    formats = list(dict.fromkeys(row["format"] for row in rows))
    cells = {(row["part"], row["format"]): row["value"] for row in rows}
    top = max(0.0, *cells.values()) if cells else 0.0
    body = [
        [part.removeprefix("model."), *(_cell(shade, cells.get((part, form)), top) for form in formats)]
        for part in dict.fromkeys(row["part"] for row in rows)
    ]
    facts = document.facts
    title = (
        f"Increase of the loss (now {facts['loss']:.4f} nats a token, {facts['texts']} texts) when one {facts['by']} is quantized"
    )
    yield table(title, (facts["by"], *formats), body)
    shown = sorted(rows, key=lambda row: -row["value"])[:12]
    lines = [(r["part"].removeprefix("model."), r["format"], r["value"], r["low"], r["high"]) for r in shown]
    yield table("Most sensitive", ("part", "format", "increase", "95 % from", "to"), lines, ("part", "format"))


def _cell(shade: Any, value: float | None, top: float) -> Any:
    return "" if value is None else shade(max(0.0, value), top, f" {value:.4f} ")
