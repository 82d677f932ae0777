"""What changed between two dataset versions: how many rows of each split, and the rows themselves, a page at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import streamlit as st

from components.data import diff
from dashboards import ui
from dashboards.parts import paging
from dashboards.ui import numbers, page_state, safe
from dashboards.ui.text import t

_PAGE = 5
_COUNTED = (*diff.KINDS, "unchanged")
_SIGNS = {"added": ":green-badge[+ {}]", "removed": ":red-badge[− {}]", "changed": ":orange-badge[~ {}]"}


def draw(first: str, second: str, digests: tuple[str, str], name: str) -> None:
    """Counts, and a page of the rows of one split and kind.

    Args:
        first, second: versions as ``components.data.diff`` takes them.
        digests: md5 of both, so that what is kept belongs to this content.
        name: before the names in the address: a page may have others of these.
    """
    home, project = str(ui.settings().root), str(Path.cwd())
    found = _counts(home, project, first, second, digests)["splits"]
    st.dataframe(
        [
            {t("changes.split"): split, **{t(f"changes.at_{kind}"): numbers.number(each[kind]) for kind in _COUNTED}}
            for split, each in found.items()
        ],
        hide_index=True,
        width="stretch",
    )
    some = {split: [kind for kind in diff.KINDS if each[kind]] for split, each in found.items() if any(each[k] for k in diff.KINDS)}
    if not some:
        st.markdown(f":material/check: {t('changes.same')}")
        return
    split, kind = _choose(some, name)
    total = found[split][kind]
    number = paging.turn(-(-total // _PAGE), total, f"{name}_page")
    for change in _rows(home, project, first, second, digests, split, kind, (number - 1) * _PAGE):
        with st.container(border=True):
            _change(change, kind)


def _choose(some: Mapping[str, list[diff.Kind]], name: str) -> tuple[str, diff.Kind]:
    """A split and a kind that have rows; another choice begins at its first page."""
    asked = page_state.get(f"{name}_split"), page_state.get(f"{name}_kind")
    with st.container(horizontal=True):
        split = page_state.choose(t("changes.split"), list(some), f"{name}_split", next(iter(some)))
        kinds = some[split]
        kind = page_state.choose(t("changes.rows"), kinds, f"{name}_kind", kinds[0], lambda each: t(f"changes.at_{each}"))
    if asked != (page_state.get(f"{name}_split"), page_state.get(f"{name}_kind")):
        page_state.put(**{f"{name}_page": None})
    return split, kind


def _change(change: diff.Change, kind: diff.Kind) -> None:
    """A row; of one that changed only the fields that differ, as they were and as they are."""
    st.markdown(f"{_SIGNS[kind].format(t(f'changes.at_{kind}'))} {safe.name(change.id)}")
    before, after = change.before or {}, change.after or {}
    if kind != "changed":
        fields({key: value for key, value in (before or after).items() if key != "id"})
        return
    for key in dict.fromkeys([*before, *after]):
        if before.get(key) != after.get(key):
            left, right = st.columns(2)
            for place, row, word in ((left, before, "before"), (right, after, "after")):
                with place, st.container(gap="xsmall"):
                    st.caption(f"{safe.plain(key)} · {t(f'changes.{word}')}")
                    safe.text(_text(row.get(key)))


def fields(row: Mapping[str, Any]) -> None:
    """A row's fields, each under its name."""
    with st.container(gap="xsmall"):
        for key, value in row.items():
            st.caption(safe.plain(key))
            safe.text(_text(value))


def _text(value: Any) -> str:
    if value is None:
        return "–"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@st.cache_data(max_entries=16, show_spinner=True)
def _counts(home: str, project: str, first: str, second: str, digests: tuple[str, str]) -> dict[str, Any]:
    return diff.diff(first, second, ui.settings(), Path(project))


@st.cache_data(max_entries=64, show_spinner=True)
def _rows(
    home: str, project: str, first: str, second: str, digests: tuple[str, str], split: str, kind: diff.Kind, offset: int
) -> list[diff.Change]:
    return diff.rows(first, second, split, kind, ui.settings(), Path(project), offset, _PAGE)
