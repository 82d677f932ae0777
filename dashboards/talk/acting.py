"""What a reader does by a button: callbacks run before the page asks who reads, and an error in one would be a stack trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from components.errors import LapidarError
from dashboards import access
from dashboards.ui import safe

_TROUBLE = "talk.trouble"


def as_reader(reader: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Makes a callback that ends unless this reader is still signed in and may review; what fails is said by ``told``."""

    def wrap(function: Callable[..., None]) -> Callable[..., None]:
        def act(*arguments: Any) -> None:
            if access.require("reviewer").name != reader:
                st.stop()
            try:
                function(*arguments)
            except LapidarError as error:
                st.session_state[_TROUBLE] = str(error)

        return act

    return wrap


def told() -> None:
    """Says what went wrong in the last callback, once."""
    if trouble := st.session_state.pop(_TROUBLE, None):
        st.warning(safe.plain(trouble, 400), icon=":material/warning:")
