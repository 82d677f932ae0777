"""The model server as the views see it: what it offers, and a helpful page where it isn't there."""

from __future__ import annotations

import streamlit as st

from components.errors import LapidarError
from components.inference.answering import Answers
from components.inference.client import Client, ServerDown, connect
from components.inference.reading import ModelCard
from components.settings import Settings
from dashboards import ui
from dashboards.ui import states
from dashboards.ui.text import t


@st.cache_resource
def answers() -> Answers:
    """The running answers of this process. They belong to no page: one that is closed or reloaded doesn't end them."""
    return Answers()


def client() -> Client:
    """The client of this home's server.

    Raises:
        ServerDown: if none runs.
    """
    return connect(ui.settings())


def offered() -> tuple[list[ModelCard], LapidarError | None]:
    """The server's models, and why there are none if it can't be asked."""
    try:
        return _listed(client().url, ui.settings()), None
    except LapidarError as error:
        return [], error


def tell(error: LapidarError | None) -> None:
    """Says why nothing can be asked, and what to do: the server is down, refuses, or has no models."""
    if error is None:
        states.empty(t("talk.no_models"), t("talk.no_models_todo"), "lapidar run quickstart", ":material/inventory_2:")
    elif isinstance(error, ServerDown):
        states.broken(t("talk.down"), error.what, t("talk.down_todo"), "lapidar up")
    else:
        states.broken(t("talk.refused"), str(error), t("talk.refused_todo"))


def version_of(model: str, cards: list[ModelCard]) -> str:
    """A name that always means the same weights: the registered version behind an alias, where the server tells it."""
    return next((card.version for card in cards if card.id == model and card.version), model)


@st.cache_data(ttl=10, show_spinner=False)
def _listed(url: str, _settings: Settings) -> list[ModelCard]:
    return connect(_settings).models()
