"""Numbers for people: with their interval, their unit, as few digits as they deserve, and the signs of the reader's language.

What is saved to a file has none of this: exports take the values themselves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from dashboards.ui.text import language, t

_COLOURS = {"pass": "green", "fail": "red", "unknown": "orange"}
_ICONS = {"pass": ":material/check_circle:", "fail": ":material/cancel:", "unknown": ":material/help:"}
_STATES = {
    "running": ("blue", "play_circle"),
    "finished": ("green", "check_circle"),
    "ran": ("green", "check_circle"),
    "cached": ("gray", "history"),
    "failed": ("red", "cancel"),
    "killed": ("orange", "bolt"),
}
_SIGNS = {"en": (".", ","), "pt_BR": (",", ".")}
_SWAP = str.maketrans(".,", ",.")


def signs() -> tuple[str, str]:
    """What stands before decimals, and between thousands."""
    return _SIGNS[language()]


def figure(value: float, form: str) -> str:
    """A number in one of Python's formats (``.3f``, ``+,.1f``, ``.0%``) with the reader's signs.

    >>> figure(1234.5, ",.2f")
    '1,234.50'
    """
    text = format(value, form)
    return text if signs() == (".", ",") else text.translate(_SWAP)


def interval(value: Mapping[str, Any] | float | None, signed: bool = False) -> str:
    """``0.412 [0.380, 0.444]``; only the number where there is no interval; a dash where there is nothing."""
    if value is None:
        return "–"
    if not isinstance(value, Mapping):
        return number(value)
    sign = "+" if signed else ""
    middle = figure(value["value"], f"{sign}.3f")
    if value.get("low") is None or value.get("high") is None:
        return middle
    return f"{middle} {between(value['low'], value['high'], f'{sign}.3f')}"


def between(low: float, high: float, form: str) -> str:
    """An interval's ends: ``[0.380, 0.444]``, where a comma stands before decimals ``[0,380; 0,444]``."""
    mark = ";" if signs()[0] == "," else ","
    return f"[{figure(low, form)}{mark} {figure(high, form)}]"


def number(value: float | None) -> str:
    """Four significant digits, thousands apart; large and tiny ones with an exponent."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, float) and (math.isinf(value) or (value and not 1e-4 <= abs(value) < 1e7)):
        return figure(value, ".3g")
    return figure(value, ",.0f" if float(value).is_integer() else ",.4g")


def share(value: float | None) -> str:
    """A part of a whole: ``83 %``, ``1.5 %``, ``<0.1 %``."""
    if value is None or math.isnan(value):
        return "–"
    part = 100 * value
    if 0 < part < 0.1:
        return f"<{figure(0.1, '.1f')} %"
    return f"{figure(part, '.1f')} %" if 0 < abs(part) < 9.95 else f"{figure(part, '.0f')} %"


def duration(seconds: float | None) -> str:
    """``0.4 s``, ``12 s``, ``3 min 05 s``, ``2 h 07 min``."""
    if seconds is None:
        return "–"
    if seconds < 100:
        return f"{figure(seconds, '.1f' if seconds < 10 else '.0f')} s"
    if seconds < 3600:
        return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"
    return f"{int(seconds) // 3600} h {int(seconds) // 60 % 60:02d} min"


def ago(when: datetime | None, now: datetime | None = None) -> str:
    """How long ago: ``5 min ago``; a date after a week."""
    if when is None:
        return "–"
    passed = ((now or datetime.now(UTC)) - when).total_seconds()
    for least, unit, size in ((86400 * 7, "", 0), (86400, "days", 86400), (3600, "hours", 3600), (60, "minutes", 60)):
        if passed >= least:
            return t(f"ui.ago_{unit}", n=int(passed // size)) if unit else f"{when:%Y-%m-%d}"
    return t("ui.now")


def size(count: float | None) -> str:
    """Bytes with a unit: ``1.2 MB``."""
    if count is None:
        return "–"
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{figure(count, '.0f' if unit == 'B' else '.1f')} {unit}"
        count /= 1000
    return f"{figure(count, '.1f')} TB"


def verdict(found: str) -> str:
    """A gate's verdict as a Markdown badge with its sign, so that colour alone says nothing."""
    colour, icon = _COLOURS.get(found, "gray"), _ICONS.get(found, ":material/help:")
    word = t(f"ui.verdict_{found}") if found in _COLOURS else t("ui.verdict_unknown")
    return f":{colour}-badge[{icon} {word}]"


def check(name: str, what: Literal["check", "asks"] = "check") -> str:
    """What a gate's check is called, or what it asks; empty where the catalogue hasn't it."""
    key = name.replace(" ", "_")
    found = t(f"gate.check_{key}") if what == "check" else t(f"gate.asks_{key}")
    return "" if found == f"gate.{what}_{key}" else found


def state(found: str) -> str:
    """The reader's word for a run's or stage's state."""
    return t(f"ui.status_{found if found in _STATES else 'waiting'}")


def status(found: str) -> str:
    """A run's or stage's state as a Markdown badge."""
    colour, icon = _STATES.get(found, ("gray", "schedule"))
    return f":{colour}-badge[:material/{icon}: {state(found)}]"
