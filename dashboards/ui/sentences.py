"""Sentences that components say in English, in the reader's language: reasons of the gate, and how two evaluations differ.

The words are in ``dashboards/text/sentences.*.yaml``, those of a reason under its code; numbers in them are formatted as in Python,
with the reader's signs. A reason of a version from before reasons had codes is shown as it was kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.paired import ALPHA
from dashboards.ui import numbers
from dashboards.ui.text import t


class _Number(float):
    """A number that is formatted with the reader's signs."""

    def __format__(self, form: str) -> str:
        value = float(self)
        return numbers.figure(int(value) if not form and value.is_integer() else value, form)


def reason(found: Mapping[str, Any]) -> str:
    """What a check found (``components.gate.Reason`` as JSON)."""
    code = found.get("code") or "-"
    words = t(f"sentences.{code}")
    if words == f"sentences.{code}":
        return str(found["text"])
    values = {**found.get("figures", {}), **found.get("values", {})}
    said = {name: _said(name, value) for name, value in values.items()}
    if "call" in values:
        said["comparison"] = comparison(values)
    try:
        return words.format(**said)
    except (KeyError, ValueError):  # kept by another release, whose sentence had other values
        return str(found["text"])


def comparison(found: Mapping[str, Any]) -> str:
    """What a difference may be called, and its parts (``components.comparison.Comparison`` as JSON)."""
    return f"{call(found)}: {difference(found)}"


def call(found: Mapping[str, Any]) -> str:
    """What a difference may be called: better, worse, or no difference shown."""
    return t(f"sentences.call_{found['call'].replace(' ', '_')}")


def difference(found: Mapping[str, Any]) -> str:
    """A difference with its interval, how often each side won, the noise floor, and why nothing is shown where that is so."""
    floor = found["floor"]
    parts = [
        t(
            "sentences.difference",
            value=numbers.figure(found["value"], "+.3f"),
            between=numbers.between(found["low"], found["high"], "+.3f"),
            confidence=_Number(100 * found["confidence"]),
            corrected=t("sentences.corrected", n=found["family"]) if found["family"] > 1 else "",
            n=found["n"],
        ),
        t("sentences.won", wins=found["wins"], losses=found["losses"], p=_p(found["adjusted"])),
        t("sentences.floor", half=_Number(floor["half_width"]), runs=floor["runs"]) if floor else t("sentences.no_floor"),
    ]
    if why := _why(found):
        parts.append(why)
    return "; ".join(parts)


def _why(found: Mapping[str, Any]) -> str:
    """Why no difference is shown, where there is one to be seen."""
    if found["call"] != "no difference shown":
        return ""
    floor = found["floor"]
    if floor and abs(found["value"]) <= floor["half_width"] and not found["low"] <= found["null"] <= found["high"]:
        return t("sentences.inside_floor")
    if found["detectable"] is None:
        return t("sentences.too_few")
    return t("sentences.detectable", least=_Number(found["detectable"]))


def _p(value: float) -> str:
    """As ``components.comparison`` rounds it: never across the level at which the interval begins to hold zero."""
    return (
        f"p<{numbers.figure(ALPHA, 'g')}" if value < ALPHA <= float(format(value, ".2g")) else f"p={numbers.figure(value, '.2g')}"
    )


def _said(name: str, value: Any) -> Any:
    if name in ("part", "served"):
        words = t(f"sentences.part_{value}")
        return str(value) if words.startswith("sentences.") else words
    if name == "estimate":
        return f"{numbers.interval(value)}, n={_Number(value['n']) if 'n' in value else '?'}"
    return _Number(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value
