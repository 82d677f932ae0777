"""State of a page in its address, so that what one sees can be sent to somebody: ``/compare?runs=a,b&axis=time``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import streamlit as st

KEPT = ("lang",)
"""What stays in the address from page to page."""
Option = TypeVar("Option", bound=str)


def get(name: str, default: str = "", among: Iterable[str] | None = None) -> str:
    """A value of the address; ``default`` if it isn't there or isn't one of ``among``."""
    value = st.query_params.get(name, default)
    return value if among is None or value in set(among) else default


def get_list(name: str) -> list[str]:
    """Values that were put as a list, without repetitions."""
    return list(dict.fromkeys(part for part in get(name).split(",") if part))


def get_int(name: str, default: int, low: int | None = None, high: int | None = None) -> int:
    """A whole number of the address, moved into its range; ``default`` if it is none."""
    try:
        value = int(get(name, str(default)))
    except ValueError:
        return default
    value = value if low is None else max(low, value)
    return value if high is None else min(high, value)


def put(**values: str | int | Iterable[str] | None) -> None:
    """Writes values into the address; None and what is empty leave it."""
    for name, value in values.items():
        if text := _text(value):
            st.query_params[name] = text
        else:
            st.query_params.pop(name, None)


def choose(
    label: str, options: Sequence[Option], name: str, default: Option, words: Callable[[Option], str] = str, hidden: bool = False
) -> Option:
    """One of a few, which the address keeps by itself (Streamlit's own binding keeps the words, which another language hasn't).

    Args:
        name: in the address.
        words: what an option is called.
        hidden: whether the label is for screen readers only.
    """
    chosen: Any = st.segmented_control(
        label,
        list(options),
        default=get(name, default, options),
        key=f"choose-{name}",
        required=True,
        format_func=words,
        label_visibility="collapsed" if hidden else "visible",
    )
    found: Option = default if chosen is None else chosen
    put(**{name: None if found == default else str(found)})
    return found


def link(page: str, label: str, values: Mapping[str, str | int | Iterable[str]] | None = None, icon: str | None = None) -> None:
    """A link to a page of the dashboard with its state: ``link("run", name, {"id": run})``."""
    from dashboards import navigation

    found = navigation.page(page)
    if found is None:  # this reader's role hasn't it
        st.text(label)
        return
    state = {name: text for name, value in (values or {}).items() if (text := _text(value))}
    kept = {name: st.query_params[name] for name in KEPT if name in st.query_params}
    st.page_link(found, label=label, icon=icon, query_params={**kept, **state})


def go(page: str, **values: str | int | Iterable[str]) -> None:
    """Opens a page with its state, at once."""
    from dashboards import navigation

    if (found := navigation.page(page)) is None:
        return
    kept = {name: st.query_params[name] for name in KEPT if name in st.query_params}
    st.switch_page(found, query_params={**kept, **{name: text for name, value in values.items() if (text := _text(value))}})


def url(page: str, **values: str | int | Iterable[str]) -> str:
    """Address of a page within the dashboard, for cells of tables: ``/run?id=…``."""
    from urllib.parse import urlencode

    state = {name: text for name, value in values.items() if (text := _text(value))}
    kept = {name: st.query_params[name] for name in KEPT if name in st.query_params}
    return f"/{page}?{urlencode({**kept, **state})}"


def version(uri: str) -> dict[str, str]:
    """State of the page Registry that shows a version: ``models:/name/3`` → model and version."""
    name, _, number = uri.removeprefix("models:/").rpartition("/")
    return {"model": name, "version": number}


def _text(value: str | int | Iterable[str] | None) -> str:
    if value is None or isinstance(value, (str, int)):
        return "" if value is None else str(value)
    return ",".join(value)
