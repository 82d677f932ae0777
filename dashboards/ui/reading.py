"""What views read, kept for a few seconds so that a click doesn't ask MLflow again."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from components import local_services
from components.mlflow_reader import History, Order
from components.run_records import Curve, Page, RunDetail, RunRow
from components.versions import Version
from dashboards.ui import settings
from dashboards.ui.text import t

_SECONDS = 10


def history() -> History:
    """The reader of runs. A new one when the services move."""
    found = settings()
    return _history(str(found.root), found.tracking_uri or local_services.address(found, "mlflow"))


@st.cache_resource(max_entries=4, show_spinner=False)
def _history(home: str, address: str | None) -> History:
    return History(settings())


def runs(filter: str = "", page: int = 1, order: Order = "newest") -> Page[RunRow]:
    """A page of runs; see ``History.runs``."""
    with st.spinner(t("ui.reading")):
        return _runs(str(settings().root), history().address, filter, page, order)


@st.cache_data(ttl=_SECONDS, max_entries=200, show_spinner=False)
def _runs(home: str, address: str | None, filter: str, page: int, order: Order) -> Page[RunRow]:
    return history().runs(filter, page, order)


def versions() -> list[Version]:
    """All registered versions, newest first; see ``History.versions``."""
    with st.spinner(t("ui.reading")):
        return _versions(str(settings().root), history().address)


@st.cache_data(ttl=_SECONDS, max_entries=4, show_spinner=False)
def _versions(home: str, address: str | None) -> list[Version]:
    return history().versions()


def details(ids: Sequence[str]) -> list[RunDetail]:
    """Runs with their stages; see ``History.details``."""
    with st.spinner(t("ui.reading")):
        return _details(str(settings().root), history().address, tuple(ids))


@st.cache_data(ttl=_SECONDS, max_entries=100, show_spinner=False)
def _details(home: str, address: str | None, ids: tuple[str, ...]) -> list[RunDetail]:
    return history().details(ids)


def curves(ids: Sequence[str], metrics: Sequence[tuple[str, str]]) -> list[Curve]:
    """Curves of runs by (stage, metric); see ``History.curves``."""
    with st.spinner(t("ui.reading")):
        return _curves(str(settings().root), history().address, tuple(ids), tuple(metrics))


@st.cache_data(ttl=_SECONDS, max_entries=200, show_spinner=False)
def _curves(home: str, address: str | None, ids: tuple[str, ...], metrics: tuple[tuple[str, str], ...]) -> list[Curve]:
    return history().curves(history().details(ids), metrics)
