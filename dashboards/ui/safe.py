"""Text of models, data and people, shown as text: no HTML, no Markdown, no links or images that a browser would fetch.

Streamlit renders Markdown in labels, messages and tables' links; ``plain`` makes text mean itself there. Where a whole text is
shown, ``text`` and ``code`` need no escaping.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from functools import cache
from typing import Any

import streamlit as st
from streamlit.errors import StreamlitDuplicateElementId, StreamlitDuplicateElementKey

from dashboards.ui import numbers
from dashboards.ui.text import t

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|>~$:<&=/@])")
_INVISIBLE = re.compile("[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_LINKED = re.compile(r"(://|\bwww|@)", re.IGNORECASE)
_JOINER = "\u2060"
_LONGEST = 20_000
_CSS = """.text { white-space: pre-wrap; overflow-wrap: anywhere; font-family: var(--st-font); font-size: 1rem; line-height: 1.6;
  color: var(--st-text-color); tab-size: 4; }"""
_JS = 'export default ({ data, parentElement }) => { parentElement.querySelector(".text").textContent = data; }'


def plain(value: Any, longest: int = 300) -> str:
    """One line of Markdown that shows a text as it is: for labels, headings, messages."""
    line = " ".join(visible(str(value)).split())
    line = line if len(line) <= longest else f"{line[: longest - 1]}…"
    return escaped(line)


def escaped(value: str) -> str:
    """Markdown that shows a text as it is. An invisible sign in addresses keeps them from becoming links: escaping doesn't."""
    return _MARKDOWN.sub(r"\\\1", _LINKED.sub(rf"\1{_JOINER}", value))


def visible(value: str) -> str:
    """A text whose invisible and direction-changing characters are written out, so that it can't look like another."""
    return _INVISIBLE.sub(lambda found: f"\\u{ord(found[0]):04x}", value)


def name(value: str) -> str:
    """A name as a piece of code within a line of Markdown."""
    return f"`{visible(value).replace('`', '')}`"


def text(value: str) -> None:
    """A whole text in the page's font, with its line breaks and indentation."""
    shown = _cut(visible(value)).strip("\n")
    if _indented(shown):
        _as_it_stands(shown)
    else:
        st.text(shown)


def _as_it_stands(shown: str) -> None:
    """Draws an indented text, however often the page has it already: Streamlit takes equal components for one."""
    digest = hashlib.sha256(shown.encode("utf-8", "replace")).hexdigest()
    for number in itertools.count():
        try:
            _component()(data=shown, key=f"text.{digest}.{number}" if number else None)
        except (StreamlitDuplicateElementId, StreamlitDuplicateElementKey):
            continue
        return


def _indented(value: str) -> bool:
    """Whether the first line is indented, as an answer that is code may be: Streamlit's own element trims that away.

    A single space is how some tokenizers begin, and no indentation.
    """
    first = value.split("\n", 1)[0]
    return bool(first.strip()) and first.startswith(("  ", "\t"))


@cache
def _component() -> Any:
    """Writes a text as one text node, so nothing of it is read as HTML, and what is copied is what was said."""
    return st.components.v2.component("lapidar.text", html='<div class="text"></div>', css=_CSS, js=_JS)


def code(value: str, language: str | None = None, height: int | None = None) -> None:
    """A whole text in a fixed-width font that can be copied."""
    st.code(_cut(visible(value)), language=language, wrap_lines=True, height=height or "content")


def _cut(value: str) -> str:
    """A browser shouldn't have to lay out megabytes."""
    return value if len(value) <= _LONGEST else f"{value[:_LONGEST]}\n… ({t('ui.cut', n=numbers.number(len(value) - _LONGEST))})"


def marked(value: str, opening: str = "⟦", closing: str = "⟧") -> None:
    """A text whose parts between two signs are shown on a coloured ground; everything else as it is."""
    found = []
    for line in _cut(visible(value)).split("\n"):
        parts = re.split(f"([{opening}{closing}])", line)
        found.append(parts)
    st.markdown("  \n".join(_coloured(found, opening, closing)))


def _coloured(lines: list[list[str]], opening: str, closing: str) -> list[str]:
    inside, found = False, []
    for parts in lines:
        text = ""
        for part in parts:
            if part in (opening, closing):
                inside = part == opening
            elif part:
                shown = escaped(part)
                text += f":green-background[{shown}]" if inside else shown
        found.append(text or "\u00a0")
    return found
