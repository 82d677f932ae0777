"""The evaluated items of a version: what was asked, what it said, what it got; a page at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from dashboards.parts import paging
from dashboards.ui import page_state, safe
from dashboards.ui.text import t

FILTERS = ("all", "wrong", "right", "truncated", "unparsed")


def draw(items: Sequence[Mapping[str, Any]] | None) -> None:
    """A filter, and the items that it leaves."""
    if not items:
        st.caption(t("answers.none"))
        return
    asked = page_state.get("show", "all", FILTERS)
    chosen = st.segmented_control(
        t("answers.show"),
        FILTERS,
        default=asked,
        format_func=lambda name: t(f"answers.at_{name}"),
        required=True,
        key="answers-show",
    )
    if chosen != asked:
        page_state.put(item=None)
    page_state.put(show=None if chosen == "all" else chosen)
    found = [item for item in items if _kept(item, str(chosen))]
    if not found:
        st.caption(t("answers.none_left"))
        return
    for item in paging.page_of(found, 5, "item"):
        _item(item)


def _kept(item: Mapping[str, Any], chosen: str) -> bool:
    first = next(iter(item["scores"].values()), None)
    return {
        "all": True,
        "wrong": first == 0,
        "right": first is not None and first > 0,
        "truncated": bool(item.get("truncated")),
        "unparsed": item.get("parsed") is False,
    }[chosen]


def _item(item: Mapping[str, Any]) -> None:
    marks = [f"{name} {value:g}" for name, value in item["scores"].items()]
    marks += [
        t(f"answers.at_{name}")
        for name, holds in (("truncated", item.get("truncated")), ("unparsed", item.get("parsed") is False))
        if holds
    ]
    with st.container(border=True):
        group = f" · {item['group']}" if item.get("group") else ""
        st.markdown(
            f"**{safe.plain(item['benchmark'])}**{safe.plain(group)} · {safe.plain(item['id'])} · {safe.plain(', '.join(marks))}"
        )
        left, right = st.columns(2)
        with left:
            st.caption(t("answers.prompt"))
            safe.code(_text(item.get("prompt")))
            if item.get("target") is not None:
                st.caption(t("answers.target"))
                safe.code(_text(item["target"]))
        with right:
            st.caption(t("answers.response"))
            safe.code(_text(item.get("response")))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1)
