"""The gate's verdict as a page for people: kept in MLflow beside the JSON, readable without anything else."""

from __future__ import annotations

import html
import json

from components.gate.verdict import Gate, Reason

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
table{border-collapse:collapse;width:100%}td,th{padding:.4rem .6rem;border-bottom:1px solid #ddd;text-align:left;vertical-align:top}
.pass{color:#17692f}.fail{color:#a11}.unknown{color:#8a5a00}b.pass,b.fail,b.unknown{text-transform:uppercase;font-size:.8rem}
pre{font-size:.8rem;background:#f5f5f5;padding:.5rem;overflow:auto}svg{vertical-align:middle}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#1b1b1b}td,th{border-color:#444}pre{background:#262626}
.pass{color:#6fcf87}.fail{color:#ff8a80}.unknown{color:#f0b94d}}
"""
_WIDTH, _MIDDLE = 160, 80


def render(name: str, gate: Gate) -> str:
    """``gate.html`` of a version; equal gates give equal pages, and nothing of the evidence is taken for HTML."""
    against = f"compared with the champion <code>{html.escape(gate.champion)}</code>" if gate.champion else "no champion yet"
    rows = "\n".join(_row(reason) for reason in gate.reasons)
    return (
        "<!doctype html>\n<html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>Gate of {html.escape(name)}: {gate.verdict}</title><style>{_STYLE}</style>\n"
        f"<h1>{html.escape(name)}: <span class={gate.verdict}>{gate.verdict}</span></h1>\n"
        f"<p>weights <code>{html.escape(gate.digest)}</code>, {against}</p>\n<p>{_counted(gate)}</p>\n"
        f"<table><tr><th>verdict<th>check<th>finding</tr>\n{rows}\n</table></html>\n"
    )


def _counted(gate: Gate) -> str:
    found = {verdict: sum(reason.verdict == verdict for reason in gate.reasons) for verdict in ("pass", "fail", "unknown")}
    return f"{found['pass']} findings pass, {found['fail']} fail, {found['unknown']} are unknown; what is unknown isn't passed"


def _row(reason: Reason) -> str:
    figures = json.dumps(reason.figures, indent=1, sort_keys=True, ensure_ascii=False, default=str)
    more = f"<details><summary>figures</summary><pre>{html.escape(figures)}</pre></details>" if reason.figures else ""
    return (
        f"<tr><td><b class={reason.verdict}>{reason.verdict}</b><td>{html.escape(reason.check)}"
        f"<td>{html.escape(reason.text)}{_picture(reason)}{more}</tr>"
    )


def _picture(reason: Reason) -> str:
    """A difference with its interval around zero, and the noise floor as a band; nothing for other findings."""
    found = reason.figures
    if not {"value", "low", "high", "call"} <= found.keys():
        return ""
    floor = (found.get("floor") or {}).get("half_width", 0.0)
    scale = 0.95 * _MIDDLE / max(abs(found["low"]), abs(found["high"]), floor, 1e-9)
    low, value, high, band = (scale * number for number in (found["low"], found["value"], found["high"], floor))
    return (
        f"<br><svg width={_WIDTH} height=18 role=img aria-label='difference, interval and noise floor'>"
        f"<rect x={_MIDDLE - band:.1f} y=2 width={2 * band:.1f} height=14 fill=gray opacity=.25 />"
        f"<line x1={_MIDDLE} x2={_MIDDLE} y1=0 y2=18 stroke=gray />"
        f"<line x1={_MIDDLE + low:.1f} x2={_MIDDLE + high:.1f} y1=9 y2=9 stroke=currentColor stroke-width=2 />"
        f"<circle cx={_MIDDLE + value:.1f} cy=9 r=4 fill=currentColor /></svg>"
    )
