"""An answer token by token: its probability as colour, its alternatives on hover, focus or touch.

A component with a script of ours: it writes every token as a text node, so what a model says is never read as HTML.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import streamlit as st

from components.inference.reading import Alternative, Token
from dashboards.ui import numbers, safe
from dashboards.ui.text import t

_CSS = """
.answer { white-space: pre-wrap; overflow-wrap: anywhere; font-family: var(--st-font); font-size: 1rem; line-height: 1.75;
  color: var(--st-text-color); position: relative; }
.token { border-radius: 3px; padding: 1px 0; cursor: help; outline: none;
  background: color-mix(in srgb, var(--st-orange-color, #e0703a) calc(var(--doubt) * 60%), transparent); }
.token:hover, .token:focus { box-shadow: 0 0 0 1.5px var(--st-primary-color); }
.tip { position: absolute; z-index: 5; display: none; min-width: 11rem; max-width: min(18rem, 90%); padding: .5rem .65rem;
  border: 1px solid var(--st-border-color); border-radius: .5rem; background: var(--st-background-color);
  box-shadow: 0 4px 16px rgb(0 0 0 / .18); font-size: .8rem; line-height: 1.45; pointer-events: none; }
.row { display: grid; grid-template-columns: minmax(0, 1fr) 3.4rem; gap: .5rem; position: relative; padding: 1px 4px; }
.row span:first-child { font-family: var(--st-code-font); overflow: hidden; text-overflow: ellipsis; white-space: pre; }
.row span:last-child { text-align: right; font-variant-numeric: tabular-nums; }
.row.chosen { font-weight: 650; }
.row::before { content: ""; position: absolute; inset: 1px auto 1px 0; width: calc(var(--share) * 100%); border-radius: 3px;
  background: color-mix(in srgb, var(--st-primary-color) 22%, transparent); }
.row span { position: relative; }
.note { opacity: .7; padding: 0 4px 2px; }
"""
_JS = """
export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".answer");
  root.replaceChildren();
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.setAttribute("role", "tooltip");
  const tenths = (p) => (100 * p).toFixed(1).replace(".", data.decimal);
  const share = (p) => (p >= 0.9995 ? "100 %" : p < 0.001 ? `<0${data.decimal}1 %` : tenths(p) + " %");
  const line = (label, p, chosen) => {
    const row = document.createElement("div");
    row.className = chosen ? "row chosen" : "row";
    row.style.setProperty("--share", String(p));
    for (const text of [label, share(p)]) {
      const cell = document.createElement("span");
      cell.textContent = text;
      row.append(cell);
    }
    return row;
  };
  const show = (span, token) => {
    tip.replaceChildren();
    const known = token.others.some((other) => other[0] === token.label);
    const others = known ? token.others : [[token.label, token.p], ...token.others];
    for (const [label, p] of others) tip.append(line(label, p, label === token.label));
    tip.style.display = "block";
    const box = span.getBoundingClientRect(), home = root.getBoundingClientRect();
    tip.style.left = Math.max(0, Math.min(box.left - home.left, home.width - tip.offsetWidth)) + "px";
    tip.style.top = box.bottom - home.top + 4 + "px";
  };
  const hide = () => { tip.style.display = "none"; };
  for (const token of data.tokens) {
    const span = document.createElement("span");
    span.className = "token";
    span.textContent = token.text;
    span.tabIndex = 0;
    span.setAttribute("aria-label", token.label + " " + share(token.p));
    span.style.setProperty("--doubt", String(1 - token.p));
    span.onmouseenter = span.onfocus = () => show(span, token);
    span.onmouseleave = span.onblur = hide;
    root.append(span);
  }
  root.append(tip);
}
"""


def draw(tokens: Sequence[Token], key: str) -> None:
    """Draws an answer's tokens."""
    _component()(data={"tokens": [_shown(token) for token in tokens], "decimal": numbers.signs()[0]}, key=key)
    st.caption(t("talk.tokens_hint"))


def packed(tokens: Sequence[Token]) -> list[Any]:
    """Tokens as they are kept with a message: ``[text, logprob, [[alternative, logprob], …]]``."""
    return [[token.text, round(token.logprob, 4), [[a.text, round(a.logprob, 4)] for a in token.alternatives]] for token in tokens]


def unpacked(kept: Any) -> list[Token]:
    """The tokens of ``packed``; none if a message was kept without, or in another way."""
    try:
        return [Token(0, str(text), float(p), tuple(Alternative(str(a), float(q)) for a, q in others)) for text, p, others in kept]
    except (TypeError, ValueError):
        return []


def of(answer: str, tokens: Sequence[Token]) -> list[Token]:
    """The tokens that an answer is made of, without the end token, which is no part of its text; none if they don't make it."""
    whole = ""
    for number, token in enumerate(tokens, 1):
        whole += token.text
        if whole.strip() == answer.strip():
            return list(tokens[:number])
    return []


def _shown(token: Token) -> dict[str, Any]:
    others = [[_label(other.text), Token(0, other.text, other.logprob).probability] for other in token.alternatives]
    return {"text": safe.visible(token.text), "label": _label(token.text), "p": token.probability, "others": others}


def _label(text: str) -> str:
    """A token by itself, with its spaces and line breaks made visible."""
    return safe.visible(text).replace(" ", "␣").replace("\n", "⏎").replace("\t", "⇥") or "∅"


@cache
def _component() -> Any:
    return st.components.v2.component("lapidar.tokens", html='<div class="answer"></div>', css=_CSS, js=_JS)
