"""The words of the dashboard: ``t("home.title")`` in the language of the reader.

A view's words are in ``dashboards/text/<view>.en.yaml`` and ``<view>.pt_BR.yaml``: flat ``key: words``. What is in braces is
filled in: ``t("runs.found", n=3)``. Sample: ``found: "{n} runs"``
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st
import yaml

LANGUAGES = {"en": "English", "pt_BR": "Português"}
FOLDER = Path(__file__).parents[1] / "text"


def t(key: str, **values: Any) -> str:
    """Words for a key ``<view>.<name>``; a key that the language lacks is taken from English, one that English lacks is shown."""
    view, _, name = key.partition(".")
    words = catalogue(view, language()).get(name) or catalogue(view, "en").get(name) or key
    return words.format(**values) if values else words


def language() -> str:
    """``en`` or ``pt_BR``: as the address says (``?lang=``), else as chosen in this session, else as the browser asks."""
    asked = st.query_params.get("lang") or st.session_state.get("language") or _of_browser()
    return asked if asked in LANGUAGES else "en"


@cache
def catalogue(view: str, language: str) -> dict[str, str]:
    """All words of a view in a language; none if there is no such file."""
    file = FOLDER / f"{view}.{language}.yaml"
    return {str(k): str(v) for k, v in (yaml.safe_load(file.read_bytes()) or {}).items()} if file.is_file() else {}


def _of_browser() -> str:
    locale = st.context.locale or ""
    return "pt_BR" if locale.lower().startswith("pt") else "en"
