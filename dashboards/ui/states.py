"""Pages that have nothing to show, or can't: what is the matter and what to do next, never a stack trace."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from components.errors import LapidarError
from dashboards.ui import safe
from dashboards.ui.text import t

logger = logging.getLogger(__name__)


def empty(title: str, todo: str, command: str | None = None, icon: str = ":material/inbox:") -> None:
    """Nothing here yet: what this place is for, and how to fill it.

    Args:
        command: what to type in a terminal, shown so that it can be copied.
    """
    with st.container(border=True):
        st.markdown(f"##### {icon} {title}")
        st.markdown(todo)
        if command:
            st.code(command, language="bash")


def broken(title: str, why: str, todo: str, command: str | None = None) -> None:
    """Something is down or damaged: what, why (as it was said), and the remedy."""
    with st.container(border=True):
        st.markdown(f"##### :material/error: {title}")
        if why:
            safe.text(why)
        st.markdown(todo)
        if command:
            st.code(command, language="bash")


@contextmanager
def guarded(title: str | None = None) -> Iterator[None]:
    """Draws a helpful page instead of a stack trace if what is inside fails; the rest of the page goes on."""
    try:
        yield
    except LapidarError as error:
        broken(title or t("ui.broken"), str(error), t("ui.broken_todo"))
    except Exception as error:
        if type(error).__module__.startswith("streamlit"):  # st.stop and st.rerun are exceptions, too
            raise
        logger.exception("a view failed")
        broken(title or t("ui.broken"), f"{type(error).__name__}: {error}", t("ui.bug_todo"))
