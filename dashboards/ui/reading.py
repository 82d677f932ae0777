"""What views read, kept for a few seconds so that a click doesn't ask MLflow again."""

from __future__ import annotations

import time
from collections.abc import Sequence

import streamlit as st

from components import local_services
from components.errors import LapidarError
from components.mlflow_reader import History, Order
from components.run_records import Curve, Page, RunDetail, RunRow
from components.versions import Version
from dashboards.ui import settings
from dashboards.ui.text import t

SECONDS = 10
"""How old what is shown may be."""
_LONG_SECONDS = 3600


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


@st.cache_data(ttl=SECONDS, max_entries=200, show_spinner=False)
def _runs(home: str, address: str | None, filter: str, page: int, order: Order) -> Page[RunRow]:
    return history().runs(filter, page, order)


def versions() -> list[Version]:
    """All registered versions, newest first; see ``History.versions``."""
    with st.spinner(t("ui.reading")):
        return _versions(str(settings().root), history().address)


@st.cache_data(ttl=SECONDS, max_entries=4, show_spinner=False)
def _versions(home: str, address: str | None) -> list[Version]:
    return history().versions()


def news() -> tuple[list[Version] | None, Page[RunRow]]:
    """All versions, None if MLflow doesn't answer, and the latest runs.

    For parts of a page that draw themselves anew: nothing says that they read, which would move what stands there.
    """
    home, address = str(settings().root), history().address
    runs = _runs(home, address, "", 1, "newest")
    try:
        return _versions(home, address), runs
    except LapidarError:
        return None, runs


def details(ids: Sequence[str]) -> list[RunDetail]:
    """Runs with their stages; see ``History.details``."""
    with st.spinner(t("ui.reading")):
        return _details(str(settings().root), history().address, tuple(ids))


@st.cache_data(ttl=SECONDS, max_entries=100, show_spinner=False)
def _details(home: str, address: str | None, ids: tuple[str, ...]) -> list[RunDetail]:
    return history().details(ids)


def ahead(rows: Sequence[RunRow]) -> None:
    """Begins to read runs that have ended and that are likely to be asked for next; doesn't wait for them."""
    if ended := [row.id for row in rows if row.status != "running"]:
        history().ahead(ended)


def curves(runs: Sequence[RunDetail], metrics: Sequence[tuple[str, str]]) -> list[Curve]:
    """Curves of runs by (stage, metric); see ``History.curves``. Those of runs that have all ended are kept: they don't change."""
    ends = tuple((run.row.id, run.row.status, run.whole.ended) for run in runs)
    asked = int(time.monotonic() // SECONDS) if any(run.row.status == "running" for run in runs) else None
    with st.spinner(t("ui.reading")):
        return _curves(str(settings().root), history().address, ends, tuple(metrics), asked, runs)


@st.cache_data(ttl=_LONG_SECONDS, max_entries=200, show_spinner=False)
def _curves(
    home: str,
    address: str | None,
    ends: tuple[tuple[str, str, int | None], ...],
    metrics: tuple[tuple[str, str], ...],
    asked: int | None,
    _runs: Sequence[RunDetail],
) -> list[Curve]:
    return history().curves(_runs, metrics)
