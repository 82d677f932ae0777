"""Which pages there are, in which section, and who sees them. A view is a file ``dashboards/views/<name>.py`` with ``page()``."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import streamlit as st

from dashboards.access import Role, allows
from dashboards.ui import states
from dashboards.ui.text import t


@dataclass(frozen=True)
class View:
    """A page: its file's name, which is its address and the file of its words, too.

    Attributes:
        role: the least that a reader must be to see it.
    """

    name: str
    section: str
    icon: str
    role: Role


VIEWS = (
    View("home", "review", ":material/home:", "reviewer"),
    View("chat", "review", ":material/chat:", "reviewer"),
    View("arena", "review", ":material/swords:", "reviewer"),
    View("playground", "review", ":material/grid_view:", "reviewer"),
    View("runs", "runs", ":material/list:", "engineer"),
    View("compare", "runs", ":material/stacked_line_chart:", "engineer"),
    View("run", "runs", ":material/route:", "engineer"),
    View("registry", "models", ":material/workspace_premium:", "reviewer"),
    View("evaluation", "models", ":material/fact_check:", "engineer"),
    View("weights", "models", ":material/grid_on:", "engineer"),
    View("inside", "models", ":material/visibility:", "engineer"),
    View("data", "work", ":material/dataset:", "engineer"),
    View("flows", "work", ":material/schedule:", "engineer"),
    View("accounts", "work", ":material/group:", "admin"),
)
_PAGES = "lapidar.pages"


def pages(role: Role) -> dict[str, list[Any]]:
    """Streamlit's pages by section, for a reader of this role; also remembers them for links between pages."""
    found: dict[str, Any] = {}
    sections: dict[str, list[Any]] = {}
    for view in VIEWS:
        if allows(role, view.role):
            title, default = t(f"ui.page_{view.name}"), view.name == "home"
            found[view.name] = st.Page(_body(view), title=title, icon=view.icon, url_path=view.name, default=default)
            sections.setdefault(t(f"ui.section_{view.section}"), []).append(found[view.name])
    st.session_state[_PAGES] = found
    return sections


def closed() -> list[Any]:
    """All pages by address, without content: who signs in gets to where they wanted to go."""
    return [st.Page(_nothing(view), title="Lapidar", url_path=view.name, default=view.name == "home") for view in VIEWS]


def page(name: str) -> Any | None:
    """The page of a view, or None if the reader's role hasn't it."""
    return st.session_state.get(_PAGES, {}).get(name)


def _nothing(view: View) -> Callable[[], None]:
    def body() -> None:
        """Nobody has signed in."""

    body.__name__ = view.name
    return body


def _body(view: View) -> Callable[[], None]:
    """Draws a view; one that fails says so on its own page."""

    def body() -> None:
        from dashboards import access

        access.require(view.role)
        with states.guarded():
            importlib.import_module(f"dashboards.views.{view.name}").page()

    body.__name__ = view.name
    return body
