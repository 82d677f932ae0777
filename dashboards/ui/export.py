"""Downloads: CSV and JSON of what a page shows. A cell that a spreadsheet would take for a formula gets an apostrophe."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from dashboards.ui.text import t

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV with a head of all names, in the order in which they first appear."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow([cell(name) for name in names])
    writer.writerows([[cell(row.get(name)) for name in names] for row in rows])
    return target.getvalue()


def cell(value: Any) -> Any:
    """A value as it may stand in a CSV: numbers as they are, text that begins like a formula behind an apostrophe."""
    if value is None or isinstance(value, (int, float)):
        return value
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    return f"'{text}" if text.startswith(_FORMULA) else text


def download(rows: Sequence[Mapping[str, Any]], name: str, key: str | None = None) -> None:
    """Buttons that save rows as ``<name>.csv`` and ``<name>.json``."""
    with st.container(horizontal=True):
        as_json = json.dumps(list(rows), indent=1, default=str, ensure_ascii=False)
        st.download_button(
            t("ui.csv"),
            to_csv(rows),
            f"{name}.csv",
            "text/csv",
            key=f"{key or name}-csv",
            on_click="ignore",
            icon=":material/download:",
        )
        st.download_button(
            t("ui.json"), as_json, f"{name}.json", "application/json", key=f"{key or name}-json", on_click="ignore", type="tertiary"
        )
