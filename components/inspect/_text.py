"""Tokens as text, numbers short enough to send, and pieces of tables for people."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Group
    from rich.text import Text

_BLOCKS = " ▁▂▃▄▅▆▇█"


def pieces(tokenizer: Any) -> Callable[[int], str]:
    """A function that gives a token's text, its leading space kept; half a character is shown as the vocabulary spells it."""
    known: dict[int, str] = {}

    def piece(token: int) -> str:
        if token not in known:
            spelt: str | None = tokenizer.convert_ids_to_tokens(token)
            if spelt is None:  # the embedding may have more rows than the vocabulary
                text = f"<{token}>"
            elif "▁" in spelt:
                text = spelt.replace("▁", " ")
            else:
                text = str(tokenizer.decode([token]))
                text = spelt if "�" in text else text
            known[token] = text
        return known[token]

    return piece


def listed(values: Any, digits: int = 6) -> Any:
    """A tensor as nested lists of floats with that many significant digits: half the bytes, the same picture."""
    return _rounded(values.tolist() if hasattr(values, "tolist") else values, digits)


def _rounded(values: Any, digits: int) -> Any:
    if isinstance(values, list):
        return [_rounded(value, digits) for value in values]
    return float(f"{values:.{digits}g}")


def visible(text: str) -> str:
    """A token for a table: spaces and line ends to be seen."""
    return text.replace(" ", "·").replace("\n", "⏎").replace("\t", "⇥")


def bar(share: float | None, width: int = 12) -> str:
    """A bar for a share between 0 and 1."""
    if share is None or not math.isfinite(share):
        return ""
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    return "█" * (eighths // 8) + ("▏▎▍▌▋▊▉"[eighths % 8 - 1] if eighths % 8 else "")


def spark(values: Iterable[float | None], top: float | None = None) -> str:
    """One block a value, as high as it is against the highest."""
    found = [0.0 if value is None else value for value in values]
    top = top or max(found, default=0.0) or 1.0
    return "".join(_BLOCKS[max(0, min(8, round(8 * value / top)))] for value in found)


def shade(value: float, top: float, text: str) -> Text:
    """A number's cell, the lighter the larger: an element of a heat map."""
    from rich.text import Text

    level = round((max(0.0, min(1.0, value / top)) if top else 0.0) ** 0.5 * 23)
    return Text(text, style=f"{'black' if level > 11 else 'white'} on color({232 + level})")


def blocks(values: Sequence[float]) -> str:
    """A line of a map without colours: two characters a share, the darker the smaller."""
    return "".join("·░▒▓█"[min(4, round(4 * value**0.5))] * 2 for value in values)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], text: Sequence[str] = ()) -> Group:
    """A titled table whose numbers are short and on the right; where it is too narrow, the last column is folded.

    Args:
        text: columns that stand on the left.
    """
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    found = Table(header_style="bold", box=None, pad_edge=False)
    for place, column in enumerate(columns):
        last = place == len(columns) - 1 and column in text
        found.add_column(column, justify="left" if column in text else "right", no_wrap=not last, overflow="fold")
    for row in rows:
        found.add_row(*(cell if isinstance(cell, Text) else Text(short(cell)) for cell in row))
    return Group(Text(f"\n{title}", style="bold"), found)


def short(value: Any) -> str:
    """A cell's text: numbers with three or four digits, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value)
    if value == 0 or 0.001 <= abs(value) < 10000:
        return f"{value:.3f}" if abs(value) < 100 else f"{value:.1f}"
    return f"{value:.2e}"


def cut(ids: tuple[int, ...], limit: int, what: str) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The first ``limit`` tokens and the sentence that says so, if there are more."""
    if len(ids) <= limit:
        return ids, ()
    return ids[:limit], (f"{what} of the first {limit} of {len(ids)} tokens; max_tokens={len(ids)} shows all",)
